/* SPDX-License-Identifier: Apache-2.0 */
#include "store/kube_private.h"

#include "flannel/flannel.h"
#include "store/directory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t kube_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void kube_later(struct event *event, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(event, &tv);
}

bool kube_problem(struct kube_store *store, const char *key, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!problems_news(&store->problems, key, text))
		return false;
	store->events.problem(store->ctx, key, text);
	return true;
}

/* -- the configuration -- */

static void take_problem(void *ctx, const char *key, const char *text)
{
	kube_problem(ctx, key, "%s", text);
}

static bool same_families(const struct network *a, const struct network *b)
{
	return network_has(a, FAMILY_4) == network_has(b, FAMILY_4) &&
		network_has(a, FAMILY_6) == network_has(b, FAMILY_6);
}

static void take_config(void *ctx, const char *text, size_t len, const char *where)
{
	struct kube_store *store = ctx;
	struct network network = {0};
	struct err err = ERR_INIT;
	bool relist;

	if (!text)
		return;
	if (flannel_network_parse_pod_cidrs(text, len, where, &network, &err) < 0) {
		kube_problem(store, where, "%s", err_text(&err));
		return;
	}
	kube_problem(store, where, "%s", "");
	if (store->has_network && network_equal(&network, &store->network))
		return;
	relist = store->has_network && store->peers_watch && !same_families(&network, &store->network);
	store->network = network;
	store->has_network = true;
	if (store->announced)
		store->events.network(store->ctx, &store->network);
	if (relist)
		kube_peers_start(store);
	kube_later(store->step, 0);
}

static void take_cni_conf(void *ctx, const char *text)
{
	struct kube_store *store = ctx;

	if (store->events.cni_conf)
		store->events.cni_conf(store->ctx, text);
}

/* -- life cycle -- */

static void start(struct store *store)
{
	struct kube_store *kube = (struct kube_store *)store;

	kube->config->ops->start(kube->config);
	kube_own_start(kube);
}

static void acquire(struct store *store, const struct lease *want)
{
	struct kube_store *kube = (struct kube_store *)store;

	kube->want = *want;
	kube->has_want = true;
	kube_later(kube->step, 0);
}

static void find_own(struct store *store, const struct addr public_ip[FAMILY_COUNT],
	void (*found)(void *ctx, const struct lease *own), void *ctx)
{
	kube_own_find((struct kube_store *)store, found, ctx);
}

static void stands(struct store *store)
{
	struct kube_store *kube = (struct kube_store *)store;

	kube->stands = true;
	kube_later(kube->step, 0);
}

static void events_problem(void *ctx, const char *text)
{
	kube_problem(ctx, "events", "%s", text);
}

/* A Node's uid in Events is its name: so kubelets have it, and so kubectl describe looks for it. */
void kube_remark_add(struct kube_store *store, const char *node, const char *reason, const char *text)
{
	struct kube_events_about about = {.kind = "Node", .name = node, .uid = node, .own = strcmp(node, store->node) == 0};

	kube_events_add(store->remarks, &about, store->node, reason, text);
}

static void remark(struct store *store, const char *key, const char *text)
{
	struct kube_store *kube = (struct kube_store *)store;
	const char *name = kube_peers_name(kube, key);

	if (name)
		kube_remark_add(kube, name, "NetworkConflict", text);
}

static void counters(const struct store *store, struct store_counters *ret)
{
	const struct kube_store *kube = (const struct kube_store *)store;
	const struct kube_watch *const watches[] = {kube->own_watch, kube->peers_watch};

	for (size_t i = 0; i < sizeof(watches) / sizeof(watches[0]); i++) {
		const struct kube_watch_counters *one = watches[i] ? kube_watch_counters(watches[i]) : NULL;

		if (!one)
			continue;
		ret->received_bytes += one->bytes;
		ret->objects += one->objects;
		ret->lists += one->lists;
	}
}

static void kube_store_free(struct store *store)
{
	struct kube_store *kube = (struct kube_store *)store;

	if (kube->config)
		kube->config->ops->free(kube->config);
	kube_events_free(kube->remarks);
	kube_peers_done(kube);
	kube_own_done(kube);
	kube_free(kube->kube);
	problems_done(&kube->problems);
	free(kube);
}

static const struct store_ops kube_ops = {
	.start = start,
	.acquire = acquire,
	.find_own = find_own,
	.stands = stands,
	.remark = remark,
	.counters = counters,
	.free = kube_store_free,
};

static int set_names(struct kube_store *store, const struct store_kubernetes_options *options, struct err *err)
{
	const char *const parts[] = {options->node_name, options->pod_namespace, options->pod_name};
	const char *const what[] = {"node name", "POD_NAMESPACE", "POD_NAME"};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		json_t *node;
		bool good;

		if (!parts[i] || !*parts[i])
			continue;
		node = json_pack("{s:{s:s}}", "metadata", "name", parts[i]);
		good = flannel_node_name(node) != NULL;
		json_decref(node);
		if (!good)
			return err_set(err, -EINVAL, "%s: \"%.100s\" is no name of a Kubernetes object, expected lower-case "
				"letters, digits, \"-\" and \".\"", what[i], parts[i]);
	}
	if (parts[0] && *parts[0])
		snprintf(store->node, sizeof(store->node), "%s", parts[0]);
	else if (parts[1] && *parts[1] && parts[2] && *parts[2])
		snprintf(store->pod_path, sizeof(store->pod_path), "/api/v1/namespaces/%s/pods/%s", parts[1], parts[2]);
	else
		return err_set(err, -EINVAL, "the name of this node is not known: expected NODE_NAME, or POD_NAME and "
			"POD_NAMESPACE, in the environment, or --node-name");
	return flannel_node_prefix(options->annotation_prefix, store->prefix, err);
}

static int store_open(struct kube_store *store, const struct store_kubernetes_options *options, struct err *err)
{
	struct kube_options kube = {.api_url = options->api_url, .kubeconfig = options->kubeconfig};
	struct kube_events_options events = {.problem = events_problem, .ctx = store};
	int rc = set_names(store, options, err);

	if (rc == 0)
		rc = kube_new(&kube, store->base, &store->kube, err);
	events.kube = store->kube;
	if (rc == 0)
		rc = directory_new_config(options->net_config, store->base, &store->config_events, store, &store->config,
			err);
	if (rc == 0)
		store->remarks = kube_events_new(&events, store->base);
	if (rc == 0 && (!store->remarks || kube_own_init(store) < 0))
		rc = err_set(err, -ENOMEM, "store: no memory");
	return rc;
}

int store_kubernetes_new(const struct store_kubernetes_options *options, struct event_base *base,
	const struct store_events *events, void *ctx, struct store **ret, struct err *err)
{
	struct kube_store *store = calloc(1, sizeof(*store));
	int rc;

	if (!store)
		return err_set(err, -ENOMEM, "store: no memory");
	store->store.ops = &kube_ops;
	store->base = base;
	store->events = *events;
	store->ctx = ctx;
	store->set_condition = options->set_condition;
	store->last_rewrite_ms = INT64_MIN / 2;
	store->config_events = (struct kv_events){
		.config = take_config,
		.cni_conf = take_cni_conf,
		.problem = take_problem,
	};
	rc = store_open(store, options, err);
	if (rc < 0) {
		kube_store_free(&store->store);
		return rc;
	}
	*ret = &store->store;
	return 0;
}
