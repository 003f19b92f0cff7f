/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/calico_etcd_node.h"
#include "objects/calico_form.h"

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "model/node.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RESOURCES "/calico/resources/v3/projectcalico.org/"
#define OWN "/tulle/resources/" /* kinds of the core group that Calico keeps nowhere in etcd */
#define BLOCKS "/calico/ipam/v2/assignment/"
#define HOSTS "/calico/ipam/v2/host/"
#define VIRTUALS "/calico/ipam/v2/virtual/"
#define HANDLES "/calico/ipam/v2/handle/"
#define CONFIG "/calico/ipam/v2/config"
#define LOAD_BALANCER "load-balancer" /* the only owner of virtual affinities */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static const char *spec_text(const json_t *object, const char *key)
{
	return text_of(json_object_get(object, "spec"), key);
}

/* Where the objects of a kind are that have keys by their names. */
static void named_prefix(enum kind kind, char ret[static CALICO_KEY_MAX])
{
	bool calico = kind_info(kind)->v1_name || kind == KIND_NODE;

	snprintf(ret, CALICO_KEY_MAX, "%s%s/", calico ? RESOURCES : OWN, kind_info(kind)->plural);
}

void calico_etcd_range(enum kind kind, char prefix[static CALICO_KEY_MAX], char end[static CALICO_KEY_MAX])
{
	end[0] = 0;
	if (kind == KIND_IPAM_BLOCK) {
		strcpy(prefix, BLOCKS);
	} else if (kind == KIND_BLOCK_AFFINITY) {
		/* Nothing else has its keys between those of hosts and the virtual ones. */
		strcpy(prefix, HOSTS);
		strcpy(end, VIRTUALS);
	} else if (kind == KIND_IPAM_HANDLE) {
		strcpy(prefix, HANDLES);
	} else if (kind == KIND_IPAM_CONFIG) {
		strcpy(prefix, CONFIG);
	} else {
		named_prefix(kind, prefix);
	}
	if (!*end)
		strcpy(end, prefix);
	end[strlen(end) - 1]++;
}

/* -- prefixes in keys ("10.0.0.0-26") and names ("10-0-0-0-26") -- */

static void dashes(char *text, const char *which)
{
	for (; *text; text++)
		if (strchr(which, *text))
			*text = '-';
}

static void cidr_name(const struct prefix *cidr, char ret[static PREFIX_TEXT_MAX])
{
	prefix_format(cidr, ret);
	dashes(ret, ".:/");
}

static void cidr_key(const struct prefix *cidr, char ret[static PREFIX_TEXT_MAX])
{
	prefix_format(cidr, ret);
	dashes(ret, "/");
}

static bool parse_with(const char *name, char between, struct prefix *ret)
{
	char text[PREFIX_TEXT_MAX], again[PREFIX_TEXT_MAX];

	if (strlen(name) >= sizeof(text) || !strchr(name, '-'))
		return false;
	strcpy(text, name);
	*strrchr(text, '-') = '/';
	for (char *p = text; *p; p++)
		if (*p == '-')
			*p = between;
	if (prefix_parse(text, ret) < 0)
		return false;
	cidr_name(ret, again);
	return strcmp(again, name) == 0;
}

static bool parse_name(const char *name, struct prefix *ret)
{
	return parse_with(name, '.', ret) || parse_with(name, ':', ret);
}

/* "ipv4/block/10.0.0.0-26" */
static bool parse_block_key(const char *key, struct prefix *ret)
{
	int family = strncmp(key, "ipv4/block/", 11) == 0 ? AF_INET : AF_INET6;
	char text[PREFIX_TEXT_MAX];

	if (family == AF_INET6 && strncmp(key, "ipv6/block/", 11) != 0)
		return false;
	if (strlen(key + 11) >= sizeof(text) || !strchr(key + 11, '-'))
		return false;
	strcpy(text, key + 11);
	*strrchr(text, '-') = '/';
	return prefix_parse(text, ret) == 0 && ret->family == family;
}

static void block_key(const char *head, const struct prefix *cidr, char ret[static CALICO_KEY_MAX])
{
	char text[PREFIX_TEXT_MAX];

	cidr_key(cidr, text);
	snprintf(ret, CALICO_KEY_MAX, "%sipv%c/block/%s", head, cidr->family == AF_INET ? '4' : '6', text);
}

static void affinity_key(const char *type, const char *node, const struct prefix *cidr,
	char ret[static CALICO_KEY_MAX])
{
	char head[CALICO_KEY_MAX / 2];

	snprintf(head, sizeof(head), "%s%s/", strcmp(type, "virtual") == 0 ? VIRTUALS : HOSTS, node);
	block_key(head, cidr, ret);
}

