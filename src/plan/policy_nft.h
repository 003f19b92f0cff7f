/* SPDX-License-Identifier: Apache-2.0
 *
 * What policy needs of table inet tulle (docs/policy.md): packets that this node itself sends are marked, marks that come
 * from elsewhere count for nothing, and a pod's packet whose egress has not been judged leaves by no interface where
 * nobody judges it. Called by both makers of the table. Pure.
 */
#pragma once

#include "base/buf.h"
#include "model/failsafe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy_nft_input {
	uint32_t mark_pending, mark_host; /* as struct policy_plane_options */
	/* Interfaces that have policy_exit. In any order, doubles are fine; a name that nft could misread is left out, so that
	 * it stays closed. */
	const char *const *exits;
	size_t exit_count;
	/* What the names of pods' interfaces begin with: "tul", "cali". */
	const char *const *pods;
	size_t pod_count;
	/* Interfaces of host endpoints, as exits; none: nothing is said about them. A name that nft could misread is as if it had none. */
	const char *const *hosts;
	size_t host_count;
	struct failsafes failsafes[POLICY_DIRECTION_COUNT];
	uint16_t tunnel_port; /* UDP, between nodes; 0: none */
	const char *untracked; /* chains of policy_untracked_add; null: all that leaves is tracked */
	bool keep;     /* connections of host endpoints that stand are not judged again */
	bool forwards; /* some host endpoint judges what is forwarded: connections that stand, too */
	uint32_t mark_express; /* as struct policy_plane_options; 0: the express path is off */
};

bool policy_nft_can_name(const char *link);
/* Appends three chains, and three more where there are host endpoints. 0 or -ENOMEM. */
int policy_nft_add(struct buf *nft, const struct policy_nft_input *input);
