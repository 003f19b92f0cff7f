/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks through one JSON object and takes out a few top-level strings. Called by the plugin before it goes to the
 * agent. A scanner of our own, because the plugin links no library (it has to start in a fraction of a millisecond);
 * the agent parses the same text again in full.
 *
 * The whole text is checked against RFC 8259. Keys match exactly or, failing that, without regard to case; of equal
 * matches the last one counts, as in Go's decoder. Nothing is allocated, and nesting costs no stack.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SCAN_DEPTH_MAX 1000 /* objects and lists inside each other */
#define SCAN_TEXT_MAX 512

enum scan_kind {
	SCAN_ABSENT, /* also for null */
	SCAN_STRING,
	SCAN_LONG, /* a string that does not fit into text, or has a NUL in it */
	SCAN_OTHER,
};

struct scan_member {
	const char *key;          /* wanted */
	enum scan_kind kind;      /* from here on: found */
	bool exact;
	char text[SCAN_TEXT_MAX]; /* UTF-8, escapes resolved */
};

/* Null when text is one JSON object and nothing else; otherwise what is wrong, and *ret_at is the offset. */
const char *scan_object(const char *text, size_t len, struct scan_member *members, size_t count, size_t *ret_at);
