/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/calico/takeover.h"

#include "agent/calico/internal.h"
#include "attach/adopt.h"
#include "base/cleanup.h"
#include "plane/plane.h"

#include <errno.h>
#include <linux/if.h>
#include <stdio.h>
#include <string.h>

#define RETRY_S 2
#define AGAIN_S 30 /* a pod that Calico's plugin was still at work on */
#define PROBLEM "takeover"
#define FELIX "Calico's agent"

/* An attachment whose interface is gone. */
struct gone {
	char *container_id, *ifname, *handle;
	struct addr addr[FAMILY_COUNT];
};

struct calico_takeover {
	struct calico *calico;
	struct attach_stray *strays;
	struct gone *gone;
	size_t stray_count, gone_count;
	struct ipam_call *call;
	struct event *retry; /* a failure, or the next look for strays */
	bool done, told;
};

static void forget_lists(struct calico_takeover *takeover)
{
	for (size_t i = 0; i < takeover->gone_count; i++) {
		free(takeover->gone[i].container_id);
		free(takeover->gone[i].ifname);
		free(takeover->gone[i].handle);
	}
	free(takeover->gone);
	free(takeover->strays);
	takeover->gone = NULL;
	takeover->strays = NULL;
	takeover->gone_count = takeover->stray_count = 0;
}

/* -- what the blocks say -- */

/* The entry of an address. *ret_seen: its block was looked at, or there is none. */
static const struct ipam_attr *find_attr(
	const struct ipam_result *result, const struct calico *calico, const struct addr *addr, bool *ret_seen)
{
	const struct collection *blocks = cluster_part(calico->store, CLUSTER_BLOCKS);
	int ordinal;

	for (size_t i = 0; i < result->look_count; i++) {
		if (!prefix_contains(&result->looks[i].cidr, addr))
			continue;
		*ret_seen = true;
		ordinal = result->looks[i].block ? ipam_block_ordinal(result->looks[i].block, addr) : -1;
		return ordinal < 0 ? NULL : ipam_block_owner(result->looks[i].block, (unsigned)ordinal);
	}
	*ret_seen = true;
	for (const struct collection_item *item = NULL; (item = collection_next(blocks, item));)
		if (prefix_contains(&((const struct block *)item->object)->cidr, addr))
			*ret_seen = false; /* damaged */
	return NULL;
}

static bool is_of(const struct ipam_attr *attr, const char *key, const char *value)
{
	const char *text = ipam_attr_get(attr, key);

	return text && strcmp(text, value) == 0;
}

/* NETWORK.CONTAINER, of a pod of this node that has this interface. */
static bool split_handle(const struct calico *calico, const struct attach_stray *stray, const struct ipam_attr *attr,
	char handle[IPAM_HANDLE_MAX], struct attach_whose *ret)
{
	const char *pod_namespace = ipam_attr_get(attr, "namespace"), *pod_name = ipam_attr_get(attr, "pod");
	char name[IFNAMSIZ], *dot;

	if (!attr->handle || !ipam_attr_in_use(attr) || !is_of(attr, "node", calico->agent->options.node_name) ||
		snprintf(handle, IPAM_HANDLE_MAX, "%s", attr->handle) >= IPAM_HANDLE_MAX)
		return false;
	dot = strrchr(handle, '.');
	if (!dot || dot == handle || !dot[1] || strlen(dot + 1) >= ATTACH_ID_MAX || dot - handle >= ATTACH_ID_MAX)
		return false;
	if (pod_namespace && pod_name) {
		attach_calico_ifname(pod_namespace, pod_name, name);
		if (strcmp(name, stray->host_ifname) != 0)
			return false;
	}
	*dot = 0;
	*ret = (struct attach_whose){handle, dot + 1, pod_namespace, pod_name};
	return true;
}

static const struct addr *first_addr(const struct attach_stray *stray)
{
	return &stray->addr[addr_is_set(&stray->addr[FAMILY_4]) ? FAMILY_4 : FAMILY_6];
}

static void adopt(struct calico *calico, const struct attach_stray *stray, const struct ipam_result *result)
{
	struct attach_whose whose = {.network = ""};
	char handle[IPAM_HANDLE_MAX], text[ADDR_TEXT_MAX];
	struct err err = ERR_INIT;
	bool known = false, seen;

	for (int f = 0; f < FAMILY_COUNT && !known; f++) {
		const struct ipam_attr *attr =
			addr_is_set(&stray->addr[f]) ? find_attr(result, calico, &stray->addr[f], &seen) : NULL;

		known = attr && split_handle(calico, stray, attr, handle, &whose);
	}
	if (!known)
		log_warning("interface %s, address %s: IPAM does not show which pod of this node it belongs to; it is kept until "
			"its DEL", stray->host_ifname, addr_format(first_addr(stray), text));
	if (attach_adopt(calico->agent->attacher, stray, &whose, &err) < 0)
		log_warning("%s", err_text(&err));
}

