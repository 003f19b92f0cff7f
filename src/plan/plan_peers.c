/* SPDX-License-Identifier: Apache-2.0
 *
 * Which peers are believed. Every lease is judged by itself first; then those that are sound so far are
 * judged against each other, where the older one keeps what both claim. All of it costs O(n log n).
 */
#include "plan/plan_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const family_name[FAMILY_COUNT] = {[FAMILY_4] = "IPv4", [FAMILY_6] = "IPv6"};
static const char *const public_ip_name[FAMILY_COUNT] = {[FAMILY_4] = "PublicIP", [FAMILY_6] = "PublicIPv6"};

/* -- one lease by itself -- */

/* What a lease of our own backend says. udp and alloc publish nothing (reference/flannel.md 3.1). */
static const char *backend_type(const struct network *network)
{
	return network->encap == ENCAP_UDP || !network->routed ? "" : network->backend;
}

static bool takes_over_nodes(const struct plan_input *input, const struct prefix *subnet, int f)
{
	const struct plan_uplink *uplink = &input->uplink;

	if (prefix_contains(subnet, &uplink->addr[f]) || prefix_contains(subnet, &input->public_ip[f]))
		return true;
	for (size_t i = 0; i < uplink->on_link_count; i++)
		if (prefix_contains_prefix(subnet, &uplink->on_link[i]))
			return true;
	return false;
}

/* The judges: 1 sound, 0 complained about, or -ENOMEM. Text is made only for complaints: most leases are
 * sound. */

static int refuse(int complained)
{
	return complained < 0 ? complained : 0;
}

static int refuse_subnet(
	struct plan_result *result, const struct lease *lease, int f, const char *expected, const char *what)
{
	char text[PREFIX_TEXT_MAX];

	return refuse(plan_complain(result, lease, "subnet is %s, expected %s %s",
		prefix_format(&lease->subnet[f], text), expected, what));
}

static int judge_subnet(
	const struct plan_input *input, const struct lease *lease, int f, struct plan_result *result)
{
	const struct prefix *subnet = &lease->subnet[f];
	const struct prefix *cidr = &input->network->pool[f].cidr;
	const struct prefix *own = &input->own->subnet[f];
	char text[PREFIX_TEXT_MAX];

	if (!prefix_is_set(subnet))
		return refuse(plan_complain(result, lease, "%s subnet is missing, expected a part of %s",
			family_name[f], prefix_format(cidr, text)));
	if (!prefix_contains_prefix(cidr, subnet))
		return refuse_subnet(result, lease, f, "a part of the network", prefix_format(cidr, text));
	if (prefix_overlaps(subnet, own))
		return refuse_subnet(
			result, lease, f, "one that does not overlap ours,", prefix_format(own, text));
	if (takes_over_nodes(input, subnet, f))
		return refuse_subnet(
			result, lease, f, "one beside the nodes' own addresses at", input->uplink.name);
	return 1;
}

static int refuse_public_ip(
	struct plan_result *result, const struct lease *lease, int f, const char *expected, const char *what)
{
	char text[ADDR_TEXT_MAX];

	return refuse(plan_complain(result, lease, "%s is %s, %s %s", public_ip_name[f],
		addr_is_set(&lease->public_ip[f]) ? addr_format(&lease->public_ip[f], text) : "missing",
		expected, what));
}

static int judge_public_ip(
	const struct plan_input *input, const struct lease *lease, int f, struct plan_result *result)
{
	const struct addr *addr = &lease->public_ip[f];
	char text[PREFIX_TEXT_MAX];

	if (!addr_is_set(addr) || family_index(addr_family(addr)) != f || addr_is_multicast(addr) ||
		addr_is_loopback(addr))
		return refuse_public_ip(
			result, lease, f, "expected a unicast address of the node,", family_name[f]);
	if (addr_equal(addr, &input->public_ip[f]) || addr_equal(addr, &input->uplink.addr[f]))
		return refuse_public_ip(result, lease, f, "which is this node's own;", "expected another");
	if (prefix_contains(&lease->subnet[f], addr))
		return refuse_public_ip(result, lease, f, "expected one outside the lease's subnet",
			prefix_format(&lease->subnet[f], text));
	return 1;
}

static int refuse_mac(struct plan_result *result, const struct lease *lease, int f, const char *expected)
{
	char text[MAC_TEXT_MAX];

	return refuse(plan_complain(result, lease, "VtepMAC of %s is %s, %s", family_name[f],
		mac_is_set(&lease->vtep_mac[f]) ? mac_format(&lease->vtep_mac[f], text) : "missing",
		expected));
}

