/* SPDX-License-Identifier: Apache-2.0
 *
 * What endpoints share is found by its bytes: a text by itself, prefixes sorted, labels and ports as a row of texts. Each
 * thing is one allocation, and the pointer that an endpoint holds leads back to it.
 */
#include "model/endpoint.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "model/equal.h"

#include <stdlib.h>
#include <string.h>

/* Of texts and prefixes: the endpoint holds bytes. */
struct shared {
	UT_hash_handle hh;
	size_t users;
	char bytes[];
};

/* The endpoint holds shape; what shape points to lies behind it. */
struct shared_shape {
	UT_hash_handle hh;
	size_t users;
	struct endpoint_shape shape;
	struct labels labels;
};

struct endpoint_pool {
	struct shared *texts, *prefixes;
	struct shared_shape *shapes;
};

#define OWNER_OF(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

struct endpoint_pool *endpoint_pool_new(void)
{
	return calloc(1, sizeof(struct endpoint_pool));
}

void endpoint_pool_free(struct endpoint_pool *pool)
{
	free(pool);
}

/* -- texts and prefixes -- */

static const void *share(struct shared **table, const void *bytes, size_t len)
{
	struct shared *one;

	HASH_FIND(hh, *table, bytes, len, one);
	if (!one) {
		one = calloc(1, sizeof(*one) + len);
		if (!one)
			return NULL;
		memcpy(one->bytes, bytes, len);
		HASH_ADD_KEYPTR(hh, *table, one->bytes, len, one);
	}
	one->users++;
	return one->bytes;
}

static void unshare(struct shared **table, const void *bytes)
{
	struct shared *one = bytes ? OWNER_OF(bytes, struct shared, bytes) : NULL;

	if (!one || --one->users)
		return;
	HASH_DEL(*table, one);
	free(one);
}

static const char *share_text(struct endpoint_pool *pool, const char *text)
{
	return share(&pool->texts, text, strlen(text) + 1);
}