/* -- keys of objects -- */

static int object_cidr(enum kind kind, const json_t *object, struct prefix *ret, struct err *err)
{
	const char *cidr = spec_text(object, "cidr");

	if (prefix_parse(cidr, ret) < 0 && (*cidr || !parse_name(object_name(object), ret)))
		return err_set(err, -EINVAL, "%s %s: spec.cidr is \"%.60s\", expected a prefix such as 10.0.0.0/26",
			kind_name(kind), object_name(object), cidr);
	return 0;
}

static int affinity_object_key(const json_t *object, char ret[static CALICO_KEY_MAX], struct err *err)
{
	const char *node = spec_text(object, "node");
	struct prefix cidr;
	int rc = object_cidr(KIND_BLOCK_AFFINITY, object, &cidr, err);

	if (rc < 0)
		return rc;
	if (!object_name_is_good(node))
		return err_set(err, -EINVAL, "BlockAffinity %s: spec.node is \"%.260s\", expected a node's name",
			object_name(object), node);
	affinity_key(spec_text(object, "type"), node, &cidr, ret);
	return 0;
}

static void named_key(enum kind kind, const char *namespace, const char *name, char ret[static CALICO_KEY_MAX])
{
	char prefix[CALICO_KEY_MAX];

	named_prefix(kind, prefix);
	snprintf(ret, CALICO_KEY_MAX, "%.100s%.260s%s%.260s", prefix, namespace, *namespace ? "/" : "", name);
}

static int handle_key(const char *handle, char ret[static CALICO_KEY_MAX], struct err *err)
{
	if (strlen(handle) >= CALICO_KEY_MAX - sizeof(HANDLES))
		return err_set(err, -EINVAL, "IPAMHandle: spec.handleID has %zu characters, expected fewer",
			strlen(handle));
	snprintf(ret, CALICO_KEY_MAX, HANDLES "%s", handle);
	return 0;
}

int calico_etcd_key(enum kind kind, const json_t *object, char ret[static CALICO_KEY_MAX], struct err *err)
{
	const char *handle = spec_text(object, "handleID");
	struct prefix cidr;
	int rc = 0;

	if (kind == KIND_BLOCK_AFFINITY)
		return affinity_object_key(object, ret, err);
	if (kind == KIND_IPAM_HANDLE)
		return handle_key(*handle ? handle : object_name(object), ret, err);
	if (kind == KIND_IPAM_BLOCK) {
		rc = object_cidr(kind, object, &cidr, err);
		if (rc == 0)
			block_key(BLOCKS, &cidr, ret);
	} else if (kind == KIND_IPAM_CONFIG) {
		strcpy(ret, CONFIG);
		if (strcmp(object_name(object), "default") != 0)
			rc = err_set(err, -EINVAL, "IPAMConfiguration %s: metadata.name must be \"default\"",
				object_name(object));
	} else {
		named_key(kind, kind_is_namespaced(kind) ? object_namespace(object) : "", object_name(object), ret);
	}
	return rc;
}

/* "node-a-10-65-1-64-26": where the node's name ends, only the rest can tell. */
static size_t affinity_keys(const char *name, char ret[static CALICO_KEYS_MAX][CALICO_KEY_MAX])
{
	size_t count = 0;

	for (const char *dash = strchr(name, '-'); dash && count < CALICO_KEYS_MAX; dash = strchr(dash + 1, '-')) {
		char node[OBJECT_NAME_MAX + 1];
		struct prefix cidr;

		snprintf(node, sizeof(node), "%.*s", (int)(dash - name), name);
		if (*node && parse_name(dash + 1, &cidr))
			affinity_key(strcmp(node, LOAD_BALANCER) == 0 ? "virtual" : "host", node, &cidr, ret[count++]);
	}
	return count;
}

size_t calico_etcd_keys(const struct object_key *key, char ret[static CALICO_KEYS_MAX][CALICO_KEY_MAX])
{
	struct prefix cidr;

	switch (key->kind) {
	case KIND_BLOCK_AFFINITY:
		return affinity_keys(key->name, ret);
	case KIND_IPAM_BLOCK:
		if (!parse_name(key->name, &cidr))
			return 0;
		block_key(BLOCKS, &cidr, ret[0]);
		return 1;
	case KIND_IPAM_HANDLE:
		return handle_key(key->name, ret[0], NULL) == 0;
	case KIND_IPAM_CONFIG:
		strcpy(ret[0], CONFIG);
		return strcmp(key->name, "default") == 0;
	default:
		named_key(key->kind, key->namespace ? key->namespace : "", key->name, ret[0]);
		return 1;
	}
}

/* -- objects of keys -- */

