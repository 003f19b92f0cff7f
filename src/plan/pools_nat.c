/* SPDX-License-Identifier: Apache-2.0
 *
 * natOutgoing (reference/calico.md 6), and the tunnel's address for what this node itself sends through a
 * tunnel under another address: replies have to come back through it, and policies know the node by it.
 */
#include "plan/pools_internal.h"

#include <stdio.h>
#include <string.h>

#define FIRST_PORT 1024 /* below it masquerading takes none unless the source port was there too */
#define LAST_PORT 65535

struct ports {
	unsigned min, max; /* 0, 0: any */
};

/* A reply to vxlan's port would be taken for a packet of the tunnel: the wider part beside it. */
static struct ports without(struct ports ports, unsigned port)
{
	if (port < ports.min || port > ports.max || ports.min == ports.max)
		return ports;
	if (port - ports.min > ports.max - port)
		return (struct ports){ports.min, port - 1};
	return (struct ports){port + 1, ports.max};
}

static bool has_vxlan(const struct poolplan *plan)
{
	return plan_pools_has_vxlan(plan->input, FAMILY_4) || plan_pools_has_vxlan(plan->input, FAMILY_6);
}

static struct ports udp_ports(const struct poolplan *plan, struct ports ports)
{
	struct ports any = {FIRST_PORT, LAST_PORT};

	return has_vxlan(plan) ? without(ports.max ? ports : any, plan->input->felix->vxlan_port) : ports;
}

/* address unset: whatever the outgoing interface has. */
static void add_translation(const struct poolplan *plan, const char *protocol, struct ports ports,
	const struct addr *address, struct buf *buf)
{
	bool fixed = addr_is_set(address), v4 = addr_is_4(address);
	char text[ADDR_TEXT_MAX];

	buf_add_str(buf, "\t\t");
	if (protocol[0])
		buf_printf(buf, "meta l4proto %s ", protocol);
	buf_add_str(buf, fixed ? v4 ? "snat ip to " : "snat ip6 to " : "masquerade");
	if (fixed)
		buf_printf(buf, ports.max && !v4 ? "[%s]" : "%s", addr_format(address, text));
	if (ports.max)
		buf_printf(buf, "%s:%u-%u", fixed ? "" : " to ", ports.min, ports.max);
	buf_add_str(buf, plan->input->options.random_fully ? " fully-random\n" : "\n");
}

/* By protocol, as each may take its source port from a range of its own. */
static void add_translations(
	const struct poolplan *plan, struct ports ports, const struct addr *address, struct buf *buf)
{
	struct ports udp = udp_ports(plan, ports), any = {0};

	if (ports.max)
		add_translation(plan, "tcp", ports, address, buf);
	if (udp.max)
		add_translation(plan, "udp", udp, address, buf);
	add_translation(plan, "", any, address, buf);
}

/* iptables ends a pattern with +, nft with *. */
static int add_interface(struct poolplan *plan, struct buf *buf)
{
	const char *filter = plan->input->felix->nat_iface_filter;
	size_t len = strcspn(filter, "+*");
	bool pattern = filter[len] != 0;

	if (!filter[0] || strcmp(filter, "+") == 0)
		return 0;
	if (!poolplan_nft_is_name(filter, len) || (pattern && filter[len + 1]))
		return poolplan_complain(plan, "FelixConfiguration", "",
			"iptablesNATOutgoingInterfaceFilter is \"%s\", expected the name of an interface, or "
			"the start of one and a +",
			filter);
	buf_printf(buf, " oifname \"%.*s%s\"", (int)len, filter, pattern ? "*" : "");
	return 0;
}

bool poolplan_has_nat(const struct poolplan *plan, int f)
{
	for (size_t i = 0; i < plan->ring_count; i++)
		if (plan->rings[i].pool->nat_outgoing && family_index(plan->rings[i].pool->cidr.family) == f)
			return plan->active[f];
	return false;
}

static int add_outgoing(struct poolplan *plan, int f, struct buf *buf)
{
	const char *ip = poolplan_nft_word[f];
	char d = poolplan_nft_digit[f];
	int r;

	buf_printf(buf, "\t\t%s saddr @" SET_NAT "%c %s daddr != @" SET_POOLS "%c", ip, d, ip, d);
	if (plan->input->felix->nat_exclusions == NAT_EXCLUDE_POOLS_AND_HOSTS)
		buf_printf(
			buf, " %s daddr != @" SET_NODES "%c %s daddr != @" SET_EXTERNALS "%c", ip, d, ip, d);
	r = add_interface(plan, buf);
	buf_printf(buf, " goto nat_outgoing%c comment \"pods to outside\"\n", d);
	return r;
}

/* An address of this node that the tunnel's device does not have. */
static void add_tunnels(const struct poolplan *plan, struct buf *buf)
{
	const struct {
		bool planned;
		const char *name;
	} devices[] = {
		{plan->ipip, PLAN_TUNNEL_IPIP},
		{plan->vxlan[FAMILY_6], PLAN_TUNNEL_VXLAN6},
		{plan->vxlan[FAMILY_4], PLAN_TUNNEL_VXLAN},
	};
	const char *before = "\t\toifname { ";

	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		if (!devices[i].planned)
			continue;
		buf_printf(buf, "%s\"%s\"", before, devices[i].name);
		before = ", ";
	}
	buf_add_str(buf, " } fib saddr type local fib saddr . oif type != local goto nat_tunnel "
			 "comment \"this node to remote pods\"\n");
}

static void add_targets(const struct poolplan *plan, bool tunnels, struct buf *buf)
{
	const struct felix *felix = plan->input->felix;
	struct ports ports = {felix->nat_port_min, felix->nat_port_max}, any = {0};
	const struct addr none = {0};

	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!poolplan_has_nat(plan, f))
			continue;
		buf_printf(buf, "\tchain nat_outgoing%c {\n", poolplan_nft_digit[f]);
		add_translations(plan, ports, &felix->nat_address[f], buf);
		buf_add_str(buf, "\t}\n");
	}
	if (tunnels) {
		buf_add_str(buf, "\tchain nat_tunnel {\n");
		add_translations(plan, any, &none, buf);
		buf_add_str(buf, "\t}\n");
	}
}

/* Behind kube-proxy's chain: what that one has translated does not come here. */
int poolplan_nat(struct poolplan *plan, struct buf *buf)
{
	bool tunnels = plan->ipip || plan->vxlan[FAMILY_4] || plan->vxlan[FAMILY_6];
	uint32_t mark = plan->input->options.mark_mask;
	int r = 0;

	if (!tunnels && !poolplan_has_nat(plan, FAMILY_4) && !poolplan_has_nat(plan, FAMILY_6))
		return 0;
	add_targets(plan, tunnels, buf);
	buf_add_str(
		buf, "\tchain postrouting {\n\t\ttype nat hook postrouting priority 110; policy accept;\n");
	if (mark)
		buf_printf(buf,
			"\t\tmeta mark & 0x%08x == 0x%08x return comment \"kube-proxy masquerades it\"\n",
			mark, mark);
	for (int f = 0; f < FAMILY_COUNT && r == 0; f++)
		if (poolplan_has_nat(plan, f))
			r = add_outgoing(plan, f, buf);
	if (tunnels)
		add_tunnels(plan, buf);
	buf_add_str(buf, "\t}\n");
	return r;
}
