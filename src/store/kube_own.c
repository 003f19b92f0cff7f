/* SPDX-License-Identifier: Apache-2.0 */
#include "store/kube_private.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "base/rfc3339.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_MS 10000
#define PAUSE_FIRST_MS 200
#define PAUSE_MAX_MS 60000
#define REWRITE_QUIET_MS 600000 /* after this long, a rewrite by somebody else is a first one again */

/* -- our node, as the cluster has it -- */

static void step_soon(struct kube_store *store)
{
	kube_later(store->step, 0);
}

static unsigned long long version_of(const json_t *object)
{
	const char *text = json_string_value(json_object_get(json_object_get(object, "metadata"), "resourceVersion"));

	return text ? strtoull(text, NULL, 10) : 0;
}

/* An annotation that holds an address of this family; a bad one is told and counts as absent. */
static void read_address(struct kube_store *store, const char *name, int f, struct addr *ret)
{
	const char *text = flannel_node_annotation(store->own, store->prefix, name);
	struct addr addr;
	char key[FLANNEL_PREFIX_MAX + 48];

	memset(ret, 0, sizeof(*ret));
	snprintf(key, sizeof(key), "annotation %s%s", store->prefix, name);
	if (!text || !*text) {
		kube_problem(store, key, "%s", "");
		return;
	}
	if (addr_parse(text, &addr) < 0 || family_index(addr_family(&addr)) != f) {
		if (kube_problem(store, key, "node %s has \"%.60s\" there, expected an %s address: it is ignored", store->node, text,
			f == FAMILY_4 ? "IPv4" : "IPv6"))
			kube_remark_add(store, store->node, "BadAnnotation", problems_story(&store->problems, key));
		return;
	}
	kube_problem(store, key, "%s", "");
	*ret = addr;
}

static void tell_wishes(struct kube_store *store)
{
	struct addr wish[FAMILY_COUNT];

	read_address(store, "node-public-ip", FAMILY_4, &wish[FAMILY_4]);
	read_address(store, "node-public-ipv6", FAMILY_6, &wish[FAMILY_6]);
	if (store->wish_told && memcmp(wish, store->wish, sizeof(wish)) == 0)
		return;
	memcpy(store->wish, wish, sizeof(wish));
	store->wish_told = true;
	if (store->events.public_ip)
		store->events.public_ip(store->ctx, store->wish);
}

static void answer_findings(struct kube_store *store)
{
	struct kube_finding *finding = store->findings;
	struct lease lease = {0};
	bool good = flannel_node_parse(store->own, store->prefix, &store->network, &lease, NULL) > 0;

	store->findings = NULL;
	while (finding) {
		struct kube_finding *next = finding->next;

		finding->found(finding->ctx, good ? &lease : NULL);
		free(finding);
		finding = next;
	}
}

static void take_own(struct kube_store *store, json_t *own)
{
	if (!store->own)
		kube_problem(store, "node", "%s", "");
	json_decref(store->own);
	store->own = own;
	tell_wishes(store);
	step_soon(store);
}

static void own_gone(struct kube_store *store)
{
	json_decref(store->own);
	store->own = NULL;
	kube_problem(store, "node", "there is no node %s in the cluster: expected its kubelet to register it", store->node);
	if (!store->holds)
		return;
	store->holds = false;
	store->events.lost(store->ctx);
}

static void on_begin(void *ctx, bool anew)
{
	struct kube_store *store = ctx;

	store->own_seen = false;
	if (anew && store->own)
		json_object_del(json_object_get(store->own, "metadata"), "resourceVersion");
}

static void on_put(void *ctx, const json_t *object)
{
	const char *name = flannel_node_name(object);
	struct kube_store *store = ctx;

	if (!name || strcmp(name, store->node) != 0)
		return;
	store->own_seen = true;
	/* What we wrote last may be newer than what the watch has got to. */
	if (!store->own || version_of(object) >= version_of(store->own))
		take_own(store, json_deep_copy(object));
}

static void on_gone(void *ctx, const json_t *object)
{
	const char *name = flannel_node_name(object);
	struct kube_store *store = ctx;

	if (name && strcmp(name, store->node) == 0)
		own_gone(store);
}

