/* address.c: addresses of migrations as QEMU writes them, `unix:PATH` and `tcp:HOST:PORT`, to listen at or connect to.
 */
#include "sim/host/address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 128, HOST_MAX = 256, PORT_MAX = 65535 };

const char *mr_address_path(const struct mr_address *address)
{
	return strncmp(address->text, "unix:", 5) == 0 ? address->text + 5 : NULL;
}

/* ---- Reading ---- */

static int parse_path(struct mr_address *address, const char *path, char *error, size_t error_size)
{
	struct sockaddr_un *name = (struct sockaddr_un *)&address->socket;

	if (!path[0] || strlen(path) >= sizeof(name->sun_path)) {
		snprintf(error, error_size, "%.60s: expected a path of 1 to %zu bytes, found %zu", address->text,
			 sizeof(name->sun_path) - 1, strlen(path));
		return -1;
	}
	name->sun_family = AF_UNIX;
	memcpy(name->sun_path, path, strlen(path) + 1);
	address->length = sizeof(*name);
	return 0;
}

static int look_up(struct mr_address *address, const char *host, const char *port, bool listens, char *error,
		   size_t error_size)
{
	const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICSERV | (listens ? AI_PASSIVE : 0)};
	struct addrinfo *found = NULL;
	const int problem = getaddrinfo(host[0] ? host : NULL, port, &wanted, &found);

	if (problem) {
		snprintf(error, error_size, "%s: %s", address->text, gai_strerror(problem));
		return -2;
	}
	memcpy(&address->socket, found->ai_addr, found->ai_addrlen);
	address->length = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

/* HOST:PORT, where a HOST with colons stands in brackets. */
static int parse_host(struct mr_address *address, const char *text, bool listens, char *error, size_t error_size)
{
	const char *colon = strrchr(text, ':');
	const bool brackets = text[0] == '[' && colon && colon > text + 1 && colon[-1] == ']';
	const size_t length = colon ? (size_t)(colon - text) - 2u * brackets : 0;
	const char *digits = colon ? colon + 1 : "";
	char host[HOST_MAX];

	if (!colon || length >= sizeof(host) || !digits[0] || strlen(digits) > 5 ||
	    strspn(digits, "0123456789") != strlen(digits) || strtoul(digits, NULL, 10) > PORT_MAX ||
	    (!brackets && memchr(text, ':', length))) {
		snprintf(error, error_size,
			 "%.100s: expected tcp:HOST:PORT, a HOST with colons in brackets, a PORT of at most 65535",
			 address->text);
		return -1;
	}
	memcpy(host, text + brackets, length);
	host[length] = '\0';
	return look_up(address, host, digits, listens, error, error_size);
}

int mr_address_parse(struct mr_address *address, const char *text, bool listens, char *error, size_t error_size)
{
	*address = (struct mr_address){.text = text};
	if (strncmp(text, "unix:", 5) == 0)
		return parse_path(address, text + 5, error, error_size);
	if (strncmp(text, "tcp:", 4) == 0)
		return parse_host(address, text + 4, listens, error, error_size);
	snprintf(error, error_size, "%.100s: expected unix:PATH or tcp:HOST:PORT", text);
	return -1;
}

/* ---- Listening ---- */

static void show(const struct mr_address *address, int listener, char shown[MR_ADDRESS_TEXT])
{
	struct sockaddr_storage got;
	socklen_t length = sizeof(got);
	char host[80] = "", port[8] = "";

	snprintf(shown, MR_ADDRESS_TEXT, "%s", address->text);
	if (address->socket.ss_family == AF_UNIX || getsockname(listener, (struct sockaddr *)&got, &length) < 0 ||
	    getnameinfo((struct sockaddr *)&got, length, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	snprintf(shown, MR_ADDRESS_TEXT, got.ss_family == AF_INET6 ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}

/* What a process that is gone left at its path. */
static bool is_left_over(const struct mr_address *address)
{
	const int file = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const bool refused = file >= 0 && mr_address_path(address) &&
			     connect(file, (const struct sockaddr *)&address->socket, address->length) < 0 &&
			     errno == ECONNREFUSED;

	if (file >= 0)
		close(file);
	return refused;
}

int mr_address_listen(const struct mr_address *address, char shown[MR_ADDRESS_TEXT], char *error, size_t error_size)
{
	const int one = 1;
	const int listener = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (listener >= 0 && !mr_address_path(address))
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener < 0 || bind(listener, (const struct sockaddr *)&address->socket, address->length) < 0 ||
	    listen(listener, BACKLOG) < 0) {
		const int reason = errno;

		snprintf(error, error_size, "%.200s: cannot listen: %s%s", address->text, strerror(reason),
			 reason == EADDRINUSE && is_left_over(address) ? "; nobody does there: remove it" : "");
		if (listener >= 0)
			close(listener);
		return -1;
	}
	show(address, listener, shown);
	return listener;
}
