/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rfc3339.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LAST_SECOND 253402300799 /* 9999-12-31T23:59:59Z */

/* Exactly count digits; moves *p. */
static bool digits(const char **p, int count, int *ret)
{
	int n = 0;

	for (int i = 0; i < count; i++) {
		if ((*p)[i] < '0' || (*p)[i] > '9')
			return false;
		n = n * 10 + ((*p)[i] - '0');
	}
	*p += count;
	*ret = n;
	return true;
}

static bool mark(const char **p, char c)
{
	if (**p != c)
		return false;
	++*p;
	return true;
}

static bool fraction(const char **p)
{
	if (!mark(p, '.'))
		return true;
	if (**p < '0' || **p > '9')
		return false;
	*p += strspn(*p, "0123456789");
	return true;
}

/* "Z" or "+02:00", as seconds to subtract; the end of the text. */
static bool offset(const char **p, int *ret)
{
	int hours, minutes;
	int sign;

	*ret = 0;
	if (mark(p, 'Z'))
		return **p == 0;
	sign = **p == '-' ? -1 : 1;
	if (!mark(p, sign < 0 ? '-' : '+') || !digits(p, 2, &hours) || !mark(p, ':') ||
		!digits(p, 2, &minutes))
		return false;
	*ret = sign * (hours * 3600 + minutes * 60);
	return hours < 24 && minutes < 60 && **p == 0;
}

int rfc3339_parse(const char *text, int64_t *ret)
{
	struct tm tm = {0};
	const char *p = text;
	int64_t seconds;
	int shift, day;

	if (!digits(&p, 4, &tm.tm_year) || !mark(&p, '-') || !digits(&p, 2, &tm.tm_mon) || !mark(&p, '-') ||
		!digits(&p, 2, &tm.tm_mday) || !mark(&p, 'T') || !digits(&p, 2, &tm.tm_hour) ||
		!mark(&p, ':') || !digits(&p, 2, &tm.tm_min) || !mark(&p, ':') ||
		!digits(&p, 2, &tm.tm_sec) || !fraction(&p) || !offset(&p, &shift))
		return -EINVAL;
	if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_hour > 23 || tm.tm_min > 59 ||
		tm.tm_sec > 59)
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	day = tm.tm_mday;
	seconds = timegm(&tm) - shift;
	if (tm.tm_mday != day) /* the 30th of February was moved to March */
		return -EINVAL;
	if (strncmp(text, "0001-01-01T00:00:00", 19) == 0)
		seconds = 0;
	else if (seconds < 0 || seconds > LAST_SECOND)
		return -EINVAL;
	else if (seconds == 0)
		seconds = 1;
	*ret = seconds;
	return 0;
}

const char *rfc3339_format(int64_t seconds, char text[static RFC3339_MAX])
{
	time_t t = seconds < 0 ? 0 : seconds > LAST_SECOND ? LAST_SECOND : seconds;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, RFC3339_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return text;
}