static int judge_mac(
	const struct plan_input *input, const struct lease *lease, int f, struct plan_result *result)
{
	const struct mac *mac = &lease->vtep_mac[f];

	if (!mac_is_set(mac) || (mac->b[0] & 1))
		return refuse_mac(result, lease, f, "expected a unicast MAC address");
	if (mac_equal(mac, &input->vtep_mac[f]))
		return refuse_mac(result, lease, f, "which is this node's own; expected another");
	return 1;
}

static int judge_reach(
	const struct plan_input *input, struct plan_peer *peer, int f, struct plan_result *result)
{
	const struct network *network = input->network;
	bool on_link = false;

	if (network->encap == ENCAP_NONE || network->direct_routing)
		on_link = plan_on_link(&input->uplink, &peer->lease->public_ip[f]);
	if (network->encap == ENCAP_NONE && !on_link)
		return refuse_public_ip(result, peer->lease, f,
			"expected an address that host-gw reaches without a gateway, on-link at",
			input->uplink.name);
	peer->direct[f] = on_link;
	return network->encap == ENCAP_VXLAN && !on_link ? judge_mac(input, peer->lease, f, result) : 1;
}

static int judge(const struct plan_input *input, struct plan_peer *peer, struct plan_result *result)
{
	const struct lease *lease = peer->lease;
	const char *type = backend_type(input->network);

	if (strcmp(lease->backend, type) != 0)
		return plan_complain(result, lease, "BackendType is \"%s\", expected \"%s\" (backend %s)",
			lease->backend, type, input->network->backend);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		int r = 0;

		if (plan_has(input, f))
			r = judge_subnet(input, lease, f, result);
		if (r > 0)
			r = judge_public_ip(input, lease, f, result);
		if (r > 0)
			r = judge_reach(input, peer, f, result);
		if (r < 0)
			return r;
		peer->served[f] = r > 0;
	}
	return 0;
}

/* -- against each other; a lower address among the peers means an older lease -- */

static int seniority_compare(const void *a, const void *b)
{
	const struct lease *one = ((const struct plan_peer *)a)->lease,
			   *other = ((const struct plan_peer *)b)->lease;
	/* unsigned: "never" (0) comes last */
	uint64_t ends = (uint64_t)one->expires - 1, other_ends = (uint64_t)other->expires - 1;

	if (one->order != other->order)
		return one->order < other->order ? -1 : 1;
	if (ends != other_ends)
		return ends < other_ends ? -1 : 1;
	return strcmp(one->key, other->key);
}

static int peer_compare(const struct plan_peer *one, const struct plan_peer *other)
{
	return one < other ? -1 : one > other;
}

static int by_seniority(const void *a, const void *b)
{
	return peer_compare(*(struct plan_peer *const *)a, *(struct plan_peer *const *)b);
}

static int by_subnet(const void *a, const void *b, void *family)
{
	const struct plan_peer *one = *(struct plan_peer *const *)a, *other = *(struct plan_peer *const *)b;
	int f = *(const int *)family;
	int d = prefix_compare(&one->lease->subnet[f], &other->lease->subnet[f]);

	return d ? d : peer_compare(one, other);
}

static int by_mac(const void *a, const void *b, void *family)
{
	const struct plan_peer *one = *(struct plan_peer *const *)a, *other = *(struct plan_peer *const *)b;
	int f = *(const int *)family;
	int d = memcmp(&one->lease->vtep_mac[f], &other->lease->vtep_mac[f], sizeof(struct mac));

	return d ? d : peer_compare(one, other);
}

static int complain_overlap(
	struct plan_peer *peer, const struct plan_peer *holder, int f, struct plan_result *result)
{
	char text[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];

	peer->served[f] = false;
	return plan_complain(result, peer->lease,
		"subnet is %s, expected one that does not overlap %s of the older lease %s",
		prefix_format(&peer->lease->subnet[f], text), prefix_format(&holder->lease->subnet[f], other),
		holder->lease->key);
}