static json_t *object_of(enum kind kind, const char *namespace, const char *name, json_t *spec)
{
	json_t *metadata = json_pack("{s:s}", "name", name);

	if (*namespace)
		json_object_set_new(metadata, "namespace", json_string(namespace));
	return json_pack("{s:s, s:s, s:o, s:o*}", "apiVersion", kind_info(kind)->api_version, "kind",
		kind_name(kind), "metadata", metadata, "spec", spec);
}

static json_t *block_of_key(const char *key)
{
	char name[PREFIX_TEXT_MAX], text[PREFIX_TEXT_MAX];
	struct prefix cidr;

	if (strncmp(key, BLOCKS, strlen(BLOCKS)) != 0 || !parse_block_key(key + strlen(BLOCKS), &cidr))
		return NULL;
	cidr_name(&cidr, name);
	return object_of(KIND_IPAM_BLOCK, "", name, json_pack("{s:s}", "cidr", prefix_format(&cidr, text)));
}

/* etcd has no labels for them, and Calico lists there by key; we list by label everywhere. */
static void label_affinity(json_t *object, const char *type, const char *node, int family)
{
	char hash[NODE_NAME_HASH_MAX];

	json_object_set_new(json_object_get(object, "metadata"), "labels", json_pack("{s:s, s:s, s:s}",
		"projectcalico.org/hostname-hash", node_name_hash(node, hash), "projectcalico.org/affinity-type", type,
		"projectcalico.org/ip-version", family == AF_INET ? "4" : "6"));
}

static json_t *affinity_of_key(const char *key)
{
	bool virtual = strncmp(key, VIRTUALS, strlen(VIRTUALS)) == 0;
	const char *head = virtual ? VIRTUALS : HOSTS, *type = virtual ? "virtual" : "host", *slash;
	char node[OBJECT_NAME_MAX + 1], name[2 * OBJECT_NAME_MAX], text[PREFIX_TEXT_MAX];
	struct prefix cidr;
	json_t *object;

	if (strncmp(key, head, strlen(head)) != 0)
		return NULL;
	slash = strchr(key + strlen(head), '/');
	/* A host's own key is only a marker. */
	if (!slash || (size_t)(slash - key) >= strlen(head) + sizeof(node) || !parse_block_key(slash + 1, &cidr))
		return NULL;
	snprintf(node, sizeof(node), "%.*s", (int)(slash - key - (ptrdiff_t)strlen(head)), key + strlen(head));
	cidr_name(&cidr, text);
	snprintf(name, sizeof(name), "%s-%s", node, text);
	object = object_of(KIND_BLOCK_AFFINITY, "", name,
		json_pack("{s:s, s:s, s:s}", "node", node, "type", type, "cidr", prefix_format(&cidr, text)));
	label_affinity(object, type, node, cidr.family);
	return object;
}

