/* SPDX-License-Identifier: Apache-2.0
 *
 * Calico's HostEndpoint: interfaces of a node as policy sees them, and a peer of rules under its addresses
 * (reference/calico.md 2.10, 7.10). Made by resources/host_endpoint.c, read by the verdict engine. Immutable once published.
 */
#pragma once

#include "model/endpoint.h"

#define HOST_ENDPOINT_ALL "*" /* as interface: all of the node's that no other one is about */

struct host_endpoint {
	char *name, *node;
	char *interface;       /* null: those that have one of its addresses */
	struct labels *labels; /* never null */
	struct addr *addrs;    /* expectedIPs, sorted, each once */
	size_t addr_count;
	struct endpoint_port *ports; /* names are its own */
	size_t port_count;
	char *trouble; /* what of it is not known here, for people; null: nothing */
	bool open; /* its profile lets through what no tier decides, which is denied otherwise */
};

void host_endpoint_free(struct host_endpoint **host);
bool host_endpoint_equal(const struct host_endpoint *a, const struct host_endpoint *b);
