/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/complaints.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int complaints_add(struct complaints *complaints, const char *object, const char *fmt, va_list ap)
{
	struct complaint *complaint;

	if (complaints->count == complaints->room) {
		size_t room = complaints->room ? complaints->room * 2 : 8;

		complaint = reallocarray(complaints->list, room, sizeof(*complaint));
		if (!complaint)
			return -ENOMEM;
		complaints->list = complaint;
		complaints->room = room;
	}
	complaint = &complaints->list[complaints->count++];
	snprintf(complaint->object, sizeof(complaint->object), "%s", object);
	vsnprintf(complaint->text, sizeof(complaint->text), fmt, ap);
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct complaint *one = a, *other = b;
	int d = strcmp(one->object, other->object);

	return d ? d : strcmp(one->text, other->text);
}

void complaints_join(struct complaints *complaints)
{
	struct complaint *list = complaints->list;
	size_t n = 0;

	if (complaints->count == 0)
		return;
	qsort(list, complaints->count, sizeof(*list), compare);
	for (size_t i = 1; i < complaints->count; i++) {
		size_t len = strlen(list[n].text);

		if (strcmp(list[n].object, list[i].object) != 0)
			list[++n] = list[i];
		else if (strcmp(list[i - 1].text, list[i].text) != 0)
			snprintf(list[n].text + len, sizeof(list[n].text) - len, "; %s", list[i].text);
	}
	complaints->count = n + 1;
}

void complaints_done(struct complaints *complaints)
{
	free(complaints->list);
	*complaints = (struct complaints){0};
}
