/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: a Node object. What is accepted as a lease must come out as annotations that are read as the same lease, and
 * a message must be one line.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "flannel/node.h"

#include <stdio.h>
#include <string.h>

#define PREFIX "flannel.alpha.coreos.com/"

static struct network network_dual(void)
{
	struct network network = {.backend = "vxlan", .encap = ENCAP_VXLAN, .routed = true, .vni = 1};

	prefix_parse("10.244.0.0/16", &network.pool[FAMILY_4].cidr);
	prefix_parse("fd00:42::/56", &network.pool[FAMILY_6].cidr);
	return network;
}

static void round_trip(json_t *node, const struct network *network, const struct lease *lease)
{
	_cleanup_(json_cleanup) json_t *wanted = flannel_node_format(lease);
	json_t *annotations = json_object();
	struct lease again;
	const char *name;
	json_t *value;

	FUZZ_CHECK(wanted);
	json_object_foreach(wanted, name, value) {
		char full[sizeof(PREFIX) + 32];

		snprintf(full, sizeof(full), PREFIX "%s", name);
		if (json_is_string(value))
			json_object_set(annotations, full, value);
	}
	json_object_set_new(json_object_get(node, "metadata"), "annotations", annotations);
	FUZZ_CHECK(flannel_node_parse(node, PREFIX, network, &again, NULL) == 1);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		FUZZ_CHECK(prefix_equal(&lease->subnet[f], &again.subnet[f]));
		FUZZ_CHECK(!prefix_is_set(&lease->subnet[f]) || addr_equal(&lease->public_ip[f], &again.public_ip[f]));
	}
	FUZZ_CHECK(strcmp(lease->backend, again.backend) == 0 && strcmp(lease->key, again.key) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(json_cleanup) json_t *node = json_loadb((const char *)data, size, 0, NULL);
	struct network network = network_dual();
	struct err err = ERR_INIT;
	struct lease lease;
	int rc;

	if (!node || !flannel_node_name(node))
		return 0;
	rc = flannel_node_parse(node, PREFIX, &network, &lease, &err);
	if (rc < 0)
		FUZZ_CHECK(err.code < 0 && err.text[0] && !strchr(err.text, '\n'));
	/* vxlan without a MAC is a lease; the plan tells about it, and nobody writes one */
	if (rc == 1 && (strcmp(lease.backend, "vxlan") != 0 ||
			(mac_is_set(&lease.vtep_mac[FAMILY_4]) && mac_is_set(&lease.vtep_mac[FAMILY_6]))))
		round_trip(node, &network, &lease);
	return 0;
}
