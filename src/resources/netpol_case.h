/* SPDX-License-Identifier: Apache-2.0
 *
 * Cases of policy, npcase/1 and npseq/1 (tests/netpol/README.md): small worlds with probes and the verdicts that are expected.
 * Called by "tullectl policy". Pure.
 *
 * Life cycle: netpol_case_parse reads and keeps the file's JSON; netpol_case_step makes one step's world and probes (a case has one
 * step); both are freed by their own functions, steps first.
 */
#pragma once

#include "resources/policy_world.h"

#define NETPOL_CASE_MAX ((size_t)128 << 20) /* bytes of a file */
#define NETPOL_SOURCE_PORT 40000            /* of a probe that does not say one */

struct netpol_case;

enum netpol_word { NETPOL_UNSAID, NETPOL_ALLOW, NETPOL_DENY };
enum netpol_side { NETPOL_EGRESS, NETPOL_INGRESS, NETPOL_BOTH, NETPOL_SIDE_COUNT };
extern const char *const netpol_side_names[NETPOL_SIDE_COUNT]; /* as in files */

struct netpol_probe {
	int64_t id;
	const struct policy_end *from, *to; /* of the step's world */
	struct addr src, dst;
	uint8_t protocol;
	uint16_t sport, dport; /* host order; ICMP: dport is type << 8 | code */
	bool exempt;           /* no policy judges it: a pod and itself, a pod and its own node */
	enum netpol_word expected[NETPOL_SIDE_COUNT];
};

struct netpol_step {
	size_t number; /* from 0 */
	struct policy_world *world;
	struct netpol_probe *probes;
	size_t probe_count;
};

/* where: the file's name, for messages. -EINVAL: where, field, value and what was expected. */
int netpol_case_parse(const char *text, size_t len, const char *where, struct netpol_case **ret, struct err *err);
void netpol_case_free(struct netpol_case **netpol_case);
size_t netpol_case_step_count(const struct netpol_case *netpol_case);
/* remarks: what policies say that could not be understood. */
int netpol_case_step(const struct netpol_case *netpol_case, size_t number, struct endpoint_pool *pool,
	const struct calico_remarks *remarks, struct netpol_step **ret, struct err *err);
void netpol_step_free(struct netpol_step **step);

/* TCP, UDP, SCTP, UDPLite, ICMP, ICMPv6, or a number: IPPROTO_*; -EINVAL: none. */
int netpol_protocol_parse(const char *text, uint8_t *ret);
/* Sets exempt. */
void netpol_probe_exempt(const struct policy_world *world, struct netpol_probe *probe);
