/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a tc program sits: a device's ingress or egress, by a pinned tcx link (Linux 6.6) or else by a filter of fixed
 * priority and handle on the device's clsact qdisc. Either way it stays without the agent, and a newer program takes
 * the older one's place atomically.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum hook_kind { HOOK_TCX = 1, HOOK_CLSACT };
enum hook_point { HOOK_INGRESS, HOOK_EGRESS };

struct hook {
	enum hook_kind kind;
	uint32_t ifindex;
	enum hook_point point;
	const char *pin; /* path of the link on a bpf file system; used by tcx only */
	bool first;      /* runs before others, ours that are not first among them */
	unsigned priority; /* of a filter; 0: by first. Several of ours at one place need different ones */
};

/* What this kernel has. */
enum hook_kind hook_probe(void);
/* Attaches the program, or puts it into the place of the one that is there. A link that is pinned there for another
 * device is given up once the new one stands. */
int hook_attach(const struct hook *hook, int prog_fd, struct err *err);
/* Is a program of ours attached there? */
bool hook_check(const struct hook *hook);
/* Nothing there (or no such device) is no failure. */
int hook_detach(const struct hook *hook, struct err *err);
