/* SPDX-License-Identifier: Apache-2.0 */
#include "store/manager.h"

#include "store/directory.h"
#include "store/etcd.h"

int store_directory_new(const struct store_directory_options *options, struct event_base *base,
	const struct store_events *events, void *ctx, struct store **ret, struct err *err)
{
	struct manager *manager = NULL;
	int rc = manager_new(base, events, ctx, options->ttl, options->renew_margin, &manager, err);

	if (rc < 0)
		return rc;
	rc = directory_new(options->path, base, &manager->kv_events, manager, &manager->kv, err);
	if (rc < 0) {
		store_free(&manager->store);
		return rc;
	}
	*ret = &manager->store;
	return 0;
}

int store_etcd_new(const struct store_etcd_options *options, struct event_base *base,
	const struct store_events *events, void *ctx, struct store **ret, struct err *err)
{
	struct manager *manager = NULL;
	int rc = manager_new(base, events, ctx, options->ttl, options->renew_margin, &manager, err);

	if (rc < 0)
		return rc;
	rc = etcd_new(options, base, &manager->kv_events, manager, &manager->kv, err);
	if (rc < 0) {
		store_free(&manager->store);
		return rc;
	}
	*ret = &manager->store;
	return 0;
}

void store_start(struct store *store)
{
	store->ops->start(store);
}

void store_acquire(struct store *store, const struct lease *want)
{
	store->ops->acquire(store, want);
}

void store_find_own(struct store *store, const struct addr public_ip[FAMILY_COUNT],
	void (*found)(void *ctx, const struct lease *own), void *ctx)
{
	store->ops->find_own(store, public_ip, found, ctx);
}

void store_stands(struct store *store)
{
	if (store->ops->stands)
		store->ops->stands(store);
}

void store_remark(struct store *store, const char *key, const char *text)
{
	if (store->ops->remark)
		store->ops->remark(store, key, text);
}

bool store_counters(const struct store *store, struct store_counters *ret)
{
	*ret = (struct store_counters){0};
	if (!store->ops->counters)
		return false;
	store->ops->counters(store, ret);
	return true;
}

void store_free(struct store *store)
{
	if (store)
		store->ops->free(store);
}
