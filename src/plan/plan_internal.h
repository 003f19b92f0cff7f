/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the plan: the peers that are served, and one function for each idea. All of them add
 * to result->wanted and return 0 or -ENOMEM. A family is planned when the network has it and we hold a block
 * of it.
 */
#pragma once

#include "plan/plan.h"

struct plan_peer {
	const struct lease *lease;
	bool served[FAMILY_COUNT]; /* sound in this family */
	bool direct[FAMILY_COUNT]; /* on-link, and plain routes are wanted */
};

bool plan_has(const struct plan_input *input, int f);
/* Bytes of the packets on the uplink. */
unsigned plan_outer_mtu(const struct plan_input *input);
/* Does the uplink reach this address without a gateway? */
bool plan_on_link(const struct plan_uplink *uplink, const struct addr *addr);

int plan_complain(struct plan_result *result, const struct lease *lease, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Judges all peers; *ret: malloc'ed, in order of seniority, without those that are served in no family. */
int plan_peers(const struct plan_input *input, struct plan_result *result, struct plan_peer **ret,
	size_t *ret_count);

int plan_vxlan(const struct plan_input *input, const struct plan_peer *peers, size_t count,
	struct plan_result *result);
int plan_guard(const struct plan_input *input, const struct plan_peer *peers, size_t count,
	struct plan_result *result);
int plan_udp(const struct plan_input *input, const struct plan_peer *peers, size_t count,
	struct plan_result *result);
int plan_routes(const struct plan_input *input, const struct plan_peer *peers, size_t count,
	struct plan_result *result);
/* A plain route to the peer's block by its own address on the uplink. */
int plan_direct_route(
	const struct plan_input *input, const struct plan_peer *peer, int f, struct plan_result *result);
int plan_pods(const struct plan_input *input, struct plan_result *result);
/* A host route and a neighbour for each address. */
int plan_pod_routes(const struct plan_pod *pods, size_t count, struct wanted *wanted);
int plan_nft(const struct plan_input *input, struct plan_result *result);
