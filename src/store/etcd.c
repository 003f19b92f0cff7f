/* SPDX-License-Identifier: Apache-2.0 */
#include "store/etcd_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_problem(void *ctx, const char *name, const char *text)
{
	struct etcd *etcd = ctx;

	etcd->kv.events->problem(etcd->kv.ctx, name, text);
}

/* -- the configuration -- */

static void config_begin(void *ctx, bool anew)
{
	struct etcd *etcd = ctx;

	etcd->has_config = false;
}

static void config_absent(struct etcd *etcd)
{
	struct kv *kv = &etcd->kv;

	kv->events->config(kv->ctx, NULL, 0, etcd->config.key);
	kv->events->problem(kv->ctx, etcd->config.key, etcd->had_config ?
		"the network configuration is gone from etcd: the last one stays in force" :
		"there is no network configuration in etcd: expected one under this key");
}

static void config_end(void *ctx)
{
	struct etcd *etcd = ctx;

	if (!etcd->has_config)
		config_absent(etcd);
}

static void config_put(void *ctx, const Etcd__KeyValue *kv)
{
	struct etcd *etcd = ctx;

	etcd->has_config = etcd->had_config = true;
	etcd->kv.events->config(etcd->kv.ctx, (const char *)kv->value.data, kv->value.len, etcd->config.key);
}

static void config_gone(void *ctx, const Etcd__KeyValue *kv)
{
	struct etcd *etcd = ctx;

	etcd->has_config = false;
	config_absent(etcd);
}

static const struct etcd_watch_events config_events = {config_begin, config_end, config_put, config_gone,
	on_problem};

/* -- the leases -- */

/* The part behind the prefix, cut where it could be no lease's; foreign bytes do not reach the log as they are. */
static void lease_key(const struct etcd *etcd, const ProtobufCBinaryData *key, char ret[static ETCD_KEY_MAX])
{
	size_t head = strlen(etcd->subnets), n = 0;

	for (size_t i = head; i < key->len && n + 1 < ETCD_KEY_MAX; i++)
		ret[n++] = (char)(key->data[i] > 0x20 && key->data[i] < 0x7f ? key->data[i] : '?');
	ret[n] = 0;
}

static void leases_begin(void *ctx, bool anew)
{
	struct etcd *etcd = ctx;

	etcd->kv.events->list_begin(etcd->kv.ctx, anew);
}

static void leases_end(void *ctx)
{
	struct etcd *etcd = ctx;

	etcd->kv.events->list_end(etcd->kv.ctx);
}

static void leases_put(void *ctx, const Etcd__KeyValue *kv)
{
	struct etcd *etcd = ctx;
	char key[ETCD_KEY_MAX];
	struct kv_item item = {
		.key = key,
		.value = kv->value.len ? (const char *)kv->value.data : "",
		.len = kv->value.len,
		.revision = (uint64_t)kv->mod_revision,
		.handle = (uint64_t)kv->lease,
		.expires = kv->lease ? KV_EXPIRES_UNKNOWN : 0,
	};

	lease_key(etcd, &kv->key, key);
	etcd->kv.events->put(etcd->kv.ctx, &item);
}

static void leases_gone(void *ctx, const Etcd__KeyValue *kv)
{
	struct etcd *etcd = ctx;
	char key[ETCD_KEY_MAX];

	lease_key(etcd, &kv->key, key);
	etcd->kv.events->gone(etcd->kv.ctx, key, (uint64_t)kv->mod_revision);
}

static const struct etcd_watch_events lease_events = {leases_begin, leases_end, leases_put, leases_gone,
	on_problem};

/* -- life cycle -- */

static void etcd_start(struct kv *kv)
{
	etcd_watch_list(&((struct etcd *)kv)->config);
}

static void etcd_watch_leases(struct kv *kv)
{
	etcd_watch_list(&((struct etcd *)kv)->leases);
}

static void etcd_free(struct kv *kv)
{
	struct etcd *etcd = (struct etcd *)kv;

	etcd_watch_done(&etcd->config);
	etcd_watch_done(&etcd->leases);
	etcd_client_done(&etcd->client);
	etcd_write_done(etcd);
	free(etcd);
}

static const struct kv_ops etcd_ops = {
	.start = etcd_start,
	.watch = etcd_watch_leases,
	.create = etcd_create,
	.replace = etcd_replace,
	.remove = etcd_remove,
	.expiry = etcd_expiry,
	.free = etcd_free,
};

/* "/coreos.com//network/" -> "/coreos.com/network", as Go's path.Join. */
static int set_keys(struct etcd *etcd, const char *prefix, struct err *err)
{
	char clean[ETCD_KEY_MAX];
	size_t n = 0;

	if (!prefix || !*prefix || strlen(prefix) > ETCD_KEY_MAX - sizeof("/subnets/") - LEASE_KEY_MAX)
		return err_set(err, -EINVAL, "etcd prefix is \"%.100s\", expected a path such as /coreos.com/network",
			prefix ? prefix : "");
	for (const char *p = prefix; *p; p++)
		if (*p != '/' || !n || clean[n - 1] != '/')
			clean[n++] = *p;
	while (n && clean[n - 1] == '/')
		n--;
	snprintf(etcd->config.key, sizeof(etcd->config.key), "%.*s/config", (int)n, clean);
	snprintf(etcd->subnets, sizeof(etcd->subnets), "%.*s/subnets/", (int)n, clean);
	memcpy(etcd->leases.key, etcd->subnets, sizeof(etcd->subnets));
	memcpy(etcd->leases.end, etcd->subnets, sizeof(etcd->subnets));
	etcd->leases.end[strlen(etcd->leases.end) - 1]++; /* all keys that begin with it */
	return 0;
}

static int etcd_open(struct etcd *etcd, const struct store_etcd_options *options, struct event_base *base,
	struct err *err)
{
	const struct etcd_client_options client = {
		.endpoints = options->endpoints,
		.keyfile = options->keyfile,
		.certfile = options->certfile,
		.cafile = options->cafile,
		.username = options->username,
		.password = options->password,
	};
	int rc = set_keys(etcd, options->prefix, err);

	if (rc == 0)
		rc = etcd_client_init(&etcd->client, &client, base, err);
	if (rc < 0)
		return rc;
	if (etcd_watch_init(&etcd->config, &etcd->client, &config_events, etcd, "etcd (configuration)") < 0 ||
		etcd_watch_init(&etcd->leases, &etcd->client, &lease_events, etcd, "etcd (leases)") < 0 ||
		etcd_write_init(etcd) < 0)
		return err_set(err, -ENOMEM, "etcd: no memory");
	return 0;
}

int etcd_new(const struct store_etcd_options *options, struct event_base *base,
	const struct kv_events *events, void *ctx, struct kv **ret, struct err *err)
{
	struct etcd *etcd = calloc(1, sizeof(*etcd));
	int rc;

	if (!etcd)
		return err_set(err, -ENOMEM, "etcd: no memory");
	etcd->kv = (struct kv){.ops = &etcd_ops, .events = events, .ctx = ctx, .ordered = true};
	rc = etcd_open(etcd, options, base, err);
	if (rc < 0) {
		etcd_free(&etcd->kv);
		return rc;
	}
	*ret = &etcd->kv;
	return 0;
}
