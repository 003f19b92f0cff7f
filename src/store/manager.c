/* SPDX-License-Identifier: Apache-2.0 */
#include "store/manager.h"

#include "flannel/flannel.h"

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

void manager_problem(struct manager *manager, const char *key, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (problems_news(&manager->problems, key, text))
		manager->events.problem(manager->ctx, key, text);
}

static void take_problem(void *ctx, const char *key, const char *text)
{
	manager_problem(ctx, key, "%s", text);
}

static void take_config(void *ctx, const char *text, size_t len, const char *where)
{
	struct network network = {0};
	struct manager *manager = ctx;
	struct err err = ERR_INIT;

	/* A story about the place where the configuration was before is over. */
	if (strcmp(manager->config_where, where) != 0 || !text)
		manager_problem(manager, manager->config_where, "%s", "");
	if (!text)
		return;
	snprintf(manager->config_where, sizeof(manager->config_where), "%s", where);
	if (flannel_network_parse(text, len, where, &network, &err) < 0) {
		manager_problem(manager, where, "%s", err_text(&err));
		return;
	}
	manager_problem(manager, where, "%s", "");
	if (manager->has_network && network_equal(&network, &manager->network))
		return;
	manager->network = network;
	manager->has_network = true;
	manager_later(manager->step, 0);
	manager->events.network(manager->ctx, &manager->network);
}

static void take_cni_conf(void *ctx, const char *text)
{
	struct manager *manager = ctx;

	if (manager->events.cni_conf)
		manager->events.cni_conf(manager->ctx, text);
}

static void start(struct store *store)
{
	struct manager *manager = (struct manager *)store;

	manager->kv->ops->start(manager->kv);
}

static void watch(struct manager *manager)
{
	if (!manager->watching)
		table_refresh(manager);
	manager_later(manager->step, 0);
}

static void acquire(struct store *store, const struct lease *want)
{
	struct manager *manager = (struct manager *)store;

	manager->want = *want;
	manager->has_want = true;
	watch(manager);
}

static void find_own(struct store *store, const struct addr public_ip[FAMILY_COUNT],
	void (*found)(void *ctx, const struct lease *own), void *ctx)
{
	struct manager *manager = (struct manager *)store;
	struct finding *finding = calloc(1, sizeof(*finding));

	if (!finding) {
		found(ctx, NULL);
		return;
	}
	memcpy(finding->public_ip, public_ip, sizeof(finding->public_ip));
	finding->found = found;
	finding->ctx = ctx;
	finding->next = manager->findings;
	manager->findings = finding;
	watch(manager);
}

static void manager_free(struct store *store)
{
	struct manager *manager = (struct manager *)store;

	if (manager->kv)
		manager->kv->ops->free(manager->kv);
	acquire_done(manager);
	table_done(manager);
	problems_done(&manager->problems);
	free(manager);
}

static const struct store_ops manager_ops = {
	.start = start,
	.acquire = acquire,
	.find_own = find_own,
	.free = manager_free,
};

int manager_new(struct event_base *base, const struct store_events *events, void *ctx, int64_t ttl,
	int64_t renew_margin, struct manager **ret, struct err *err)
{
	struct manager *manager = calloc(1, sizeof(*manager));

	if (!manager)
		return err_set(err, -ENOMEM, "store: no memory");
	manager->store.ops = &manager_ops;
	manager->base = base;
	manager->events = *events;
	manager->ctx = ctx;
	manager->ttl = ttl > 0 ? ttl : 86400;
	manager->renew_margin = renew_margin > 0 ? renew_margin : 3600;
	manager->kv_events = (struct kv_events){
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
	manager->last_rewrite_ms = INT64_MIN / 2;
	if (acquire_init(manager) < 0) {
		manager_free(&manager->store);
		return err_set(err, -ENOMEM, "store: no memory");
	}
	*ret = manager;
	return 0;
}
