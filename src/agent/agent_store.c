/* SPDX-License-Identifier: Apache-2.0
 *
 * From the store's events to the agent's model: network, own lease, peers.
 */
#include "agent/agent.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "flannel/flannel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static void families_of(const struct network *network, bool families[FAMILY_COUNT])
{
	for (int f = 0; f < FAMILY_COUNT; f++)
		families[f] = network_has(network, f);
}

static void give_up(struct agent *agent, const struct err *err)
{
	log_error("%s", err_text(err));
	agent->exit_code = 1;
	event_base_loopbreak(agent->base);
}

/* Section 4.1.3: the MAC of an existing device wins, then the one that our lease shows, then a random one. A device of
 * another local address is made anew (4.1.4) and gets a MAC of its own: the old one stands in the lease of the old
 * address, which peers hold until it runs out. */
static void adopt_device_macs(struct agent *agent)
{
	_cleanup_free_ struct plane_link *links = NULL;
	size_t count = 0;

	if (plane_list_links(&links, &count, NULL) < 0)
		return;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		char name[IFNAMSIZ];

		plan_vxlan_name(agent->network.vni, f, name);
		for (size_t i = 0; i < count; i++)
			if (strcmp(links[i].name, name) == 0 && strcmp(links[i].kind, "vxlan") == 0 &&
				addr_equal(&links[i].local, &agent->uplink.source[f]))
				agent->vtep_mac[f] = links[i].mac;
	}
}

static void random_mac(struct mac *mac)
{
	if (getrandom(mac->b, sizeof(mac->b), 0) != (ssize_t)sizeof(mac->b))
		abort(); /* the kernel's generator never fails for six bytes once seeded */
	mac->b[0] = (uint8_t)((mac->b[0] & 0xfe) | 0x02);
}

static void previous_subnet(const struct agent *agent, struct lease *want)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(65536);
	struct flannel_env env = {0};

	if (file_read(agent->options.subnet_file, &text, NULL) < 0 ||
		flannel_env_parse(buf_text(&text), text.len, &env, NULL) < 0)
		return;
	memcpy(want->subnet, env.subnet, sizeof(want->subnet));
}

static void acquire(struct agent *agent)
{
	struct lease want = {0};
	bool vxlan = agent->network.encap == ENCAP_VXLAN;

	if (agent->have_own)
		memcpy(want.subnet, agent->own.subnet, sizeof(want.subnet));
	else
		previous_subnet(agent, &want);
	/* udp and alloc publish no type (reference/flannel.md 3.1) */
	if (vxlan || strcmp(agent->network.backend, "host-gw") == 0)
		snprintf(want.backend, sizeof(want.backend), "%s", agent->network.backend);
	want.has_vni = vxlan;
	want.vni = vxlan ? agent->network.vni : 0;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		want.public_ip[f] = agent->uplink.public_ip[f];
		if (vxlan && network_has(&agent->network, f))
			want.vtep_mac[f] = agent->vtep_mac[f];
	}
	store_acquire(agent->store, &want);
}

static void on_own_found(void *ctx, const struct lease *own)
{
	struct agent *agent = ctx;

	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!mac_is_set(&agent->vtep_mac[f]) && own)
			agent->vtep_mac[f] = own->vtep_mac[f];
		if (!mac_is_set(&agent->vtep_mac[f]))
			random_mac(&agent->vtep_mac[f]);
	}
	acquire(agent);
	agent_mark(agent);
}

static int check_host_gw(const struct agent *agent, const struct uplink *uplink, struct err *err)
{
	if (strcmp(agent->network.backend, "host-gw") != 0)
		return 0;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		char public_ip[ADDR_TEXT_MAX];
		char own[ADDR_TEXT_MAX];

		if (network_has(&agent->network, f) && !addr_equal(&uplink->addr[f], &uplink->public_ip[f]))
			return err_set(err, -EINVAL,
				"backend host-gw: the published address %s is not the address %s of %s; plain routes cannot pass "
				"address translation", addr_format(&uplink->public_ip[f], public_ip),
				addr_format(&uplink->addr[f], own), uplink->name);
	}
	return 0;
}

/* Taken as it is, for clusters work with it as long as nobody draws that block; but said. */
static void tell_overlap(struct agent *agent, const struct uplink *uplink)
{
	char text[400] = "";

	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct prefix *cidr = &agent->network.pool[f].cidr;
		char network[PREFIX_TEXT_MAX];
		char own[ADDR_TEXT_MAX];

		if (network_has(&agent->network, f) && prefix_contains(cidr, &uplink->addr[f]))
			snprintf(text, sizeof(text), "%s is %s, which holds this node's own address %s of %s: expected one that no "
				"node, Service or other network uses", f == FAMILY_4 ? "Network" : "IPv6Network",
				prefix_format(cidr, network), addr_format(&uplink->addr[f], own), uplink->name);
	}
	problems_set(agent->problems, "network configuration", text);
}

/* As --public-ip and --public-ipv6, which they replace (reference/flannel.md 3.4.2). */
static int choose_uplink(struct agent *agent, const bool families[FAMILY_COUNT], struct uplink *ret, struct err *err)
{
	char text[FAMILY_COUNT][ADDR_TEXT_MAX];
	struct options options = agent->options;

	if (addr_is_set(&agent->wish[FAMILY_4]))
		options.public_ip = (char *)addr_format(&agent->wish[FAMILY_4], text[FAMILY_4]);
	if (addr_is_set(&agent->wish[FAMILY_6]))
		options.public_ipv6 = (char *)addr_format(&agent->wish[FAMILY_6], text[FAMILY_6]);
	return uplink_choose(&options, families, agent->have_uplink ? &agent->home : NULL, ret, err);
}

