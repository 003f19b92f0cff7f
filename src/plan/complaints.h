/* SPDX-License-Identifier: Apache-2.0
 *
 * What a plan left out and why, one complaint for each object: for the log, the metrics and tullectl. Filled by plan.h
 * and pools.h, read by their callers. Life cycle: begins as zeros; add, then join once; done.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

struct complaint {
	char object[280]; /* what it is about, as the adder names it */
	char text[320];   /* names field, value and expectation */
};

struct complaints {
	struct complaint *list; /* after join: sorted by object, one each */
	size_t count, room;
};

/* 0 or -ENOMEM. Copies both texts, cut where they are too long. */
__attribute__((format(printf, 3, 0))) int complaints_add(struct complaints *complaints, const char *object,
	const char *fmt, va_list ap);
/* What one object has in two families is put into one; what it has twice is said once. */
void complaints_join(struct complaints *complaints);
void complaints_done(struct complaints *complaints);
