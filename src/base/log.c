/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int log_verbosity;

static void log_line(char letter, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static void log_line(char letter, const char *fmt, va_list ap)
{
	char line[2048];
	struct timespec now;
	struct tm tm;
	int n;
	int m;

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	n = snprintf(line, sizeof(line), "%c%02d%02d %02d:%02d:%02d.%03ld ", letter, tm.tm_mon + 1, tm.tm_mday,
		tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	if (m < 0)
		return;
	n += m;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	for (int i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = ' '; /* file names and such: no new lines, no escapes for a terminal */
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nowhere left to complain */
}

#define LOG_FUNCTION(name, letter)        \
	void name(const char *fmt, ...)   \
	{                                 \
		va_list ap;               \
		va_start(ap, fmt);        \
		log_line(letter, fmt, ap); \
		va_end(ap);               \
	}

LOG_FUNCTION(log_error, 'E')
LOG_FUNCTION(log_warning, 'W')
LOG_FUNCTION(log_info, 'I')

void log_debug(int verbosity, const char *fmt, ...)
{
	va_list ap;

	if (verbosity > log_verbosity)
		return;
	va_start(ap, fmt);
	log_line('I', fmt, ap);
	va_end(ap);
}

bool log_limit_ok(struct log_limit *limit)
{
	struct timespec now;
	int64_t ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	if (limit->window_ms == 0 || ms - limit->window_ms >= limit->period_ms) {
		if (limit->dropped)
			log_warning("%u similar lines were left out", limit->dropped);
		limit->window_ms = ms;
		limit->used = 0;
		limit->dropped = 0;
	}
	if (limit->used >= limit->burst) {
		limit->dropped++;
		return false;
	}
	limit->used++;
	return true;
}