void agent_look_at_uplink(struct agent *agent)
{
	bool families[FAMILY_COUNT];
	struct uplink uplink;
	struct err err = ERR_INIT;
	bool first = !agent->have_uplink;
	bool republish;
	int rc;

	if (!agent->have_network)
		return;
	families_of(&agent->network, families);
	rc = choose_uplink(agent, families, &uplink, &err);
	if (rc == 0)
		rc = check_host_gw(agent, &uplink, &err);
	if (rc < 0 && first) {
		give_up(agent, &err);
		return;
	}
	problems_set(agent->problems, "uplink", rc < 0 ? err_text(&err) : NULL);
	if (rc == 0)
		tell_overlap(agent, &uplink);
	if (rc < 0 || (!first && uplink_equal(&uplink, &agent->uplink)))
		return;
	republish = !first && memcmp(uplink.public_ip, agent->uplink.public_ip, sizeof(uplink.public_ip)) != 0;
	agent->uplink = uplink;
	if (first)
		agent->home = uplink;
	agent->have_uplink = true;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		char text[ADDR_TEXT_MAX];
		char published[ADDR_TEXT_MAX];

		if (families[f])
			log_info("node-to-node traffic: interface %s (MTU %u), address %s, published as %s", uplink.name,
				uplink.mtu, addr_format(&uplink.addr[f], text),
				addr_format(&uplink.public_ip[f], published));
	}
	if (republish)
		acquire(agent);
	agent_mark(agent);
}

static void on_public_ip(void *ctx, const struct addr public_ip[FAMILY_COUNT])
{
	struct agent *agent = ctx;

	memcpy(agent->wish, public_ip, sizeof(agent->wish));
	agent_look_at_uplink(agent);
}

static void on_network(void *ctx, const struct network *network)
{
	struct agent *agent = ctx;
	bool first = !agent->have_network;

	if (!first && network_equal(network, &agent->network))
		return;
	log_info("network configuration: backend %s%s", network->backend, first ? "" : " (changed)");
	if (!first && network->vni != agent->network.vni)
		memset(agent->vtep_mac, 0, sizeof(agent->vtep_mac));
	agent->network = *network;
	agent->have_network = true;
	agent_look_at_uplink(agent);
	if (!agent->have_uplink)
		return;
	if (network->encap == ENCAP_VXLAN) {
		adopt_device_macs(agent);
		store_find_own(agent->store, agent->uplink.public_ip, on_own_found, agent);
	} else {
		acquire(agent);
	}
	agent_mark(agent);
}

void agent_take_cni_conf(struct agent *agent, const char *text)
{
	free(agent->cni_conf);
	agent->cni_conf = text ? strdup(text) : NULL;
	agent_mark(agent);
}

static void on_cni_conf(void *ctx, const char *text)
{
	agent_take_cni_conf(ctx, text);
}

static void on_acquired(void *ctx, const struct lease *own)
{
	struct agent *agent = ctx;
	bool same = agent->have_own && lease_equal(own, &agent->own);
	char text[FAMILY_COUNT][PREFIX_TEXT_MAX];

	agent->own = *own;
	agent->have_own = true;
	if (same)
		return;
	log_info("lease: %s %s", prefix_format(&own->subnet[FAMILY_4], text[FAMILY_4]),
		prefix_format(&own->subnet[FAMILY_6], text[FAMILY_6]));
	agent_mark(agent);
}

static void on_lost(void *ctx)
{
	struct agent *agent = ctx;

	log_warning("our lease is gone from the store; acquiring again (the data path stays as it is)");
	acquire(agent);
}

static void on_lease(void *ctx, const struct lease *lease)
{
	struct agent *agent = ctx;
	int rc = peers_put(agent->peers, lease);

	if (rc < 0) {
		log_error("lease %s: out of memory", lease->key);
		return;
	}
	if (rc == 0)
		return;
	log_debug(1, "lease %s: new or changed", lease->key);
	agent_mark(agent);
}

static void on_lease_gone(void *ctx, const char *key)
{
	struct agent *agent = ctx;

	if (!peers_del(agent->peers, key))
		return;
	log_debug(1, "lease %s: gone", key);
	agent_mark(agent);
}

static void on_synced(void *ctx)
{
	struct agent *agent = ctx;

	if (!agent->peers_complete)
		log_info("first full list of leases: %zu peers", peers_count(agent->peers));
	agent->peers_complete = true;
	peers_settle(agent->peers);
	agent_mark(agent);
}

static void on_problem(void *ctx, const char *key, const char *text)
{
	struct agent *agent = ctx;
	char object[192];

	snprintf(object, sizeof(object), "store%s%.160s", key[0] ? " " : "", key);
	problems_set(agent->problems, object, text);
}

const struct store_events agent_store_events = {
	.public_ip = on_public_ip,
	.network = on_network,
	.cni_conf = on_cni_conf,
	.acquired = on_acquired,
	.lost = on_lost,
	.lease = on_lease,
	.lease_gone = on_lease_gone,
	.synced = on_synced,
	.problem = on_problem,
};
