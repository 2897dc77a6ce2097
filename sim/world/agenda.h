/* agenda.h: what is to happen when, in virtual time; of moments at one time the one that was entered first comes first.
 */
#ifndef MR_WORLD_AGENDA_H
#define MR_WORLD_AGENDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MR_AGENDA_KINDS = 32 };

struct mr_moment {
	uint64_t time; /* ns */
	uint64_t order;
	uint32_t kind;  /* the caller's, below MR_AGENDA_KINDS */
	uint32_t index; /* the caller's */
	uint64_t value; /* the caller's */
};

/* Zero it for an empty one. */
struct mr_agenda {
	/* private */
	struct mr_moment *moments; /* a heap */
	size_t count, capacity;
	uint64_t order;
	size_t of_kind[MR_AGENDA_KINDS];
};

/* Enters a moment; its order is filled in. -1 if memory is short. */
int mr_agenda_add(struct mr_agenda *agenda, const struct mr_moment *moment);
/* Time of the next moment; UINT64_MAX if there is none. */
uint64_t mr_agenda_next(const struct mr_agenda *agenda);
/* Takes the next moment out; false if there is none. */
bool mr_agenda_take(struct mr_agenda *agenda, struct mr_moment *moment);
/* Moments that are still to come; those of a kind. */
size_t mr_agenda_all(const struct mr_agenda *agenda);
size_t mr_agenda_count(const struct mr_agenda *agenda, uint32_t kind);
void mr_agenda_clear(struct mr_agenda *agenda);

#endif
