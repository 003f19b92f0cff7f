/* SPDX-License-Identifier: Apache-2.0
 *
 * Input of the plan as a text file (tests/golden/plan/NAME.in), one thing a line:
 *
 *   network JSON                     net-conf.json
 *   own KEY JSON                     a lease as the store holds it; absent: none is held
 *   peer KEY JSON                    any number
 *   uplink NAME mtu N [addr A]... [on-link PREFIX]...
 *   public-ip A...                   what we publish; default: the addresses of the uplink
 *   vtep-mac MAC [MAC]               IPv4 device, IPv6 device
 *   pod IFNAME MAC A...
 *   option ip-masq | random-fully | forward-rules | blackhole | mark N | non-masquerade PREFIX
 *   complete                         the first full list has arrived
 */
#pragma once

#include "plan/plan.h"

struct scenario {
	struct plan_input input;
	struct network network;
	struct lease own;
	struct lease **peers;
	struct plan_pod *pods;
	struct prefix *on_link, *excluded;
};

/* 0 or negative errno with the line in the message. */
int scenario_read(const char *path, struct scenario *ret, struct err *err);
void scenario_free(struct scenario *scenario);

/* -- for other readers of such files (pools_scenario.c) -- */

/* Each line of the file; the first error ends it, with path and line in the message. */
int scenario_read_lines(const char *path, int (*read)(void *ctx, char *line, struct err *err), void *ctx, struct err *err);
/* One line of those above; "" and comments are none. */
int scenario_read_line(struct scenario *scenario, char *line, struct err *err);
/* The next word of the line, or null. */
char *scenario_word(char **rest);
/* Room for one more; never null. */
void *scenario_grow(void *array, size_t count, size_t size);
int scenario_bad_word(const char *what, const char *got, struct err *err);
