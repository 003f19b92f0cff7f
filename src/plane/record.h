/* SPDX-License-Identifier: Apache-2.0
 *
 * What in the kernel is ours and does not show it: devices by name, and the protocol of routes where the operator chose
 * another than ours. Written to a file in /run (a boot voids both) before the kernel hears of it, so that an agent that
 * begins anew, and cleanup, know what the one before them left. Lines: "device NAME", "protocol NUMBER".
 */
#pragma once

#include "base/err.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_DEVICES_MAX 16
#define RECORD_PROTOCOLS_MAX 4

struct record {
	char devices[RECORD_DEVICES_MAX][IFNAMSIZ];
	size_t device_count;
	uint8_t protocols[RECORD_PROTOCOLS_MAX];
	size_t protocol_count;
};

/* A missing file is an empty record; lines that mean nothing are passed over. */
void record_read(const char *path, struct record *ret);
int record_write(const char *path, const struct record *record, struct err *err);

bool record_has_device(const struct record *record, const char *name);
bool record_has_protocol(const struct record *record, uint8_t protocol);
/* True: it is new. What is too much is not recorded; a protocol of 0 is none. */
bool record_add_device(struct record *record, const char *name);
bool record_add_protocol(struct record *record, uint8_t protocol);
