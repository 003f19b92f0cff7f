/* SPDX-License-Identifier: Apache-2.0
 *
 * Failsafe ports: what always passes at host endpoints, so that a policy locks nobody out of a node (reference/calico.md 2.14,
 * 7.10). Read by resources/felix.c; asked before host endpoints' policies. Plain values.
 */
#pragma once

#include "model/policy.h"

#define FAILSAFES_MAX 64

struct failsafe {
	uint8_t protocol;  /* IPPROTO_* */
	uint16_t port;     /* of the destination, host order */
	struct prefix net; /* of the other end; unset: anybody */
};
struct failsafes {
	struct failsafe items[FAILSAFES_MAX];
	size_t count;
};

/* Calico's: ssh, DHCP, BGP, etcd, Typha, the API server; out also DNS. */
struct failsafes failsafes_default(enum policy_direction direction);
bool failsafes_hold(const struct failsafes *failsafes, uint8_t protocol, uint16_t port, const struct addr *remote);
bool failsafes_equal(const struct failsafes *a, const struct failsafes *b);