static json_t *handle_of_key(const char *key)
{
	char name[CALICO_KEY_MAX];

	if (strncmp(key, HANDLES, strlen(HANDLES)) != 0 || !key[strlen(HANDLES)] || strlen(key) >= sizeof(name))
		return NULL;
	strcpy(name, key + strlen(HANDLES));
	for (char *p = name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return object_of(KIND_IPAM_HANDLE, "", name, json_pack("{s:s}", "handleID", key + strlen(HANDLES)));
}

static json_t *named_of_key(enum kind kind, const char *key)
{
	char prefix[CALICO_KEY_MAX], namespace[OBJECT_NAME_MAX + 1] = "";
	const char *name, *slash;

	named_prefix(kind, prefix);
	if (strncmp(key, prefix, strlen(prefix)) != 0)
		return NULL;
	name = key + strlen(prefix);
	slash = strchr(name, '/');
	if (!slash != !kind_is_namespaced(kind))
		return NULL;
	if (slash && (size_t)(slash - name) < sizeof(namespace)) {
		snprintf(namespace, sizeof(namespace), "%.*s", (int)(slash - name), name);
		name = slash + 1;
	}
	if (slash && !object_name_is_good(namespace))
		return NULL;
	return object_name_is_good(name) ? object_of(kind, namespace, name, NULL) : NULL;
}

json_t *calico_etcd_key_object(enum kind kind, const char *key)
{
	switch (kind) {
	case KIND_IPAM_BLOCK:
		return block_of_key(key);
	case KIND_BLOCK_AFFINITY:
		return affinity_of_key(key);
	case KIND_IPAM_HANDLE:
		return handle_of_key(key);
	case KIND_IPAM_CONFIG:
		return strcmp(key, CONFIG) == 0 ? object_of(kind, "", "default", json_object()) : NULL;
	default:
		return named_of_key(kind, key);
	}
}

/* -- values -- */

static const struct {
	enum kind kind;
	const char *neutral, *etcd;
} renamed[] = {
	{KIND_IPAM_BLOCK, "affinityClaimTime", "affinity_claim_time"},
	{KIND_IPAM_CONFIG, "strictAffinity", "strict_affinity"},
	{KIND_IPAM_CONFIG, "autoAllocateBlocks", "auto_allocate_blocks"},
};

static const char *rename_member(enum kind kind, const char *key, bool to_etcd)
{
	for (size_t i = 0; i < ARRAY_SIZE(renamed); i++)
		if (renamed[i].kind == kind && strcmp(key, to_etcd ? renamed[i].neutral : renamed[i].etcd) == 0)
			return to_etcd ? renamed[i].etcd : renamed[i].neutral;
	return key;
}

/* IPAM's values are bare specs. What the key says already, it alone says. */
static void fill_spec(enum kind kind, json_t *spec, const json_t *value)
{
	const char *key;
	json_t *member;

	json_object_foreach((json_t *)value, key, member)
		if (!json_object_get(spec, key))
			json_object_set(spec, rename_member(kind, key, false), member);
}

/* Of a block, the value says it once more: a writer of one of the two would not meet that of the other. */
static int check_cidr(const char *key, const json_t *object, const json_t *value, struct err *err)
{
	const char *said = text_of(value, "cidr");
	struct prefix a, b;

	if (!*said || (prefix_parse(said, &a) == 0 && prefix_parse(spec_text(object, "cidr"), &b) == 0 &&
		prefix_equal(&a, &b)))
		return 0;
	return err_set(err, -EINVAL, "%s: cidr is \"%.60s\", expected that of the key, %s", key, said,
		spec_text(object, "cidr"));
}

static json_t *bare_spec(enum kind kind, const json_t *spec)
{
	static const char *const of_key[] = {"node", "type", "cidr", "handleID"};
	json_t *ret = json_object(), *member;
	const char *key;

	json_object_foreach((json_t *)spec, key, member) {
		bool said = false;

		for (size_t i = 0; i < ARRAY_SIZE(of_key) && kind != KIND_IPAM_BLOCK; i++)
			said = said || strcmp(key, of_key[i]) == 0;
		if (!said)
			json_object_set(ret, rename_member(kind, key, true), member);
	}
	return ret;
}

/* What the value says, under the name that the key says. */
static void fill_object(enum kind kind, json_t *object, const json_t *value)
{
	_cleanup_(json_cleanup) json_t *neutral = kind == KIND_NODE ?
		calico_node_from_etcd(value) : json_copy((json_t *)value);
	json_t *metadata = json_object_get(object, "metadata"), *member;
	json_t *said = json_object_get(neutral, "metadata");
	const char *key;

	json_object_foreach(said, key, member)
		if (!json_object_get(metadata, key))
			json_object_set(metadata, key, member);
	json_object_foreach(neutral, key, member)
		if (!json_object_get(object, key))
			json_object_set(object, key, member);
}

int calico_from_etcd(enum kind kind, const char *key, const char *value, size_t len, int64_t revision, json_t **ret,
	struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = calico_etcd_key_object(kind, key), *json = NULL;
	char version[24];
	int rc;

	if (!object)
		return -ENOENT;
	rc = json_parse(value, len, key, &json, err);
	if (rc < 0)
		return rc;
	if (!json_is_object(json))
		return err_set(err, -EINVAL, "%s: the value is no object, expected that of a %s", key, kind_name(kind));
	if (kind == KIND_IPAM_BLOCK)
		rc = check_cidr(key, object, json, err);
	if (rc < 0)
		return rc;
	if (kind_info(kind)->ipam)
		fill_spec(kind, json_object_get(object, "spec"), json);
	else
		fill_object(kind, object, json);
	snprintf(version, sizeof(version), "%lld", (long long)revision);
	json_object_set_new(json_object_get(object, "metadata"), "resourceVersion", json_string(version));
	*ret = TAKE_PTR(object);
	return 0;
}

json_t *calico_to_etcd(enum kind kind, const json_t *object)
{
	json_t *ret, *metadata;

	if (kind_info(kind)->ipam)
		return bare_spec(kind, json_object_get(object, "spec"));
	ret = kind == KIND_NODE ? calico_node_to_etcd(object) : json_copy((json_t *)object);
	if (!ret)
		return NULL;
	metadata = json_copy(json_object_get(ret, "metadata"));
	json_object_del(metadata, "resourceVersion");
	json_object_set_new(ret, "metadata", metadata);
	json_object_set_new(ret, "apiVersion", json_string(kind == KIND_NODE ?
		CALICO_V3 : kind_info(kind)->api_version));
	json_object_set_new(ret, "kind", json_string(kind_name(kind)));
	return ret;
}
