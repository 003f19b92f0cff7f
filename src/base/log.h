/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines on stderr, one write each: "W 07:04:05.678 text". Only edges log (the agent, the tool), never a
 * leaf. Verbosity follows klog's habit: 0 normal, 1 data path, 2 details, 4 netlink calls, 6 payloads.
 * A line that an outsider can provoke goes through a struct log_limit.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO };

/* Levels of log_debug() lines up to which are printed; 0 prints none of them. */
extern int log_verbosity;

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(int verbosity, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* At most burst lines in each period; the first line after a gap says how many were left out.
 * Initialise with LOG_LIMIT(burst, milliseconds). */
struct log_limit {
	unsigned burst;
	unsigned period_ms;
	int64_t window_ms; /* start of the current period, monotonic milliseconds */
	unsigned used;
	unsigned dropped;
};
#define LOG_LIMIT(b, ms) {.burst = (b), .period_ms = (ms)}

/* True when a line may be printed now. */
bool log_limit_ok(struct log_limit *limit);
