/* SPDX-License-Identifier: Apache-2.0
 *
 * Host endpoints of this node: which of them each interface has (reference/calico.md 7.10), and what the kernel is told.
 */
#include "agent/policy/internal.h"

#include "agent/calico/calico.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "model/felix.h"
#include "plan/policy_untracked.h"
#include "resources/resources.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- which interface has which -- */

static bool is_everywhere(const struct host_endpoint *host)
{
	return host->interface && strcmp(host->interface, HOST_ENDPOINT_ALL) == 0;
}

static bool has_address(const struct host_endpoint *host, uint32_t index, const struct plane_addr *addrs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; addrs[i].index == index && j < host->addr_count; j++)
			if (addr_equal(&addrs[i].addr, &host->addrs[j]))
				return true;
	return false;
}

/* What carries another device has its packets judged there; pods of Flannel's plugin are on its bridge, and a node always
 * reaches its own pods. */
static bool is_one_of_all(const struct plane_link *link)
{
	return !link->master && strcmp(link->name, "cni0") != 0;
}

static bool concerns(const struct host_endpoint *host, const struct plane_link *link, const struct plane_addr *addrs, size_t count)
{
	if (is_everywhere(host))
		return is_one_of_all(link);
	return host->interface ? strcmp(host->interface, link->name) == 0 : has_address(host, link->index, addrs, count);
}

static bool is_ours(const struct policer *policer, const struct host_endpoint *host)
{
	return strcmp(host->node, policer->agent->options.node_name) == 0;
}

static bool is_before(const struct host_endpoint *a, const struct host_endpoint *b)
{
	return is_everywhere(a) < is_everywhere(b) || (is_everywhere(a) == is_everywhere(b) && strcmp(a->name, b->name) < 0);
}

/* All of this node's, borrowed; null: out of memory. */
static const struct host_endpoint **list_ours(const struct policer *policer, size_t *ret_count)
{
	size_t room = HASH_COUNT(policer->auto_hosts) + world_count(policer, WORLD_HOSTS) + 1;
	const struct host_endpoint **list = calloc(room, sizeof(*list));

	*ret_count = 0;
	for (size_t i = 0; list && i < world_count(policer, WORLD_HOSTS); i++)
		if (is_ours(policer, world_object(policer, WORLD_HOSTS, i)))
			list[(*ret_count)++] = world_object(policer, WORLD_HOSTS, i);
	for (struct auto_host *item = policer->auto_hosts; list && item; item = item->hh.next)
		if (is_ours(policer, item->host))
			list[(*ret_count)++] = item->host;
	return list;
}

static const struct host_endpoint *host_of(const struct host_endpoint *const *list, size_t list_count, const struct plane_link *link,
	const struct plane_addr *addrs, size_t count)
{
	const struct host_endpoint *best = NULL;

	for (size_t i = 0; i < list_count; i++)
		if (concerns(list[i], link, addrs, count) && (!best || is_before(list[i], best)))
			best = list[i];
	return best;
}

/* -- all of them -- */

static void places_done(struct host_place *places, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(places[i].host);
	free(places);
}

static bool same_links(const struct host_place *a, size_t a_count, const struct host_place *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (a[i].index != b[i].index || strcmp(a[i].link, b[i].link) != 0)
			return false;
	return true;
}

static int set_names(struct policer *policer)
{
	const char **names = calloc(policer->host_count + 1, sizeof(*names));

	if (!names)
		return -1;
	for (size_t i = 0; i < policer->host_count; i++)
		names[i] = policer->hosts[i].link;
	free(policer->host_names);
	policer->host_names = names;
	return 0;
}

static bool is_placed(const struct host_place *places, size_t count, const char *host)
{
	for (size_t i = 0; i < count; i++)
		if (places[i].host && strcmp(places[i].host, host) == 0)
			return true;
	return false;
}

/* What is attached follows what is placed. */
static void attach(struct policer *policer, const struct host_endpoint *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (is_placed(policer->hosts, policer->host_count, list[i]->name))
			verdicts_attach_host(policer->verdicts, list[i]->name);
		else
			verdicts_detach_host(policer->verdicts, list[i]->name);
}

void hosts_follow(struct policer *policer, const struct plane_link *links, size_t link_count, const struct plane_addr *addrs,
	size_t addr_count)
{
	_cleanup_free_ const struct host_endpoint **list = NULL;
	struct host_place *places, *old = policer->hosts;
	size_t count = 0, old_count = policer->host_count, list_count = 0;
	bool same;

	if (!policer->world[WORLD_HOSTS].complete)
		return;
	list = list_ours(policer, &list_count);
	places = list ? calloc(policer->exit_count + 1, sizeof(*places)) : NULL;
	for (size_t i = 0; places && i < link_count; i++) {
		const struct host_endpoint *host = places_is_exit(policer, &links[i]) ?
			host_of(list, list_count, &links[i], addrs, addr_count) : NULL;

		if (!host || count == policer->exit_count)
			continue;
		places[count] = (struct host_place){.index = links[i].index, .host = strdup(host->name)};
		memcpy(places[count++].link, links[i].name, IFNAMSIZ);
	}
	if (!places)
		return;
	same = same_links(places, count, old, old_count);
	policer->hosts = places;
	policer->host_count = count;
	if (set_names(policer) < 0) {
		policer->hosts = old;
		policer->host_count = old_count;
		places_done(places, count);
		return;
	}
	places_done(old, old_count);
	attach(policer, list, list_count);
	if (!same)
		agent_mark(policer->agent); /* the table of the plan names them */
}

