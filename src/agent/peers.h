/* SPDX-License-Identifier: Apache-2.0
 *
 * The leases of all other nodes, by key. The agent's copy of what the store last said.
 */
#pragma once

#include "model/lease.h"

#include <stdbool.h>
#include <stddef.h>

struct peers;

struct peers *peers_new(void);
void peers_free(struct peers *peers);
/* Copies the lease and gives it its order. 1 when something changed, 0 when not, -ENOMEM. */
int peers_put(struct peers *peers, const struct lease *lease);
/* The first full list is in: what comes or changes from now on is younger than all of it. */
void peers_settle(struct peers *peers);
/* True when it was there. */
bool peers_del(struct peers *peers, const char *key);
size_t peers_count(const struct peers *peers);
/* Malloc'ed array of borrowed pointers, valid until the next put or del; null when empty or out of memory. */
const struct lease **peers_list(const struct peers *peers);
