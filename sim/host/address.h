/* address.h: addresses of migrations as QEMU writes them, `unix:PATH` and `tcp:HOST:PORT`, to listen at or connect to.
 */
#ifndef MR_HOST_ADDRESS_H
#define MR_HOST_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct mr_address {
	const char *text; /* as it was given; the caller's */
	struct sockaddr_storage socket;
	socklen_t length;
};

enum { MR_ADDRESS_TEXT = 160 }; /* bytes of an address as text, with its NUL */

/*
 * Reads an address; names of hosts are looked up, an empty one is any of this host's. Returns 0; -1 with one line in
 * `error` if it is no address, -2 if the host is not found.
 */
int mr_address_parse(struct mr_address *address, const char *text, bool listens, char *error, size_t error_size);
/*
 * A socket that listens there and does not block, or -1 with one line in `error`: in use, no permission. `shown` gets
 * the address with the port that it got, if it asked for any (0). Whoever closes the socket of a path removes that,
 * too.
 */
int mr_address_listen(const struct mr_address *address, char shown[MR_ADDRESS_TEXT], char *error, size_t error_size);
/* The path of unix:PATH, else NULL. */
const char *mr_address_path(const struct mr_address *address);

#endif