static void on_end(void *ctx)
{
	struct kube_store *store = ctx;

	if (!store->own_seen)
		own_gone(store);
}

static void on_problem(void *ctx, const char *text)
{
	kube_problem(ctx, "own node", "%s", text);
}

static const struct kube_watch_events own_events = {on_begin, on_put, on_gone, on_end, on_problem};

/* Everything of a Node but its conditions and what a lease is made of. */
static const char *const own_drop[] = {"metadata.managedFields", "status.images", "status.nodeInfo", "status.addresses",
	"status.capacity", "status.allocatable", "status.daemonEndpoints", "status.volumesInUse", "status.volumesAttached",
	"status.runtimeHandlers", "status.features", "status.config", NULL};

static void watch_own(struct kube_store *store)
{
	char selector[KUBE_NAME_MAX + 32];
	struct kube_watch_options options = {
		.path = "/api/v1/nodes",
		.field_selector = selector,
		.drop = own_drop,
	};

	snprintf(selector, sizeof(selector), "metadata.name=%s", store->node);
	store->own_watch = kube_watch_new(store->kube, store->base, &options, &own_events, store);
	if (!store->own_watch)
		kube_problem(store, "own node", "no memory");
}

/* -- writes -- */

static void pause_after_failure(struct kube_store *store)
{
	int64_t ms = PAUSE_FIRST_MS;

	for (unsigned i = 0; i < store->failures && ms < PAUSE_MAX_MS; i++)
		ms *= 2;
	store->failures++;
	if (ms > PAUSE_MAX_MS)
		ms = PAUSE_MAX_MS;
	kube_later(store->pause, ms / 2 + arc4random_uniform((uint32_t)(ms / 2) + 1));
}

/* The answer to a patch is the whole Node as it is now. */
static void take_answer(struct kube_store *store, const struct kube_answer *answer)
{
	json_t *node = json_loadb(answer->body, answer->len, 0, NULL);
	const char *name = flannel_node_name(node);

	if (name && strcmp(name, store->node) == 0 && version_of(node) >= version_of(store->own)) {
		json_object_del(json_object_get(node, "metadata"), "managedFields");
		json_object_del(json_object_get(node, "status"), "images");
		take_own(store, node);
		return;
	}
	json_decref(node);
}

static void on_written(void *ctx, const struct kube_answer *answer)
{
	struct kube_store *store = ctx;
	enum kube_write write = store->write;

	store->call = NULL;
	store->write = KUBE_WRITE_NONE;
	step_soon(store);
	if (answer->status / 100 != 2) {
		kube_problem(store, write == KUBE_WRITE_ANNOTATIONS ? "" : "condition", "%s: %s",
			write == KUBE_WRITE_ANNOTATIONS ? "this node cannot be announced to the others" :
			"the node's condition NetworkUnavailable cannot be set", answer->text);
		pause_after_failure(store);
		return;
	}
	store->failures = 0;
	kube_problem(store, write == KUBE_WRITE_ANNOTATIONS ? "" : "condition", "%s", "");
	if (store->own)
		take_answer(store, answer);
}

static void patch_node(struct kube_store *store, enum kube_write write, const json_t *patch)
{
	_cleanup_free_ char *body = json_dumps(patch, JSON_COMPACT);
	char path[KUBE_NAME_MAX + 32];
	struct kube_request request = {
		.method = "PATCH",
		.path = path,
		.content_type = "application/strategic-merge-patch+json",
		.body = body,
		.len = body ? strlen(body) : 0,
		.timeout_ms = WRITE_MS,
		.done = on_written,
		.ctx = store,
	};

	snprintf(path, sizeof(path), "/api/v1/nodes/%s/status", store->node);
	store->write = write;
	store->call = body ? kube_call_new(store->kube, &request) : NULL;
	if (!store->call)
		pause_after_failure(store);
}

/* -- annotations -- */