/* Calico's plugin releases by the handle; a batch's handle says that ours had not been written yet. */
static bool was_undone(struct calico *calico, const struct gone *gone, const struct ipam_result *result)
{
	char batch[IPAM_HANDLE_MAX] = "";

	ipam_reserve_handle(calico->agent->options.node_name, batch);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct ipam_attr *attr;
		bool seen;

		if (!addr_is_set(&gone->addr[f]))
			continue;
		attr = find_attr(result, calico, &gone->addr[f], &seen);
		if (!seen)
			return false;
		if (attr && attr->handle &&
			(strcmp(attr->handle, gone->handle) == 0 || strcmp(attr->handle, batch) == 0))
			return false;
	}
	return true;
}

static void judge(struct calico_takeover *takeover, const struct ipam_result *result)
{
	const struct timeval wait = {.tv_sec = AGAIN_S};
	struct calico *calico = takeover->calico;

	for (size_t i = 0; i < takeover->stray_count; i++)
		adopt(calico, &takeover->strays[i], result);
	for (size_t i = 0; i < takeover->gone_count; i++) {
		const struct gone *gone = &takeover->gone[i];

		if (!was_undone(calico, gone, result))
			continue;
		log_info("container %s: Calico's plugin has undone it meanwhile; its address rests", gone->container_id);
		attach_forget(calico->agent->attacher, gone->container_id, gone->ifname, NULL);
	}
	if (takeover->stray_count) {
		log_info("took over %zu pods that Calico attached", takeover->stray_count);
		calico_batch_world(calico);
	}
	if (!takeover->done || takeover->stray_count)
		agent_mark(calico->agent);
	takeover->done = true;
	forget_lists(takeover);
	event_add(takeover->retry, &wait);
}

/* -- the look -- */

static void again(struct calico_takeover *takeover, const char *text)
{
	const struct timeval wait = {.tv_sec = RETRY_S};

	problems_set(takeover->calico->agent->problems, PROBLEM, text);
	forget_lists(takeover);
	event_add(takeover->retry, &wait);
}

static void on_looked(void *ctx, const struct ipam_result *result)
{
	struct calico_takeover *takeover = ctx;

	takeover->call = NULL;
	if (result->rc < 0 && result->rc != -EINVAL) { /* a damaged block: all others are there */
		again(takeover, result->text);
		return;
	}
	problems_set(takeover->calico->agent->problems, PROBLEM, NULL);
	judge(takeover, result);
}

static void add_gone(void *ctx, const struct attachment *attachment)
{
	struct calico_takeover *takeover = ctx;
	struct gone *bigger = reallocarray(takeover->gone, takeover->gone_count + 1, sizeof(*bigger));
	char handle[IPAM_HANDLE_MAX];
	struct gone *gone;

	if (!bigger)
		return;
	takeover->gone = bigger;
	if (attachment->flannel || ipam_pod_handle(attachment->network, attachment->container_id, handle) < 0)
		return;
	gone = &bigger[takeover->gone_count];
	*gone = (struct gone){strdup(attachment->container_id), strdup(attachment->ifname), strdup(handle), {{{0}}}};
	memcpy(gone->addr, attachment->addr, sizeof(gone->addr));
	takeover->gone_count++;
}

static bool holds(const struct prefix *cidr, const struct addr addr[FAMILY_COUNT])
{
	const struct addr *one = &addr[family_index(cidr->family)];

	return addr_is_set(one) && prefix_contains(cidr, one);
}

static bool concerns(const struct calico_takeover *takeover, const struct prefix *cidr)
{
	for (size_t i = 0; i < takeover->stray_count; i++)
		if (holds(cidr, takeover->strays[i].addr))
			return true;
	for (size_t i = 0; i < takeover->gone_count; i++)
		if (holds(cidr, takeover->gone[i].addr))
			return true;
	return false;
}

