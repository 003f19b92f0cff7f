/* SPDX-License-Identifier: Apache-2.0 */
#include "model/host_endpoint.h"

#include "model/equal.h"

#include <stdlib.h>
#include <string.h>

void host_endpoint_free(struct host_endpoint **host)
{
	struct host_endpoint *h = *host;

	if (!h)
		return;
	for (size_t i = 0; i < h->port_count; i++)
		free((char *)h->ports[i].name);
	free(h->ports);
	free(h->name);
	free(h->node);
	free(h->interface);
	labels_free(&h->labels);
	free(h->addrs);
	free(h->trouble);
	free(h);
	*host = NULL;
}

static bool same_ports(const struct host_endpoint *a, const struct host_endpoint *b)
{
	if (a->port_count != b->port_count)
		return false;
	for (size_t i = 0; i < a->port_count; i++)
		if (strcmp(a->ports[i].name, b->ports[i].name) != 0 || a->ports[i].protocol != b->ports[i].protocol ||
			a->ports[i].port != b->ports[i].port)
			return false;
	return true;
}

bool host_endpoint_equal(const struct host_endpoint *a, const struct host_endpoint *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->node, b->node) == 0 && text_equal(a->interface, b->interface) &&
	       labels_equal(a->labels, b->labels) && addrs_equal(a->addrs, a->addr_count, b->addrs, b->addr_count) &&
	       same_ports(a, b) && a->open == b->open && text_equal(a->trouble, b->trouble);
}