/* Our lease, if the cluster lets us have one now. */
static bool make_lease(struct kube_store *store, struct lease *ret)
{
	struct prefix cidrs[FAMILY_COUNT] = {0};
	struct err err = ERR_INIT;
	int rc = flannel_node_pod_cidrs(store->own, cidrs, &err);

	*ret = store->want;
	memset(ret->subnet, 0, sizeof(ret->subnet));
	flannel_node_key(store->node, ret->key);
	for (int f = 0; f < FAMILY_COUNT && rc >= 0; f++) {
		const char *word = f == FAMILY_4 ? "IPv4" : "IPv6";
		char cidr[PREFIX_TEXT_MAX], network[PREFIX_TEXT_MAX];

		if (!network_has(&store->network, f))
			continue;
		if (!prefix_is_set(&cidrs[f]))
			rc = err_set(&err, -ENOENT, "it has no %s podCIDR yet: waiting for the controller manager "
				"(--allocate-node-cidrs) to assign one", word);
		else if (!prefix_contains_prefix(&store->network.pool[f].cidr, &cidrs[f]))
			rc = err_set(&err, -EINVAL, "its podCIDR is %s, expected one inside the network configuration's %s",
				prefix_format(&cidrs[f], cidr), prefix_format(&store->network.pool[f].cidr, network));
		else if (!addr_is_set(&store->want.public_ip[f]))
			rc = err_set(&err, -EINVAL, "it has no public %s address, but the network configuration enables %s", word,
				word);
		ret->subnet[f] = cidrs[f];
	}
	if (rc < 0 && kube_problem(store, "node", "node %s: %s", store->node, err_text(&err)))
		kube_remark_add(store, store->node, "PodCIDRUnusable", err_text(&err));
	if (rc >= 0)
		kube_problem(store, "node", "%s", "");
	return rc >= 0;
}

/* The annotations that differ from what the node has, with their full names; null when all is as it should be. */
static json_t *difference(struct kube_store *store, const struct lease *lease)
{
	struct lease published = *lease;
	json_t *changes = json_object(), *wanted, *value;
	const char *name;

	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct addr overwrite;

		read_address(store, f == FAMILY_4 ? "public-ip-overwrite" : "public-ipv6-overwrite", f, &overwrite);
		if (addr_is_set(&overwrite))
			published.public_ip[f] = overwrite;
	}
	wanted = flannel_node_format(&published);
	json_object_foreach(wanted, name, value) {
		const char *now = flannel_node_annotation(store->own, store->prefix, name);
		char full[FLANNEL_PREFIX_MAX + 32];

		if (json_is_null(value) ? !now : now && strcmp(now, json_string_value(value)) == 0)
			continue;
		snprintf(full, sizeof(full), "%s%s", store->prefix, name);
		json_object_set(changes, full, value);
	}
	json_decref(wanted);
	if (json_object_size(changes))
		return changes;
	json_decref(changes);
	return NULL;
}

/* Somebody else writes our annotations: at once the first time, ever more slowly then. False: not now. */
static bool may_rewrite(struct kube_store *store)
{
	int64_t now = kube_now_ms();

	store->rewrites = now - store->last_rewrite_ms > REWRITE_QUIET_MS ? 0 : store->rewrites + 1;
	store->last_rewrite_ms = now;
	if (!store->rewrites)
		return true;
	kube_problem(store, "", "the annotations of node %s are being rewritten by somebody else: does flanneld run here as "
		"well?", store->node);
	kube_later(store->pause, store->rewrites < 7 ? 500 << store->rewrites : PAUSE_MAX_MS);
	store->holds = false; /* the step after the pause writes without asking here again */
	return false;
}

static void hold(struct kube_store *store, const struct lease *lease)
{
	bool news = !store->holds || !lease_equal(lease, &store->held);

	store->held = *lease;
	store->holds = true;
	if (news)
		store->events.acquired(store->ctx, &store->held);
	if (!store->peers_watch)
		kube_peers_start(store);
}

/* True when our lease is held and nothing is left to write. */
static bool announce(struct kube_store *store)
{
	struct lease lease;
	json_t *changes, *patch;

	if (!make_lease(store, &lease))
		return false;
	changes = difference(store, &lease);
	if (!changes) {
		hold(store, &lease);
		return true;
	}
	if (!store->holds || !lease_equal(&lease, &store->held) || may_rewrite(store)) {
		patch = json_pack("{s:{s:O}}", "metadata", "annotations", changes);
		patch_node(store, KUBE_WRITE_ANNOTATIONS, patch);
		json_decref(patch);
	}
	json_decref(changes);
	return false;
}

/* -- the condition -- */