/* What an earlier agent left stays in force until the first lists are there. */
void hosts_begin(struct policer *policer)
{
	_cleanup_free_ uint32_t *known = NULL;
	size_t count = 0, kept = 0;

	if (policy_plane_list_hosts(policer->plane, &known, &count, NULL) < 0)
		return;
	policer->hosts = calloc(count + 1, sizeof(*policer->hosts));
	for (size_t i = 0; policer->hosts && i < count; i++) {
		policer->hosts[kept].index = known[i];
		if (if_indextoname(known[i], policer->hosts[kept].link))
			kept++;
	}
	policer->host_count = policer->hosts ? kept : 0;
	if (set_names(policer) < 0)
		policer->host_count = 0;
}

void hosts_end(struct policer *policer)
{
	places_done(policer->hosts, policer->host_count);
	free(policer->host_names);
	free(policer->host_ports);
	free(policer->untracked);
	policer->untracked = NULL;
	policer->hosts = NULL;
	policer->host_names = NULL;
	policer->host_ports = NULL;
	policer->host_count = policer->host_port_count = 0;
}

/* -- the kernel -- */

static void tell_unsettled(struct policer *policer, const char *host, const struct policy *policy)
{
	char object[300], text[600];

	snprintf(object, sizeof(object), "rules of HostEndpoint %s", host);
	snprintf(text, sizeof(text), "%s %s asks for addresses or names of ports of the host endpoint's own side, which cannot be told"
		" where it has several addresses, or forwards: the policy denies there", policy ? policy->kind : "", policy ? policy->name : "");
	if (policer_problem(policer, object, policy ? text : "") && policy)
		objects_remark(policer->objects, &(struct objects_remark){.kind = KIND_GLOBAL_NETWORK_POLICY, .name = policy->name,
			.node = policer->agent->options.node_name, .reason = "BadConfiguration", .text = text});
}

/* doNotTrack is for interfaces of their own alone (7.6). */
static void add_port(struct policer *policer, const struct host_place *place, const struct verdict_host_tables *tables,
	struct policy_host_port *ret)
{
	const struct host_endpoint *host = auto_hosts_find(policer, place->host);

	*ret = (struct policy_host_port){.ifindex = place->index};
	memcpy(ret->host.table, tables->tables, sizeof(tables->tables));
	if (host && is_everywhere(host))
		memset(ret->host.table[POLICY_TRAFFIC_UNTRACKED], 0, sizeof(ret->host.table[POLICY_TRAFFIC_UNTRACKED]));
	tell_unsettled(policer, place->host, tables->unsettled);
}

/* The table of the plan has each packet that is forwarded judged only where somebody does. */
static void note_forwards(struct policer *policer, const struct policy_host_port *ports, size_t count)
{
	bool forwards = false;

	for (size_t i = 0; i < count; i++)
		forwards |= ports[i].host.table[POLICY_TRAFFIC_FORWARD][0] || ports[i].host.table[POLICY_TRAFFIC_FORWARD][1];
	if (forwards != policer->host_forwards)
		agent_mark(policer->agent);
	policer->host_forwards = forwards;
}

static char *list_untracked(struct policer *policer, const struct policy_host_port *ports, size_t count, int *ret_left_out)
{
	_cleanup_free_ struct policy_untracked *all = calloc(count + 1, sizeof(*all));
	_cleanup_(buf_free) struct buf text = BUF_INIT(4 << 20);
	_cleanup_(verdict_tables_done) struct verdict_tables tables = {0};
	struct felix felix = hosts_felix(policer);
	size_t found = 0;

	for (size_t i = 0; all && i < count; i++) {
		const struct host_place *place = hosts_at(policer, ports[i].ifindex);
		uint64_t table = ports[i].host.table[POLICY_TRAFFIC_UNTRACKED][POLICY_EGRESS];

		if (place && table && policy_nft_can_name(place->link))
			all[found++] = (struct policy_untracked){place->link, table};
	}
	if (!found || verdicts_all(policer->verdicts, &tables) < 0)
		return NULL;
	*ret_left_out = policy_untracked_add(&text, all, found, &tables, felix.failsafes);
	return *ret_left_out < 0 ? NULL : strdup(buf_text(&text));
}

/* What the programs judge again all the same. */
static void note_untracked(struct policer *policer, const struct policy_host_port *ports, size_t count)
{
	int left_out = 0;
	char *text = list_untracked(policer, ports, count, &left_out);

	policer_problem(policer, "doNotTrack", left_out > 0 ? "egress tells apart more addresses than netfilter is told of: what leaves is tracked"
		: left_out < 0 ? "chains for what is not to be tracked could not be made: what leaves is tracked" : "");
	if ((text || policer->untracked) && (!text || !policer->untracked || strcmp(text, policer->untracked) != 0))
		agent_mark(policer->agent);
	free(policer->untracked);
	policer->untracked = text;
}

