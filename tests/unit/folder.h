/* folder.h: removing the folder of a test with all that is in it. */
#ifndef TEST_FOLDER_H
#define TEST_FOLDER_H

#include <ftw.h>
#include <stdio.h>

static inline int folder_remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
	(void)status;
	(void)type;
	(void)place;
	return remove(path);
}

/* Returns 0, or -1 with errno if something stays. */
static inline int folder_remove(const char *path)
{
	enum { DESCRIPTORS = 8 };

	return nftw(path, folder_remove_entry, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}

#endif