static bool condition_is_set(const json_t *node)
{
	const json_t *conditions = json_object_get(json_object_get(node, "status"), "conditions");
	json_t *one;
	size_t i;

	json_array_foreach((json_t *)conditions, i, one) {
		const char *type = json_string_value(json_object_get(one, "type"));
		const char *status = json_string_value(json_object_get(one, "status"));

		if (type && status && strcmp(type, "NetworkUnavailable") == 0)
			return strcmp(status, "False") == 0;
	}
	return false;
}

static void set_condition(struct kube_store *store)
{
	char now[RFC3339_MAX];
	json_t *patch;

	rfc3339_format(time(NULL), now);
	patch = json_pack("{s:{s:[{s:s,s:s,s:s,s:s,s:s,s:s}]}}", "status", "conditions", "type", "NetworkUnavailable", "status",
		"False", "reason", "TulleIsUp", "message", "Tulle is running on this node", "lastTransitionTime", now,
		"lastHeartbeatTime", now);
	patch_node(store, KUBE_WRITE_CONDITION, patch);
	json_decref(patch);
}

/* -- one decision at a time -- */

static void decide(struct kube_store *store)
{
	if (!store->own || !store->has_network)
		return;
	if (!store->announced) {
		store->announced = true;
		store->events.network(store->ctx, &store->network);
	}
	answer_findings(store);
	if (!store->has_want || store->call || event_pending(store->pause, EV_TIMEOUT, NULL))
		return;
	if (announce(store) && store->stands && store->set_condition && !condition_is_set(store->own))
		set_condition(store);
}

/* -- our name -- */

static void ask_pod(struct kube_store *store);

static void on_pod(void *ctx, const struct kube_answer *answer)
{
	struct kube_store *store = ctx;
	json_t *pod = answer->status / 100 == 2 ? json_loadb(answer->body, answer->len, 0, NULL) : NULL;
	const char *name = json_string_value(json_object_get(json_object_get(pod, "spec"), "nodeName"));

	store->call = NULL;
	if (name && strlen(name) < sizeof(store->node)) {
		snprintf(store->node, sizeof(store->node), "%s", name);
		store->failures = 0;
		kube_problem(store, "own pod", "%s", "");
		watch_own(store);
	} else {
		kube_problem(store, "own pod", "the name of this node cannot be found out: %s",
			answer->status / 100 == 2 ? "our pod has no spec.nodeName" : answer->text);
		pause_after_failure(store);
	}
	json_decref(pod);
}

static void ask_pod(struct kube_store *store)
{
	struct kube_request request = {
		.method = "GET",
		.path = store->pod_path,
		.timeout_ms = WRITE_MS,
		.done = on_pod,
		.ctx = store,
	};

	store->call = kube_call_new(store->kube, &request);
	if (!store->call)
		pause_after_failure(store);
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
	struct kube_store *store = arg;

	if (store->node[0])
		decide(store);
	else if (!store->call && !event_pending(store->pause, EV_TIMEOUT, NULL))
		ask_pod(store);
}

/* -- life cycle -- */

int kube_own_init(struct kube_store *store)
{
	store->step = event_new(store->base, -1, 0, on_step, store);
	store->pause = event_new(store->base, -1, 0, on_step, store);
	return store->step && store->pause ? 0 : -ENOMEM;
}

void kube_own_start(struct kube_store *store)
{
	if (store->node[0])
		watch_own(store);
	else
		ask_pod(store);
}

void kube_own_find(struct kube_store *store, void (*found)(void *ctx, const struct lease *own), void *ctx)
{
	struct kube_finding *finding = calloc(1, sizeof(*finding));

	if (!finding) {
		found(ctx, NULL);
		return;
	}
	finding->found = found;
	finding->ctx = ctx;
	finding->next = store->findings;
	store->findings = finding;
	step_soon(store);
}

void kube_own_done(struct kube_store *store)
{
	struct kube_finding *finding;

	kube_call_cancel(store->call);
	kube_watch_free(store->own_watch);
	json_decref(store->own);
	while ((finding = store->findings)) {
		store->findings = finding->next;
		free(finding);
	}
	if (store->step)
		event_free(store->step);
	if (store->pause)
		event_free(store->pause);
}