int hosts_put(struct policer *policer, bool all, struct err *err)
{
	struct policy_host_port *ports = calloc(policer->host_count + 1, sizeof(*ports));
	size_t count = 0;
	int rc;

	if (!ports)
		return err_set(err, -ENOMEM, "policy: out of memory");
	for (size_t i = 0; i < policer->host_count; i++) {
		struct verdict_host_tables tables;

		if (policer->hosts[i].host && verdicts_host_tables(policer->verdicts, policer->hosts[i].host, &tables))
			add_port(policer, &policer->hosts[i], &tables, &ports[count++]);
	}
	note_untracked(policer, ports, count);
	if (!all && !policer->hosts_due && count == policer->host_port_count &&
		(count == 0 || memcmp(ports, policer->host_ports, count * sizeof(*ports)) == 0)) {
		free(ports);
		return 0;
	}
	express_now(policer); /* round such an interface goes nothing */
	rc = policy_plane_set_hosts(policer->plane, ports, count, err);
	if (rc < 0) {
		free(ports);
		return rc;
	}
	note_forwards(policer, ports, count);
	free(policer->host_ports);
	policer->host_ports = ports;
	policer->host_port_count = count;
	policer->hosts_due = false;
	return 0;
}

size_t hosts_check(struct policer *policer)
{
	size_t lost = 0;

	for (size_t i = 0; i < policer->host_port_count; i++) {
		char name[IFNAMSIZ];
		uint32_t index = policer->host_ports[i].ifindex;

		lost += !policy_plane_check_host(policer->plane, index) && if_indextoname(index, name);
	}
	policer->hosts_due |= lost > 0;
	return lost;
}

/* -- for people -- */

const struct host_place *hosts_at(const struct policer *policer, uint32_t ifindex)
{
	for (size_t i = 0; i < policer->host_count; i++)
		if (policer->hosts[i].index == ifindex && policer->hosts[i].host)
			return &policer->hosts[i];
	return NULL;
}

static bool has_table(const struct policy_host *host, uint64_t table, enum verdict_traffic *ret_traffic, enum policy_direction *ret_direction)
{
	for (int t = 0; t < VERDICT_TRAFFIC_COUNT; t++)
		for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
			if (host->table[t][d] == table) {
				*ret_traffic = t;
				*ret_direction = d;
				return true;
			}
	return false;
}

const struct host_place *hosts_find_table(const struct policer *policer, uint64_t table, uint32_t ifindex,
	enum verdict_traffic *ret_traffic, enum policy_direction *ret_direction)
{
	const struct host_place *found = NULL;

	for (size_t i = 0; table && i < policer->host_port_count; i++)
		if ((!found || policer->host_ports[i].ifindex == ifindex) &&
			has_table(&policer->host_ports[i].host, table, ret_traffic, ret_direction))
			found = hosts_at(policer, policer->host_ports[i].ifindex);
	return found;
}

/* -- for the table of the plan -- */

static void add_remark(void *ctx, const char *text)
{
	struct buf *story = ctx;

	buf_printf(story, "%s%s", story->len ? "; " : "", text);
}

/* Where Calico's half of the agent does not read it. */
static struct felix read_felix(struct policer *policer)
{
	_cleanup_(buf_free) struct buf story = BUF_INIT(2048);
	const struct calico_remarks remarks = {.remark = add_remark, .ctx = &story};
	const struct known_node *own = world_find(policer, WORLD_NODES, policer->agent->options.node_name);
	_cleanup_free_ const json_t **objects = calloc(world_count(policer, WORLD_FELIX) + 1, sizeof(*objects));
	struct felix felix;
	size_t count = 0;

	for (size_t i = 0; objects && i < world_count(policer, WORLD_FELIX); i++)
		objects[count++] = world_object(policer, WORLD_FELIX, i);
	felix = calico_felix_merge(objects, count, policer->agent->options.node_name, own ? own->labels : NULL, &remarks);
	policer_problem(policer, "FelixConfiguration", buf_text(&story));
	return felix;
}

struct felix hosts_felix(struct policer *policer)
{
	return policer->agent->calico ? *calico_felix(policer->agent->calico) : read_felix(policer);
}

void hosts_nft(struct policer *policer, struct policy_nft_input *ret)
{
	const struct agent *agent = policer->agent;
	struct felix felix = hosts_felix(policer);

	ret->hosts = policer->host_names;
	ret->host_count = policer->host_names ? policer->host_count : 0;
	ret->keep = strcmp(agent->options.policy_established, "keep") == 0;
	ret->forwards = policer->host_forwards;
	ret->untracked = policer->untracked;
	ret->tunnel_port = agent->calico ? felix.vxlan_port : agent->have_network ? network_port(&agent->network) : 0;
	memcpy(ret->failsafes, felix.failsafes, sizeof(ret->failsafes));
}
