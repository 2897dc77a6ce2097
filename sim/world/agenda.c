/* agenda.c: a binary heap of moments. */
#include "sim/world/agenda.h"

#include <stdlib.h>
#include <string.h>

static bool is_before(const struct mr_moment *one, const struct mr_moment *other)
{
	return one->time != other->time ? one->time < other->time : one->order < other->order;
}

int mr_agenda_add(struct mr_agenda *agenda, const struct mr_moment *moment)
{
	struct mr_moment new = *moment;
	size_t at = agenda->count;

	if (agenda->count == agenda->capacity) {
		const size_t larger = 2 * agenda->capacity + 64;
		struct mr_moment *moments = realloc(agenda->moments, larger * sizeof(*moments));

		if (!moments)
			return -1;
		agenda->moments = moments;
		agenda->capacity = larger;
	}
	new.order = agenda->order++;
	agenda->count++;
	agenda->of_kind[new.kind]++;
	while (at > 0 && is_before(&new, &agenda->moments[(at - 1) / 2])) {
		agenda->moments[at] = agenda->moments[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	agenda->moments[at] = new;
	return 0;
}

uint64_t mr_agenda_next(const struct mr_agenda *agenda)
{
	return agenda->count ? agenda->moments[0].time : UINT64_MAX;
}

bool mr_agenda_take(struct mr_agenda *agenda, struct mr_moment *moment)
{
	struct mr_moment last;
	size_t at = 0;

	if (agenda->count == 0)
		return false;
	*moment = agenda->moments[0];
	agenda->of_kind[moment->kind]--;
	last = agenda->moments[--agenda->count];
	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= agenda->count)
			break;
		if (child + 1 < agenda->count && is_before(&agenda->moments[child + 1], &agenda->moments[child]))
			child++;
		if (!is_before(&agenda->moments[child], &last))
			break;
		agenda->moments[at] = agenda->moments[child];
		at = child;
	}
	if (agenda->count)
		agenda->moments[at] = last;
	return true;
}

size_t mr_agenda_all(const struct mr_agenda *agenda)
{
	return agenda->count;
}

size_t mr_agenda_count(const struct mr_agenda *agenda, uint32_t kind)
{
	return agenda->of_kind[kind];
}

void mr_agenda_clear(struct mr_agenda *agenda)
{
	free(agenda->moments);
	memset(agenda, 0, sizeof(*agenda));
}
