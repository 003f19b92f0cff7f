/* SPDX-License-Identifier: Apache-2.0 */
#include "resources/cluster.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "model/workload.h"
#include "resources/resources.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define STORY_MAX 2048
#define NODE_PREFIX "node." /* of the settings that a node has for itself */

struct part {
	struct cluster *store;
	enum cluster_part number;
	struct collection *collection;
	struct collection *uids; /* of what people write; null for the other parts */
	struct objects_watch *watch;
};

struct cluster {
	struct objects *objects;
	struct cluster_events events;
	void *ctx;
	char *node;
	struct part parts[CLUSTER_PART_COUNT];
	struct bgp_config *bgp; /* the last good one */
};

/* -- what each part is made of -- */

#define FREE_AS(type)                              \
	static void type##_drop(void *object)      \
	{                                          \
		struct type *one = object;         \
		type##_free(&one);                 \
	}                                          \
	static bool type##_same(const void *a, const void *b) \
	{                                          \
		return type##_equal(a, b);         \
	}                                          \
	static const struct collection_kind type##_kind = {.free = type##_drop, .equal = type##_same};

FREE_AS(cluster_info)
FREE_AS(ippool)
FREE_AS(ip_reservation)
FREE_AS(bgp_peer)
FREE_AS(bgp_filter)
FREE_AS(node)
FREE_AS(block)
FREE_AS(workload)
FREE_AS(service)
FREE_AS(endpoint_slice)

static void ipam_drop(void *object)
{
	free(object);
}

static bool ipam_same(const void *a, const void *b)
{
	return ipam_config_equal(a, b);
}

static const struct collection_kind ipam_kind = {.free = ipam_drop, .equal = ipam_same};

static void json_drop(void *object)
{
	json_decref(object);
}

static bool json_same(const void *a, const void *b)
{
	return json_equal(a, b);
}

static const struct collection_kind json_kind = {.free = json_drop, .equal = json_same};

static bool text_same(const void *a, const void *b)
{
	return strcmp(a, b) == 0;
}

static const struct collection_kind text_kind = {.free = free, .equal = text_same};

/* Each gives 1 and a new object, 0 when the object means nothing (any more), or a negative errno. */
static int read_info(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	int rc = calico_cluster_info_parse(object, (struct cluster_info **)ret, err);

	return rc == -ENOENT ? 0 : rc < 0 ? rc : 1;
}

