/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast a pod may send and receive: CNI's bandwidth capability (reference/cni.md 13.5). Parsed by the CNI server,
 * kept in the journal, applied by plane/shape.c.
 */
#pragma once

#include <stdint.h>

struct bandwidth { /* bits per second, bits; 0 = unlimited */
	uint64_t ingress_rate, ingress_burst; /* towards the pod */
	uint64_t egress_rate, egress_burst;   /* from the pod */
};
