/* SPDX-License-Identifier: Apache-2.0
 *
 * "tullectl ipam" where the store speaks Calico: asks IPAM (ipam/inspect.h) and answers when it has answered.
 */
#include "agent/calico/internal.h"

#include "base/cleanup.h"
#include "ipam/inspect.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

#define LOOK_MS 1000 /* between two looks: an ADD or DEL that is under way is over then */

/* Somebody waits for an answer. */
struct ipam_ask {
	struct calico *calico;
	struct ipam_ask *prev, *next;
	struct http_request *request;
	struct ipam_call *call;
};

/* -- answers -- */

static void answer_text(struct http_request *request, int status, const char *text)
{
	struct http_answer answer = {.status = status, .content_type = "text/plain; charset=utf-8", .body = BUF_INIT(4096)};

	buf_printf(&answer.body, "%s\n", text);
	http_reply(request, &answer);
	buf_free(&answer.body);
}

static void ask_free(struct ipam_ask *ask)
{
	DL_DELETE(ask->calico->ipam_asks, ask);
	ipam_cancel(ask->call);
	free(ask);
}

static int status_of(int rc)
{
	switch (rc) {
	case -EINVAL:
		return 400;
	case -ENOENT:
		return 404;
	case -EBUSY:
	case -ESTALE:
		return 409;
	default:
		return 503;
	}
}

static void on_answer(void *ctx, int rc, const char *text, const struct buf *found)
{
	struct ipam_ask *ask = ctx;
	struct http_answer answer = {.status = 200, .content_type = "application/json", .body = *found};

	ask->call = NULL;
	if (rc < 0)
		answer_text(ask->request, status_of(rc), text);
	else
		http_reply(ask->request, &answer);
	ask_free(ask);
}

static struct ipam_ask *ask_new(struct calico *calico, struct http_request *request)
{
	struct ipam_ask *ask = calloc(1, sizeof(*ask));

	if (!ask) {
		answer_text(request, 503, "out of memory");
		return NULL;
	}
	*ask = (struct ipam_ask){.calico = calico, .request = request};
	DL_APPEND(calico->ipam_asks, ask);
	return ask;
}

static void ask_sent(struct ipam_ask *ask, struct ipam_call *call)
{
	ask->call = call;
	if (call)
		return;
	answer_text(ask->request, 503, "out of memory");
	ask_free(ask);
}

void calico_ipam_free(struct calico *calico)
{
	while (calico->ipam_asks) {
		answer_text(calico->ipam_asks->request, 503, "the agent is stopping");
		ask_free(calico->ipam_asks);
	}
}

/* -- what IPAM does not know -- */

static void add_nodes(void *ctx, struct audit *audit)
{
	const struct calico *calico = ctx;
	const struct collection *nodes = cluster_part(calico->store, CLUSTER_NODES);

	for (const struct collection_item *item = NULL; (item = collection_next(nodes, item));) {
		const struct node *node = item->object;
		const struct addr tunnels[IPAM_TUNNEL_COUNT] = {
			[IPAM_TUNNEL_IPIP] = node->ipip_addr,
			[IPAM_TUNNEL_VXLAN] = node->vxlan_addr[FAMILY_4],
			[IPAM_TUNNEL_VXLAN_6] = node->vxlan_addr[FAMILY_6],
		};

		audit_add_node(audit, node->name, tunnels);
	}
}

static void add_attachment(void *ctx, const struct attachment *attachment)
{
	char handle[IPAM_HANDLE_MAX];

	if (ipam_pod_handle(attachment->network, attachment->container_id, handle) == 0)
		audit_add_attachment(ctx, handle, attachment->addr);
}

static void add_attachments(void *ctx, struct audit *audit)
{
	const struct calico *calico = ctx;

	attach_each(calico->agent->attacher, add_attachment, audit);
}

static struct inspect_source source_of(struct calico *calico)
{
	return (struct inspect_source){
		.nodes = add_nodes,
		.attachments = add_attachments,
		.pods_known = calico->kube != NULL, /* elsewhere pods need not be objects */
		.look_ms = LOOK_MS,
		.ctx = calico,
	};
}

/* Blocks need not be of the size that their pool has now. Null: none is known. */
static const struct prefix *find_block(const struct calico *calico, const struct addr *addr)
{
	const struct collection *blocks = cluster_part(calico->store, CLUSTER_BLOCKS);

	for (const struct collection_item *item = NULL; (item = collection_next(blocks, item));) {
		const struct block *block = item->object;

		if (prefix_contains(&block->cidr, addr))
			return &block->cidr;
	}
	return NULL;
}

/* -- the three verbs -- */

void calico_ipam_show(struct calico *calico, struct http_request *request)
{
	_cleanup_free_ char *ip = http_query(request, "ip"), *blocks = http_query(request, "blocks");
	struct ipam_ask *ask;
	struct addr addr;

	if (ip && addr_parse(ip, &addr) < 0) {
		answer_text(request, 400, "ip: expected an address");
		return;
	}
	ask = ask_new(calico, request);
	if (ask)
		ask_sent(ask, ip ? inspect_address(calico->allocator, &addr, find_block(calico, &addr), on_answer, ask)
				 : inspect_show(calico->allocator, blocks, on_answer, ask));
}

void calico_ipam_check(struct calico *calico, struct http_request *request)
{
	struct inspect_source source = source_of(calico);
	struct ipam_ask *ask;

	if (!collection_is_complete(cluster_part(calico->store, CLUSTER_NODES))) {
		answer_text(request, 503, "the store has not shown the nodes yet");
		return;
	}
	ask = ask_new(calico, request);
	if (ask)
		ask_sent(ask, inspect_audit(calico->allocator, &source, on_answer, ask));
}

void calico_ipam_release(struct calico *calico, struct http_request *request)
{
	_cleanup_free_ char *ip = http_query(request, "ip"), *handle = http_query(request, "handle");
	_cleanup_free_ char *force = http_query(request, "force");
	struct inspect_source source = source_of(calico);
	struct inspect_release what = {.handle = handle, .force = force};
	struct ipam_ask *ask;
	struct addr addr;

	if (!ip == !handle || (handle && !handle[0]) || (ip && addr_parse(ip, &addr) < 0)) {
		answer_text(request, 400, "ip or handle: expected one of the two, an address or the handle's name");
		return;
	}
	if (!collection_is_complete(cluster_part(calico->store, CLUSTER_NODES))) {
		answer_text(request, 503, "the store has not shown the nodes yet");
		return;
	}
	what.addr = ip ? &addr : NULL;
	what.block = ip ? find_block(calico, &addr) : NULL;
	log_info("release of %s%s was asked for%s", ip ? "address " : "handle ", ip ? ip : handle, force ? ", by force" : "");
	ask = ask_new(calico, request);
	if (ask)
		ask_sent(ask, inspect_release(calico->allocator, &source, &what, on_answer, ask));
}
