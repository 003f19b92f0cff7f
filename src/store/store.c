/* SPDX-License-Identifier: Apache-2.0 */
#include "store/manager.h"

#include "store/directory.h"
#include "store/etcd.h"
#include "store/flannel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t manager_now(void)
{
	return time(NULL);
}

int64_t manager_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void manager_later(struct event *event, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(event, &tv);
}

void manager_problem(struct store *store, const char *key, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (problems_news(&store->problems, key, text))
		store->events.problem(store->ctx, key, text);
}

static void take_problem(void *ctx, const char *key, const char *text)
{
	manager_problem(ctx, key, "%s", text);
}

static void take_config(void *ctx, const char *text, size_t len, const char *where)
{
	struct network network = {0};
	struct store *store = ctx;
	struct err err = ERR_INIT;

	/* A story about the place where the configuration was before is over. */
	if (strcmp(store->config_where, where) != 0 || !text)
		manager_problem(store, store->config_where, "%s", "");
	if (!text)
		return;
	snprintf(store->config_where, sizeof(store->config_where), "%s", where);
	if (flannel_network_parse(text, len, where, &network, &err) < 0) {
		manager_problem(store, where, "%s", err_text(&err));
		return;
	}
	manager_problem(store, where, "%s", "");
	if (store->has_network && network_equal(&network, &store->network))
		return;
	store->network = network;
	store->has_network = true;
	manager_later(store->step, 0);
	store->events.network(store->ctx, &store->network);
}

static void take_cni_conf(void *ctx, const char *text)
{
	struct store *store = ctx;

	if (store->events.cni_conf)
		store->events.cni_conf(store->ctx, text);
}

int manager_new(struct event_base *base, const struct store_events *events, void *ctx, int64_t ttl,
	int64_t renew_margin, struct store **ret, struct err *err)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		return err_set(err, -ENOMEM, "store: no memory");
	store->base = base;
	store->events = *events;
	store->ctx = ctx;
	store->ttl = ttl > 0 ? ttl : 86400;
	store->renew_margin = renew_margin > 0 ? renew_margin : 3600;
	store->kv_events = (struct kv_events){
		.config = take_config,
		.cni_conf = take_cni_conf,
		.list_begin = table_list_begin,
		.list_end = table_list_end,
		.put = table_put,
		.gone = table_gone,
		.problem = take_problem,
		.expires = table_expires,
		.blocks = table_blocks,
	};
	store->last_rewrite_ms = INT64_MIN / 2;
	if (acquire_init(store) < 0) {
		store_free(store);
		return err_set(err, -ENOMEM, "store: no memory");
	}
	*ret = store;
	return 0;
}

int store_directory_new(const struct store_directory_options *options, struct event_base *base,
	const struct store_events *events, void *ctx, struct store **ret, struct err *err)
{
	struct store *store = NULL;
	int rc = manager_new(base, events, ctx, options->ttl, options->renew_margin, &store, err);

	if (rc < 0)
		return rc;
	rc = directory_new(options->path, base, &store->kv_events, store, &store->kv, err);
	if (rc < 0) {
		store_free(store);
		return rc;
	}
	*ret = store;
	return 0;
}

int store_etcd_new(const struct store_etcd_options *options, struct event_base *base,
	const struct store_events *events, void *ctx, struct store **ret, struct err *err)
{
	struct store *store = NULL;
	int rc = manager_new(base, events, ctx, options->ttl, options->renew_margin, &store, err);

	if (rc < 0)
		return rc;
	rc = etcd_new(options, base, &store->kv_events, store, &store->kv, err);
	if (rc < 0) {
		store_free(store);
		return rc;
	}
	*ret = store;
	return 0;
}

void store_start(struct store *store)
{
	store->kv->ops->start(store->kv);
}

static void watch(struct store *store)
{
	if (!store->watching)
		table_refresh(store);
	manager_later(store->step, 0);
}

void store_acquire(struct store *store, const struct lease *want)
{
	store->want = *want;
	store->has_want = true;
	watch(store);
}

void store_find_own(struct store *store, const struct addr public_ip[FAMILY_COUNT],
	void (*found)(void *ctx, const struct lease *own), void *ctx)
{
	struct finding *finding = calloc(1, sizeof(*finding));

	if (!finding) {
		found(ctx, NULL);
		return;
	}
	memcpy(finding->public_ip, public_ip, sizeof(finding->public_ip));
	finding->found = found;
	finding->ctx = ctx;
	finding->next = store->findings;
	store->findings = finding;
	watch(store);
}

void store_free(struct store *store)
{
	if (!store)
		return;
	if (store->kv)
		store->kv->ops->free(store->kv);
	acquire_done(store);
	table_done(store);
	problems_done(&store->problems);
	free(store);
}
