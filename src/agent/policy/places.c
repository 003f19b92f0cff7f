/* SPDX-License-Identifier: Apache-2.0
 *
 * Where packets may leave this node, which addresses are its own, which are other nodes', and which are pods'.
 */
#include "agent/policy/internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWN_MAX 4096

/* One that is being taken down is still there for a moment, and is not known any more: its name tells. */
static bool is_pods(const struct policer *policer, const struct plane_link *link)
{
	size_t prefix = strncmp(link->name, ATTACH_PREFIX_CALICO, 4) == 0 ? 4 : strncmp(link->name, "tul", 3) == 0 ? 3 : 0;
	struct local_pod *local;

	HASH_FIND_STR(policer->pods, link->name, local);
	return local || (prefix && strcmp(link->kind, "veth") == 0 && strspn(link->name + prefix, "0123456789abcdef") == 11);
}

static const struct plane_link *link_at(const struct plane_link *links, size_t count, uint32_t index)
{
	for (size_t i = 0; i < count; i++)
		if (links[i].index == index)
			return &links[i];
	return NULL;
}

/* -- exits -- */

/* All but pods' interfaces: whatever it is, a route may lead there. What carries another device (a bond, a bridge) has its
 * packets judged there already, a second time does no harm. */
bool places_is_exit(const struct policer *policer, const struct plane_link *link)
{
	return !(link->flags & IFF_LOOPBACK) && link->flags & IFF_UP && !is_pods(policer, link);
}

static bool had_exit(const struct policer *policer, const struct plane_link *link)
{
	for (size_t i = 0; i < policer->exit_count; i++)
		if (policer->exits[i].index == link->index && strcmp(policer->exits[i].name, link->name) == 0)
			return true;
	return false;
}

size_t places_check(struct policer *policer)
{
	size_t lost = 0;

	for (size_t i = 0; i < policer->exit_count; i++)
		lost += !policy_plane_check_exit(policer->plane, policer->exits[i].index) && if_nametoindex(policer->exits[i].name);
	policer->links_due |= lost > 0;
	return lost;
}

static void guard_exits(struct policer *policer, const struct plane_link *links, size_t count)
{
	_cleanup_free_ struct exit_link *exits = calloc(count + 1, sizeof(*exits));
	_cleanup_free_ const char **names = calloc(count + 1, sizeof(*names));
	size_t n = 0;
	bool moved = false;

	if (!exits || !names)
		return;
	problems_begin(policer->agent->problems, "policy exit ");
	for (size_t i = 0; i < count; i++) {
		struct err err = ERR_INIT;
		char object[64];

		if (!places_is_exit(policer, &links[i]))
			continue;
		snprintf(object, sizeof(object), "exit %s", links[i].name);
		/* one that has its program is brought up to date all the same: somebody may have taken it away */
		if (policy_plane_guard_exit(policer->plane, links[i].index, &err) < 0) {
			policer_problem(policer, object, err_text(&err));
			continue;
		}
		moved |= !had_exit(policer, &links[i]);
		exits[n].index = links[i].index;
		memcpy(exits[n++].name, links[i].name, IFNAMSIZ);
	}
	problems_end(policer->agent->problems, "policy exit ");
	moved |= n != policer->exit_count;
	for (size_t i = 0; i < n; i++)
		names[i] = exits[i].name;
	free(policer->exits);
	free(policer->exit_names);
	policer->exits = TAKE_PTR(exits);
	policer->exit_names = TAKE_PTR(names);
	policer->exit_count = n;
	if (moved)
		agent_mark(policer->agent); /* the table of the plan names them */
}

const struct policy_nft_input *policer_nft(struct policer *policer)
{
	static const char *const pods[] = {"tul", ATTACH_PREFIX_CALICO};

	if (!policer || *policer->off)
		return NULL;
	policer->nft = (struct policy_nft_input){
		.mark_pending = options_policy_mark(&policer->agent->options, 0),
		.mark_host = options_policy_mark(&policer->agent->options, 1),
		.mark_express = options_express_mark(&policer->agent->options),
		.exits = policer->exit_names,
		.exit_count = policer->exit_count,
		.pods = pods,
		.pod_count = ARRAY_SIZE(pods),
	};
	hosts_nft(policer, &policer->nft);
	return &policer->nft;
}

/* -- our own addresses -- */

static int by_addr(const void *a, const void *b)
{
	return addr_compare(a, b);
}

static void add_addr(struct addr *addrs, size_t *count, const struct addr *addr)
{
	if (addr_is_set(addr) && !addr_is_link_local(addr) && *count < OWN_MAX)
		addrs[(*count)++] = *addr;
}

static size_t without_doubles(struct addr *addrs, size_t count)
{
	size_t n = 0;

	qsort(addrs, count, sizeof(*addrs), by_addr);
	for (size_t i = 0; i < count; i++)
		if (n == 0 || !addr_equal(&addrs[n - 1], &addrs[i]))
			addrs[n++] = addrs[i];
	return n;
}

static void add_own_node(const struct policer *policer, struct addr *addrs, size_t *count)
{
	const struct known_node *node = world_find(policer, WORLD_NODES, policer->agent->options.node_name);

	for (size_t i = 0; node && i < node->count - node->tunnels; i++)
		add_addr(addrs, count, &node->addrs[i]);
}

/* The first of them is the one that rules speak of; the others follow it. */
static void lead(struct addr *addrs, size_t count, const struct addr *first)
{
	for (size_t i = 0; i < count; i++)
		if (addr_equal(&addrs[i], first)) {
			memmove(addrs + 1, addrs, i * sizeof(*addrs));
			addrs[0] = *first;
			return;
		}
}