/* Where a subnet belongs among kept ones, which are sorted and do not overlap. */
static size_t find_place(struct plan_peer *const *kept, size_t count, const struct prefix *subnet, int f)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (prefix_compare(&kept[middle]->lease->subnet[f], subnet) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Some of these overlap: the older ones first, each is kept if it overlaps none that is kept already. */
static int resolve_overlaps(struct plan_peer **group, size_t count, int f, struct plan_result *result)
{
	_cleanup_free_ struct plan_peer **kept = reallocarray(NULL, count, sizeof(*kept));
	size_t n = 0;
	int r = 0;

	if (!kept)
		return -ENOMEM;
	qsort(group, count, sizeof(*group), by_seniority);
	for (size_t i = 0; i < count && r == 0; i++) {
		const struct prefix *subnet = &group[i]->lease->subnet[f];
		size_t at = find_place(kept, n, subnet, f);

		if (at > 0 && prefix_overlaps(&kept[at - 1]->lease->subnet[f], subnet)) {
			r = complain_overlap(group[i], kept[at - 1], f, result);
		} else if (at < n && prefix_overlaps(&kept[at]->lease->subnet[f], subnet)) {
			r = complain_overlap(group[i], kept[at], f, result);
		} else {
			memmove(kept + at + 1, kept + at, (n++ - at) * sizeof(*kept));
			kept[at] = group[i];
		}
	}
	return r;
}

/* Sorted by subnet, what overlaps stands together behind the widest of them. */
static int judge_overlaps(struct plan_peer **some, size_t count, int f, struct plan_result *result)
{
	size_t end;
	int r = 0;

	qsort_r(some, count, sizeof(*some), by_subnet, &f);
	for (size_t start = 0; start < count && r == 0; start = end) {
		const struct prefix *widest = &some[start]->lease->subnet[f];

		for (end = start + 1; end < count; end++)
			if (!prefix_overlaps(widest, &some[end]->lease->subnet[f]))
				break;
		if (end > start + 1)
			r = resolve_overlaps(some + start, end - start, f, result);
	}
	return r;
}

/* The FDB knows one address for a MAC. Two leases of one node (an old one that has not run out yet) agree. */
static int judge_macs(struct plan_peer **some, size_t count, int f, struct plan_result *result)
{
	const struct plan_peer *holder = NULL;
	char text[MAC_TEXT_MAX];
	int r = 0;

	qsort_r(some, count, sizeof(*some), by_mac, &f);
	for (size_t i = 0; i < count && r == 0; i++) {
		const struct lease *lease = some[i]->lease;

		if (!holder || !mac_equal(&holder->lease->vtep_mac[f], &lease->vtep_mac[f])) {
			holder = some[i];
		} else if (!addr_equal(&holder->lease->public_ip[f], &lease->public_ip[f])) {
			some[i]->served[f] = false;
			r = plan_complain(result, lease,
				"VtepMAC of %s is %s, expected another than that of the older lease %s",
				family_name[f], mac_format(&lease->vtep_mac[f], text), holder->lease->key);
		}
	}
	return r;
}

static size_t select_served(
	struct plan_peer *peers, size_t count, int f, bool tunnelled, struct plan_peer **some)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (peers[i].served[f] && !(tunnelled && peers[i].direct[f]))
			some[n++] = &peers[i];
	return n;
}

static int judge_together(
	const struct plan_input *input, struct plan_peer *peers, size_t count, struct plan_result *result)
{
	_cleanup_free_ struct plan_peer **some = reallocarray(NULL, count, sizeof(*some));
	int r = 0;

	if (!some)
		return -ENOMEM;
	for (int f = 0; f < FAMILY_COUNT && r == 0; f++) {
		size_t n = select_served(peers, count, f, false, some);

		if (n > 1)
			r = judge_overlaps(some, n, f, result);
		if (r < 0 || input->network->encap != ENCAP_VXLAN)
			continue;
		n = select_served(peers, count, f, true, some);
		if (n > 1)
			r = judge_macs(some, n, f, result);
	}
	return r;
}

int plan_peers(
	const struct plan_input *input, struct plan_result *result, struct plan_peer **ret, size_t *ret_count)
{
	_cleanup_free_ struct plan_peer *peers = NULL;
	size_t count = input->peer_count, n = 0;
	int r = 0;

	if (count == 0)
		return 0;
	peers = calloc(count, sizeof(*peers));
	if (!peers)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		peers[i].lease = input->peers[i];
	qsort(peers, count, sizeof(*peers), seniority_compare);
	for (size_t i = 0; i < count && r == 0; i++)
		r = judge(input, &peers[i], result);
	if (r == 0)
		r = judge_together(input, peers, count, result);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++)
		if (peers[i].served[FAMILY_4] || peers[i].served[FAMILY_6])
			peers[n++] = peers[i];
	*ret = TAKE_PTR(peers);
	*ret_count = n;
	return 0;
}
