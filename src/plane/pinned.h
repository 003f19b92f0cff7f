/* SPDX-License-Identifier: Apache-2.0
 *
 * Pinned maps, and what else programs that outlive the agent have in common: whoever owns such programs (carrier, guard)
 * names the shapes of their maps, and finds or makes them in a directory whose name carries the layout version. Maps of
 * another layout are removed once no program uses them.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"
#include "bpf/packet_layout.h"

#include <bpf/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_shape {
	const char *name;
	enum bpf_map_type type;
	uint32_t key_size, value_size, max_entries, flags;
};

/* A descriptor of the map that is pinned in dir. make: a missing one (or one of another shape) is made; otherwise
 * -ENOENT. */
int pinned_open(const char *dir, const struct map_shape *shape, bool make, struct err *err);
/* dir and the pins in it. */
void pinned_remove(const char *dir, const struct map_shape *shapes, size_t count);
/* The directories "maps-<layout>" of parent, but for this one. */
void pinned_remove_others(const char *parent, const char *keep, const struct map_shape *shapes, size_t count);
/* -ENODEV with a hint if dir is not on a bpf file system. */
int pinned_expect_bpffs(const char *dir, struct err *err);

/* libbpf would write its warnings to standard error; ours are in struct err. */
void libbpf_be_quiet(void);
/* The verifier's last words: the line before its statistics. Changes log. */
const char *verifier_words(char *log);
/* A per-CPU counter, summed up and added. */
int counter_sum(int map_fd, uint32_t index, uint64_t *packets, uint64_t *bytes);

struct packet_addr packet_addr_of(const struct addr *addr);
struct packet_prefix packet_prefix_of(const struct prefix *prefix);