static int compare_prefixes(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

/* False: no memory. */
static bool share_prefixes(struct endpoint_pool *pool, const struct endpoint_parts *parts, struct endpoint *endpoint)
{
	size_t count = parts->allowed_source_count, kept = 0;
	_cleanup_free_ struct prefix *sorted = NULL;

	if (!count)
		return true;
	sorted = calloc(count, sizeof(*sorted));
	if (!sorted || count > UINT16_MAX)
		return false;
	memcpy(sorted, parts->allowed_sources, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_prefixes);
	for (size_t i = 0; i < count; i++)
		if (!kept || !prefix_equal(&sorted[kept - 1], &sorted[i]))
			sorted[kept++] = sorted[i];
	endpoint->allowed_sources = share(&pool->prefixes, sorted, kept * sizeof(*sorted));
	endpoint->allowed_source_count = (uint16_t)kept;
	return endpoint->allowed_sources;
}

/* -- shapes -- */

static int compare_ports(const void *a, const void *b)
{
	const struct endpoint_port *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	if (order == 0)
		order = x->protocol - y->protocol;
	return order ? order : x->port - y->port;
}

/* Sorted, each once; returns how many. */
static size_t sort_ports(struct endpoint_port *ports, size_t count)
{
	size_t kept = 0;

	if (count)
		qsort(ports, count, sizeof(*ports), compare_ports);
	for (size_t i = 0; i < count; i++)
		if (!kept || compare_ports(&ports[kept - 1], &ports[i]) != 0)
			ports[kept++] = ports[i];
	return kept;
}

/* How many labels and ports, then their texts, each with its closing 0: no two shapes look the same. */
static int write_shape(const struct labels *labels, const struct endpoint_port *ports, size_t port_count, struct buf *ret)
{
	size_t counts[2] = {labels->count, port_count};

	buf_add(ret, counts, sizeof(counts));
	for (size_t i = 0; i < labels->count; i++) {
		buf_add(ret, labels->items[i].key, strlen(labels->items[i].key) + 1);
		buf_add(ret, labels->items[i].value, strlen(labels->items[i].value) + 1);
	}
	for (size_t i = 0; i < port_count; i++) {
		buf_add(ret, &ports[i].protocol, sizeof(ports[i].protocol));
		buf_add(ret, &ports[i].port, sizeof(ports[i].port));
		buf_add(ret, ports[i].name, strlen(ports[i].name) + 1);
	}
	return ret->error;
}

static char *take_text(char **at)
{
	char *text = *at;

	*at += strlen(text) + 1;
	return text;
}

/* Items first, then the bytes by which the shape is found, which hold their texts. */
static struct shared_shape *shape_new(size_t label_count, size_t port_count, const struct buf *bytes)
{
	size_t label_size = label_count * sizeof(struct label), port_size = port_count * sizeof(struct endpoint_port);
	struct shared_shape *one = calloc(1, sizeof(*one) + label_size + port_size + bytes->len);
	struct endpoint_port *ports;
	char *key, *at;

	if (!one)
		return NULL;
	one->labels = (struct labels){(struct label *)(one + 1), label_count};
	ports = (struct endpoint_port *)((char *)(one + 1) + label_size);
	one->shape = (struct endpoint_shape){&one->labels, ports, port_count};
	key = (char *)ports + port_size;
	memcpy(key, bytes->data, bytes->len);
	at = key + 2 * sizeof(size_t);
	for (size_t i = 0; i < label_count; i++) {
		one->labels.items[i].key = take_text(&at);
		one->labels.items[i].value = take_text(&at);
	}
	for (size_t i = 0; i < port_count; i++) {
		ports[i].protocol = (uint8_t)*at++;
		memcpy(&ports[i].port, at, sizeof(ports[i].port));
		at += sizeof(ports[i].port);
		ports[i].name = take_text(&at);
	}
	return one;
}

static const struct endpoint_shape *share_shape(struct endpoint_pool *pool, const struct endpoint_parts *parts)
{
	static const struct labels none;
	const struct labels *labels = parts->labels ? parts->labels : &none;
	_cleanup_free_ struct endpoint_port *ports = calloc(parts->port_count + 1, sizeof(*ports));
	_cleanup_(buf_free) struct buf bytes = BUF_INIT(0);
	struct shared_shape *one;
	size_t port_count;

	if (!ports)
		return NULL;
	if (parts->port_count)
		memcpy(ports, parts->ports, parts->port_count * sizeof(*ports));
	port_count = sort_ports(ports, parts->port_count);
	if (write_shape(labels, ports, port_count, &bytes) < 0)
		return NULL;
	HASH_FIND(hh, pool->shapes, bytes.data, bytes.len, one);
	if (!one) {
		one = shape_new(labels->count, port_count, &bytes);
		if (!one)
			return NULL;
		HASH_ADD_KEYPTR(hh, pool->shapes, (char *)(one->shape.ports + port_count), bytes.len, one);
	}
	one->users++;
	return &one->shape;
}

static void unshare_shape(struct endpoint_pool *pool, const struct endpoint_shape *shape)
{
	struct shared_shape *one = shape ? OWNER_OF(shape, struct shared_shape, shape) : NULL;

	if (!one || --one->users)
		return;
	HASH_DEL(pool->shapes, one);
	free(one);
}

/* -- endpoints -- */

struct endpoint *endpoint_new(struct endpoint_pool *pool, const struct endpoint_parts *parts)
{
	size_t len = strlen(parts->name) + 1, need = offsetof(struct endpoint, name) + len;
	struct endpoint *endpoint = calloc(1, need > sizeof(*endpoint) ? need : sizeof(*endpoint));

	if (!endpoint)
		return NULL;
	memcpy(endpoint->name, parts->name, len);
	memcpy(endpoint->addr, parts->addr, sizeof(endpoint->addr));
	endpoint->host_network = parts->host_network;
	endpoint->host = parts->host;
	endpoint->namespace = share_text(pool, parts->namespace);
	endpoint->service_account = share_text(pool, parts->service_account);
	endpoint->node = share_text(pool, parts->node);
	endpoint->shape = share_shape(pool, parts);
	if (!share_prefixes(pool, parts, endpoint) || !endpoint->namespace || !endpoint->service_account ||
		!endpoint->node || !endpoint->shape)
		endpoint_free(pool, &endpoint);
	return endpoint;
}

void endpoint_free(struct endpoint_pool *pool, struct endpoint **endpoint)
{
	struct endpoint *e = *endpoint;

	if (!e)
		return;
	unshare(&pool->texts, e->namespace);
	unshare(&pool->texts, e->service_account);
	unshare(&pool->texts, e->node);
	unshare(&pool->prefixes, e->allowed_sources);
	unshare_shape(pool, e->shape);
	free(e);
	*endpoint = NULL;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->namespace == b->namespace && a->service_account == b->service_account && a->node == b->node &&
	       a->shape == b->shape && addrs_equal(a->addr, FAMILY_COUNT, b->addr, FAMILY_COUNT) &&
	       a->allowed_sources == b->allowed_sources && a->host_network == b->host_network && a->host == b->host &&
	       strcmp(a->name, b->name) == 0;
}

/* -- labels -- */

static const char *if_any(const char *text)
{
	return *text ? text : NULL;
}

static const char *inherited(const struct labels *labels, const char *key, const char *name)
{
	return strcmp(key, "projectcalico.org/name") == 0 ? if_any(name) : labels_get(labels, key);
}

const char *endpoint_label(const void *endpoint_labels, const char *key)
{
	static const char builtin[] = "projectcalico.org/";
	const struct endpoint_labels *all = endpoint_labels;
	const struct endpoint *endpoint = all->endpoint;

	if (strncmp(key, "pcns.", 5) == 0)
		return inherited(all->namespace, key + 5, endpoint->namespace);
	if (strncmp(key, "pcsa.", 5) == 0)
		return inherited(all->service_account, key + 5, endpoint->service_account);
	if (strncmp(key, builtin, strlen(builtin)) == 0) {
		const char *rest = key + strlen(builtin);

		if (strcmp(rest, "namespace") == 0)
			return endpoint->host ? NULL : endpoint->namespace;
		if (strcmp(rest, "serviceaccount") == 0)
			return if_any(endpoint->service_account);
		if (strcmp(rest, "orchestrator") == 0)
			return endpoint->host ? NULL : "k8s";
	}
	return labels_get(endpoint->shape->labels, key);
}