static void look(struct calico_takeover *takeover)
{
	struct calico *calico = takeover->calico;
	const struct collection *blocks = cluster_part(calico->store, CLUSTER_BLOCKS);
	_cleanup_free_ struct prefix *cidrs = calloc(collection_count(blocks) + 1, sizeof(*cidrs));
	size_t count = 0;

	if (!cidrs) {
		again(takeover, "out of memory");
		return;
	}
	for (const struct collection_item *item = NULL; (item = collection_next(blocks, item));) {
		const struct block *block = item->object;

		if (concerns(takeover, &block->cidr))
			cidrs[count++] = block->cidr;
	}
	if (!count) {
		judge(takeover, &(struct ipam_result){.text = ""});
		return;
	}
	takeover->call = allocator_look(calico->allocator, NULL, cidrs, count, on_looked, takeover);
	if (!takeover->call)
		again(takeover, "out of memory");
}

static void begin(struct calico_takeover *takeover)
{
	struct attacher *attacher = takeover->calico->agent->attacher;
	struct err err = ERR_INIT;

	if (attach_list_strays(attacher, &takeover->strays, &takeover->stray_count, &err) < 0) {
		again(takeover, err_text(&err));
		return;
	}
	if (!takeover->done)
		attach_each_gone(attacher, add_gone, takeover);
	look(takeover);
}

static void on_retry(evutil_socket_t fd, short what, void *ctx)
{
	struct calico_takeover *takeover = ctx;

	bool back = plane_felix_is_back(takeover->calico->agent->plane);

	/* it drops what comes from interfaces that it does not know, and takes routes to them away */
	problems_set(takeover->calico->agent->problems, FELIX,
		back ? "its rules are there again, so Felix runs beside tulled: stop calico-node on this node, then "
		       "restart tulled" : NULL);
	if (!takeover->call && !calico_is_locked(takeover->calico))
		begin(takeover);
	else
		again(takeover, NULL);
}

static int takeover_new(struct calico *calico)
{
	struct calico_takeover *takeover = calico->takeover = calloc(1, sizeof(*takeover));

	if (!takeover)
		return -ENOMEM;
	takeover->calico = calico;
	takeover->retry = event_new(calico->agent->base, -1, 0, on_retry, takeover);
	if (takeover->retry)
		return 0;
	calico_takeover_free(calico);
	return -ENOMEM;
}

void calico_takeover_go(struct calico *calico)
{
	if (!allocator_world(calico->allocator) || calico->takeover)
		return;
	if (takeover_new(calico) == 0)
		begin(calico->takeover);
}

bool calico_takeover_is_done(const struct calico *calico)
{
	return calico->takeover && calico->takeover->done;
}

/* -- the node's address -- */

static bool flags_choose(const struct options *options)
{
	return options->iface.count || options->iface_regex.count || options->iface_can_reach[0] ||
		options->public_ip[0] || options->public_ipv6[0];
}

/* Not the loopback device, on which fabrics with BGP put it: packets do not leave there. */
static bool is_on_an_interface(const struct addr *addr)
{
	_cleanup_free_ struct plane_link *links = NULL;
	_cleanup_free_ struct plane_addr *addrs = NULL;
	size_t link_count = 0, addr_count = 0;

	if (plane_list_addrs(&addrs, &addr_count, NULL) < 0 || plane_list_links(&links, &link_count, NULL) < 0)
		return false;
	for (size_t i = 0; i < addr_count; i++)
		for (size_t j = 0; addr_equal(&addrs[i].addr, addr) && j < link_count; j++)
			if (links[j].index == addrs[i].index)
				return !(links[j].flags & IFF_LOOPBACK);
	return false;
}

void calico_takeover_address(
	const struct calico *calico, struct options *options, char text[FAMILY_COUNT][ADDR_TEXT_MAX])
{
	char **values[FAMILY_COUNT] = {[FAMILY_4] = &options->public_ip, [FAMILY_6] = &options->public_ipv6};
	const struct node *own = calico_node_own(calico);

	if (!own || flags_choose(options))
		return;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct addr *addr = &own->address[f].addr;

		if (calico->families[f] && prefix_is_set(&own->address[f]) && is_on_an_interface(addr))
			*values[f] = (char *)addr_format(addr, text[f]);
	}
}

/* -- what others see -- */

void calico_takeover_tell(struct calico *calico)
{
	const char *note = plane_felix_note(calico->agent->plane);

	if (!calico->takeover || calico->takeover->told || !note[0])
		return;
	log_info("removed what a Calico that ran here left: %s", note);
	calico->takeover->told = true;
}

void calico_takeover_free(struct calico *calico)
{
	struct calico_takeover *takeover = calico->takeover;

	if (!takeover)
		return;
	ipam_cancel(takeover->call);
	if (takeover->retry)
		event_free(takeover->retry);
	forget_lists(takeover);
	free(takeover);
	calico->takeover = NULL;
}