static void tell_own(struct policer *policer, const struct plane_link *links, size_t link_count, const struct plane_addr *list,
	size_t count)
{
	_cleanup_free_ struct addr *addrs = calloc(OWN_MAX, sizeof(*addrs));
	const struct agent *agent = policer->agent;
	size_t n = 0;

	for (size_t i = 0; addrs && i < count; i++) {
		const struct plane_link *link = link_at(links, link_count, list[i].index);

		if (link && !(link->flags & IFF_LOOPBACK && addr_is_loopback(&list[i].addr)) && !is_pods(policer, link))
			add_addr(addrs, &n, &list[i].addr);
	}
	if (!addrs)
		return;
	add_own_node(policer, addrs, &n);
	n = without_doubles(addrs, n);
	for (int f = FAMILY_COUNT; f-- > 0;)
		if (agent->have_uplink)
			lead(addrs, n, &agent->uplink.addr[f]);
	if (n == policer->own_count && memcmp(addrs, policer->own, n * sizeof(*addrs)) == 0)
		return;
	if (verdicts_put_node(policer->verdicts, agent->options.node_name, true, addrs, n) < 0)
		return;
	free(policer->own);
	policer->own = TAKE_PTR(addrs);
	policer->own_count = n;
}

static void look_at_links(struct policer *policer)
{
	_cleanup_free_ struct plane_link *links = NULL;
	_cleanup_free_ struct plane_addr *addrs = NULL;
	size_t link_count = 0, addr_count = 0;
	struct err err = ERR_INIT;
	int rc = plane_list_links(&links, &link_count, &err);

	if (rc == 0)
		rc = plane_list_addrs(&addrs, &addr_count, &err);
	policer_problem(policer, "interfaces", rc < 0 ? err_text(&err) : NULL);
	policer->links_due = rc < 0;
	if (rc < 0)
		return;
	guard_exits(policer, links, link_count);
	tell_own(policer, links, link_count, addrs, addr_count);
	hosts_follow(policer, links, link_count, addrs, addr_count);
}

/* -- other nodes, by their leases -- */

static void put_lease(struct policer *policer, const struct lease *lease)
{
	struct addr addrs[2 * FAMILY_COUNT] = {0};
	struct lease_node *node;
	size_t n = 0;

	for (int f = 0; f < FAMILY_COUNT; f++)
		add_addr(addrs, &n, &lease->public_ip[f]);
	/* the tunnel device has the first address of the subnet */
	for (int f = 0; f < FAMILY_COUNT; f++)
		add_addr(addrs, &n, &lease->subnet[f].addr);
	HASH_FIND_STR(policer->leases, lease->key, node);
	if (!node) {
		node = calloc(1, sizeof(*node) + strlen(lease->key) + 1);
		if (!node)
			return;
		memcpy(node->name, lease->key, strlen(lease->key) + 1);
		HASH_ADD_KEYPTR(hh, policer->leases, node->name, strlen(node->name), node);
	}
	node->seen = true;
	if (node->count == n && memcmp(node->addrs, addrs, sizeof(addrs)) == 0)
		return;
	memcpy(node->addrs, addrs, sizeof(addrs));
	node->count = n;
	verdicts_put_node(policer->verdicts, node->name, false, addrs, n);
}

/* As the nodes' objects: only while somebody asks for addresses. */
static void look_at_leases(struct policer *policer)
{
	_cleanup_free_ const struct lease **list = peers_list(policer->agent->peers);
	struct lease_node *node, *next;

	for (node = policer->leases; node; node = node->hh.next)
		node->seen = false;
	for (size_t i = 0; policer->world[WORLD_NODES].wide && list && i < peers_count(policer->agent->peers); i++)
		put_lease(policer, list[i]);
	HASH_ITER (hh, policer->leases, node, next)
		if (!node->seen) {
			verdicts_remove_node(policer->verdicts, node->name);
			HASH_DEL(policer->leases, node);
			free(node);
		}
}

/* -- ranges of pods -- */

static void look_at_ranges(struct policer *policer)
{
	const struct agent *agent = policer->agent;
	_cleanup_free_ struct prefix *ranges = NULL;
	size_t n = 0;

	if (agent->calico) {
		if (calico_ranges(agent->calico, &ranges, &n) < 0)
			return;
	} else {
		ranges = calloc(FAMILY_COUNT, sizeof(*ranges));
		for (int f = 0; ranges && agent->have_network && f < FAMILY_COUNT; f++)
			if (network_has(&agent->network, f))
				ranges[n++] = prefix_masked(&agent->network.pool[f].cidr);
	}
	if (!ranges || (n == policer->range_count && (n == 0 || memcmp(ranges, policer->ranges, n * sizeof(*ranges)) == 0)))
		return;
	if (verdicts_set_ranges(policer->verdicts, ranges, n) < 0)
		return;
	free(policer->ranges);
	policer->ranges = TAKE_PTR(ranges);
	policer->range_count = n;
}

void places_follow(struct policer *policer)
{
	auto_hosts_follow(policer);
	if (policer->links_due)
		look_at_links(policer);
	if (!policer->agent->calico)
		look_at_leases(policer);
	look_at_ranges(policer);
}

void places_free(struct policer *policer)
{
	struct lease_node *node, *next;

	HASH_ITER (hh, policer->leases, node, next) {
		HASH_DEL(policer->leases, node);
		free(node);
	}
	free(policer->own);
	free(policer->ranges);
	free(policer->exits);
	free(policer->exit_names);
	policer->exit_names = NULL;
	policer->own = NULL;
	policer->ranges = NULL;
	policer->exits = NULL;
	policer->own_count = policer->range_count = policer->exit_count = 0;
}