static int read_pool(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	int rc = calico_ippool_parse(object, remarks, (struct ippool **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_reservation(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	int rc = calico_ip_reservation_parse(object, remarks, (struct ip_reservation **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_ipam(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	_cleanup_free_ struct ipam_config *config = calloc(1, sizeof(*config));
	int rc = config ? calico_ipam_config_parse(object, config, err) : err_set(err, -ENOMEM, "out of memory");

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	*ret = TAKE_PTR(config);
	return 1;
}

static int read_json(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	*ret = json_deep_copy(object);
	return *ret ? 1 : err_set(err, -ENOMEM, "out of memory");
}

static int read_peer(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	int rc = calico_bgp_peer_parse(object, remarks, (struct bgp_peer **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_filter(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	int rc = calico_bgp_filter_parse(object, (struct bgp_filter **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_node(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	int rc = calico_node_parse(object, remarks, (struct node **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_block(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	return calico_block_parse(object, remarks, (struct block **)ret, err);
}

static int read_namespace(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	int rc = calico_workload_parse(object, true, (struct workload **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_pod(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	int rc = calico_workload_parse(object, false, (struct workload **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_service(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	int rc = calico_service_parse(object, remarks, (struct service **)ret, err);

	return rc < 0 ? rc : 1;
}

static int read_slice(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err)
{
	int rc = calico_endpoint_slice_parse(object, remarks, (struct endpoint_slice **)ret, err);

	return rc < 0 ? rc : 1;
}

/* What nobody reads is dropped while it arrives: of pods and nodes that is most of them. */
static const char *const drop_fields[] = {"metadata.managedFields", NULL};
static const char *const drop_pod[] = {"metadata.managedFields", "metadata.ownerReferences", "spec", "status", NULL};
static const char *const drop_node[] = {"metadata.managedFields", "status.images", "status.conditions", "status.capacity",
	"status.allocatable", "status.nodeInfo", "status.volumesInUse", "status.volumesAttached", NULL};
static const char *const drop_namespace[] = {"metadata.managedFields", "spec", "status", NULL};

static const struct {
	enum kind kind;
	const struct collection_kind *collection;
	int (*read)(const json_t *object, const struct calico_remarks *remarks, void **ret, struct err *err);
	const char *const *drop;
	bool routes; /* routes depend on it */
} traits[CLUSTER_PART_COUNT] = {
	[CLUSTER_INFO] = {KIND_CLUSTER_INFORMATION, &cluster_info_kind, read_info, drop_fields, true},
	[CLUSTER_POOLS] = {KIND_IPPOOL, &ippool_kind, read_pool, drop_fields, true},
	[CLUSTER_RESERVATIONS] = {KIND_IP_RESERVATION, &ip_reservation_kind, read_reservation, drop_fields, false},
	[CLUSTER_IPAM] = {KIND_IPAM_CONFIG, &ipam_kind, read_ipam, drop_fields, false},
	[CLUSTER_FELIX] = {KIND_FELIX_CONFIG, &json_kind, read_json, drop_fields, true},
	[CLUSTER_BGP] = {KIND_BGP_CONFIG, &json_kind, read_json, drop_fields, true},
	[CLUSTER_PEERS] = {KIND_BGP_PEER, &bgp_peer_kind, read_peer, drop_fields, false},
	[CLUSTER_FILTERS] = {KIND_BGP_FILTER, &bgp_filter_kind, read_filter, drop_fields, false},
	[CLUSTER_NODES] = {KIND_NODE, &node_kind, read_node, drop_node, true},
	[CLUSTER_BLOCKS] = {KIND_IPAM_BLOCK, &block_kind, read_block, drop_fields, true},
	[CLUSTER_NAMESPACES] = {KIND_NAMESPACE, &workload_kind, read_namespace, drop_namespace, false},
	[CLUSTER_PODS] = {KIND_POD, &workload_kind, read_pod, drop_pod, false},
	[CLUSTER_SERVICES] = {KIND_SERVICE, &service_kind, read_service, drop_fields, false},
	[CLUSTER_SLICES] = {KIND_ENDPOINT_SLICE, &endpoint_slice_kind, read_slice, drop_fields, false},
};

/* -- objects that come and go -- */

static const char *member(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(json_object_get(object, "metadata"), key));

	return text ? text : "";
}

static void make_key(const json_t *object, char *ret, size_t size)
{
	const char *namespace = member(object, "namespace");

	snprintf(ret, size, "%s%s%s", namespace, *namespace ? "/" : "", member(object, "name"));
}

static void add_remark(void *ctx, const char *text)
{
	struct buf *story = ctx;

	if (story->len)
		buf_add_str(story, "; ");
	buf_add_str(story, text);
}

static void tell(const struct part *part, const char *key, const char *text)
{
	char object[600];

	snprintf(object, sizeof(object), "%s%s%s", kind_name(traits[part->number].kind), *key ? " " : "", key);
	part->store->events.problem(part->store->ctx, object, text);
}

static void tell_changed(const struct part *part)
{
	part->store->events.changed(part->store->ctx, part->number);
}

static void tell_block(const struct part *part, const json_t *object, bool gone)
{
	const struct cluster *store = part->store;

	if (part->number == CLUSTER_BLOCKS && store->events.block)
		store->events.block(store->ctx, member(object, "name"), gone ? NULL : object);
}

static void remember_uid(const struct part *part, const char *key, const json_t *object)
{
	char *uid = part->uids ? strdup(member(object, "uid")) : NULL;

	if (uid)
		collection_put(part->uids, key, uid);
}

static void on_begin(void *ctx, bool anew)
{
	struct part *part = ctx;

	collection_begin(part->collection);
	if (part->uids)
		collection_begin(part->uids);
}

static void on_put(void *ctx, const json_t *object)
{
	_cleanup_(buf_free) struct buf story = BUF_INIT(STORY_MAX);
	struct calico_remarks remarks = {.remark = add_remark, .ctx = &story};
	struct part *part = ctx;
	struct err err = ERR_INIT;
	void *read = NULL;
	char key[512];
	int rc = traits[part->number].read(object, &remarks, &read, &err);
	bool changed = false;

	make_key(object, key, sizeof(key));
	remember_uid(part, key, object);
	tell_block(part, object, false);
	if (rc == 1)
		rc = collection_put(part->collection, key, read);
	else if (rc == 0)
		rc = collection_del(part->collection, key);
	else
		collection_keep(part->collection, key);
	changed = rc == 1;
	if (rc < 0 && !err.code)
		err_set(&err, rc, "out of memory");
	tell(part, key, rc < 0 ? err_text(&err) : buf_text(&story));
	if (changed)
		tell_changed(part);
}

static void on_gone(void *ctx, const json_t *object)
{
	struct part *part = ctx;
	char key[512];

	make_key(object, key, sizeof(key));
	tell_block(part, object, true);
	tell(part, key, "");
	if (part->uids)
		collection_del(part->uids, key);
	if (collection_del(part->collection, key))
		tell_changed(part);
}

static void on_end(void *ctx)
{
	struct part *part = ctx;

	collection_end(part->collection);
	if (part->uids)
		collection_end(part->uids);
	if (part->number == CLUSTER_BLOCKS && part->store->events.block)
		part->store->events.block(part->store->ctx, NULL, NULL);
	tell_changed(part);
}

static void on_problem(void *ctx, const char *key, const char *text)
{
	tell(ctx, key, text);
}

static const struct objects_events watch_events = {.begin = on_begin, .put = on_put, .gone = on_gone, .end = on_end,
	.problem = on_problem};

/* -- life -- */

static int follow(struct part *part, struct err *err)
{
	char selector[300];
	struct objects_watch_options options = {.kind = traits[part->number].kind, .drop = traits[part->number].drop};

	if (part->number == CLUSTER_PODS) {
		snprintf(selector, sizeof(selector), "spec.nodeName=%s", part->store->node);
		options.field_selector = selector;
	}
	part->watch = objects_watch_new(part->store->objects, &options, &watch_events, part);
	return part->watch ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static bool is_of_people(enum cluster_part part)
{
	return part <= CLUSTER_FILTERS;
}

static bool is_for_services(enum cluster_part part)
{
	return part == CLUSTER_SERVICES || part == CLUSTER_SLICES;
}

static int begin(struct cluster *store, const char *node, struct err *err)
{
	int rc = 0;

	store->node = strdup(node);
	if (!store->node)
		return err_set(err, -ENOMEM, "out of memory");
	for (int i = 0; rc == 0 && i < CLUSTER_PART_COUNT; i++) {
		struct part *part = &store->parts[i];

		*part = (struct part){.store = store, .number = i, .collection = collection_new(traits[i].collection)};
		if (is_of_people(i))
			part->uids = collection_new(&text_kind);
		if (!part->collection || (is_of_people(i) && !part->uids))
			rc = err_set(err, -ENOMEM, "out of memory");
		else if (!is_for_services(i))
			rc = follow(part, err);
	}
	return rc;
}

int cluster_new(struct objects *objects, const char *node, const struct cluster_events *events, void *ctx,
	struct cluster **ret, struct err *err)
{
	struct cluster *store = calloc(1, sizeof(*store));
	int rc;

	if (!store)
		return err_set(err, -ENOMEM, "out of memory");
	store->objects = objects;
	store->events = *events;
	store->ctx = ctx;
	rc = begin(store, node, err);
	if (rc < 0) {
		cluster_free(store);
		return rc;
	}
	*ret = store;
	return 0;
}

void cluster_free(struct cluster *store)
{
	if (!store)
		return;
	for (int i = 0; i < CLUSTER_PART_COUNT; i++) {
		objects_watch_free(store->parts[i].watch);
		collection_free(store->parts[i].collection);
		collection_free(store->parts[i].uids);
	}
	bgp_config_free(&store->bgp);
	free(store->node);
	free(store);
}

const struct collection *cluster_part(const struct cluster *store, enum cluster_part part)
{
	return store->parts[part].collection;
}

/* What several objects make together is told of the kind alone: the text begins with the one that is wrong. */
static void find_name(const char *object, const char *text, char ret[static 300])
{
	size_t len = strlen(object);

	snprintf(ret, 300, "%s", object);
	if (!strchr(object, ' ') && strncmp(text, object, len) == 0 && text[len] == ' ')
		snprintf(ret, 300, "%.*s", (int)(len + 1 + strcspn(text + len + 1, ": ")), text);
}

void cluster_remark(struct cluster *store, const char *told, const char *text)
{
	char object[300];
	const char *space;
	size_t len;

	find_name(told, text, object);
	space = strchr(object, ' ');
	len = space ? (size_t)(space - object) : 0;
	for (int i = 0; len && i < CLUSTER_PART_COUNT; i++) {
		const struct part *part = &store->parts[i];
		const char *name = kind_name(traits[i].kind);
		struct objects_remark remark = {.kind = traits[i].kind, .name = space + 1, .node = store->node,
			.reason = "BadConfiguration", .text = text};

		if (strlen(name) != len || memcmp(name, object, len) != 0)
			continue;
		remark.uid = traits[i].kind == KIND_NODE ? space + 1 : part->uids ? collection_find(part->uids, space + 1) : NULL;
		objects_remark(store->objects, &remark);
		return;
	}
}

bool cluster_is_complete(const struct cluster *store)
{
	for (int i = 0; i < CLUSTER_PART_COUNT; i++)
		if (traits[i].routes && !collection_is_complete(store->parts[i].collection))
			return false;
	return true;
}

void cluster_follow_services(struct cluster *store, bool wanted)
{
	for (int i = 0; i < CLUSTER_PART_COUNT; i++) {
		struct part *part = &store->parts[i];

		if (!is_for_services(i) || wanted == (part->watch != NULL))
			continue;
		if (wanted) {
			follow(part, NULL);
			continue;
		}
		objects_watch_free(part->watch);
		part->watch = NULL;
		collection_begin(part->collection);
		collection_end(part->collection);
	}
}

/* -- settings that several objects make together -- */

struct felix cluster_felix(struct cluster *store, const struct labels *labels)
{
	_cleanup_(buf_free) struct buf story = BUF_INIT(STORY_MAX);
	struct calico_remarks remarks = {.remark = add_remark, .ctx = &story};
	const struct part *part = &store->parts[CLUSTER_FELIX];
	size_t count;
	_cleanup_free_ const void **objects = collection_list(part->collection, &count);
	struct felix felix;

	felix = calico_felix_merge((const json_t *const *)objects, count, store->node, labels, &remarks);
	tell(part, "", buf_text(&story));
	return felix;
}

int cluster_bgp(struct cluster *store, const struct bgp_config **ret)
{
	_cleanup_(buf_free) struct buf story = BUF_INIT(STORY_MAX);
	struct calico_remarks remarks = {.remark = add_remark, .ctx = &story};
	const struct part *part = &store->parts[CLUSTER_BGP];
	struct bgp_config *config = NULL;
	struct err err = ERR_INIT;
	char name[300];
	int rc;

	snprintf(name, sizeof(name), NODE_PREFIX "%s", store->node);
	rc = calico_bgp_config_merge(collection_find(part->collection, "default"), collection_find(part->collection, name),
		&remarks, &config, &err);
	tell(part, "", rc < 0 ? err_text(&err) : buf_text(&story));
	if (rc == 0) {
		bgp_config_free(&store->bgp);
		store->bgp = config;
	}
	if (!store->bgp)
		store->bgp = bgp_config_new_default();
	*ret = store->bgp;
	return store->bgp ? 0 : -ENOMEM;
}

/* What is wrong with another node's settings that node tells itself. */
int cluster_bgp_ports(const struct cluster *store, struct bgp_port **ret, size_t *ret_count)
{
	const struct collection *settings = store->parts[CLUSTER_BGP].collection;
	struct bgp_port *ports = calloc(collection_count(settings) + 1, sizeof(*ports));
	size_t count = 0;

	if (!ports)
		return -ENOMEM;
	for (const struct collection_item *item = NULL; (item = collection_next(settings, item));) {
		uint16_t port = 0;

		if (strncmp(item->key, NODE_PREFIX, strlen(NODE_PREFIX)) == 0)
			port = calico_bgp_listen_port(item->object, NULL);
		if (port)
			ports[count++] = (struct bgp_port){item->key + strlen(NODE_PREFIX), port};
	}
	*ret = ports;
	*ret_count = count;
	return 0;
}
