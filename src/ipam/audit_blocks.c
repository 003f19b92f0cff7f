/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/audit_internal.h"

#include "base/cleanup.h"
#include "ipam/ipam_block.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* -- affinities -- */

static const json_t *spec_of(const json_t *object)
{
	return json_object_get(object, "spec");
}

static const char *text_of(const json_t *spec, const char *key)
{
	const char *text = json_string_value(json_object_get(spec, key));

	return text ? text : "";
}

/* A boolean in blocks and handles, a string in affinities. */
static bool is_deleted(const json_t *spec)
{
	return json_is_true(json_object_get(spec, "deleted")) || strcmp(text_of(spec, "deleted"), "true") == 0;
}

static char *affinity_key(struct audit *audit, const struct prefix *cidr, const char *node)
{
	char text[PREFIX_TEXT_MAX];

	return audit_say(audit, "%s %s", prefix_format(cidr, text), node);
}

static void drop_affinity(struct affinity *affinity)
{
	free(affinity->key);
	free(affinity->name);
	free(affinity->state);
	free(affinity);
}

void audit_add_affinity(struct audit *audit, const json_t *object)
{
	const json_t *spec = spec_of(object);
	struct affinity *affinity, *before;
	struct prefix cidr;

	if (is_deleted(spec))
		return;
	audit->counts.affinities++;
	if (prefix_parse(text_of(spec, "cidr"), &cidr) < 0)
		return; /* what nobody can find by its block is nobody's trouble */
	affinity = audit_keep(audit, calloc(1, sizeof(*affinity)));
	if (!affinity)
		return;
	affinity->cidr = cidr;
	affinity->key = affinity_key(audit, &cidr, text_of(spec, "node"));
	affinity->name = audit_copy(audit, text_of(json_object_get(object, "metadata"), "name"));
	affinity->state = audit_copy(audit, text_of(spec, "state"));
	if (audit->stuck) {
		drop_affinity(affinity);
		return;
	}
	HASH_FIND_STR(audit->affinities, affinity->key, before);
	if (before)
		drop_affinity(affinity);
	else
		HASH_ADD_KEYPTR(hh, audit->affinities, affinity->key, strlen(affinity->key), affinity);
}

/* -- addresses of a block -- */

static void count_handle(struct audit *audit, const struct prefix *cidr, const char *handle)
{
	struct counted *counted;
	size_t len = strcspn(handle, "\r"); /* reference/calico.md 3.6 */
	struct share *share;

	HASH_FIND(hh, audit->handles, handle, len, counted);
	if (!counted) {
		counted = audit_keep(audit, calloc(1, sizeof(*counted)));
		if (!counted)
			return;
		counted->handle = audit_keep(audit, strndup(handle, len));
		if (!counted->handle) {
			free(counted);
			return;
		}
		HASH_ADD_KEYPTR(hh, audit->handles, counted->handle, len, counted);
	}
	/* blocks come one after the other: it is the newest, or there is none yet */
	share = counted->shares;
	if (!share || !prefix_equal(&share->cidr, cidr)) {
		share = audit_keep(audit, calloc(1, sizeof(*share)));
		if (!share)
			return;
		*share = (struct share){.next = counted->shares, .cidr = *cidr};
		counted->shares = share;
	}
	share->count++;
}

/* An address that a block shows as given out. */
struct given {
	struct addr addr;
	uint64_t sequence;
	const char *handle, *node, *pod, *namespace, *type;
};

/* Takes over why. What somebody else uses is no leak: it must not be released. */
static void leak(struct audit *audit, const struct given *given, char *why)
{
	const struct holder *holder = audit_find_holder(audit, &given->addr);
	char *text = NULL;

	if (why && holder)
		text = audit_say(audit, "%s has it; its block says: %s; handle %s", holder->who, why, given->handle);
	else if (why)
		text = audit_say(audit, "%s; handle %s", why, given->handle);
	free(why);
	audit_find(audit, holder ? AUDIT_WRONG_OWNER : AUDIT_LEAKED, given->sequence, audit_addr(audit, &given->addr), text);
}

static int tunnel_kind(const char *type)
{
	for (int i = 0; i < IPAM_TUNNEL_COUNT; i++)
		if (strcmp(type, ipam_tunnel_type(i)) == 0)
			return i;
	return -1;
}

static void judge_tunnel(struct audit *audit, const struct given *given)
{
	const struct audit_node *node = given->node ? audit_find_node(audit, given->node) : NULL;
	int kind = tunnel_kind(given->type);
	char batch[IPAM_HANDLE_MAX], text[ADDR_TEXT_MAX];

	if (!given->node)
		return;
	if (!node) {
		leak(audit, given, audit_say(audit, "%s of node %s, which does not exist", given->type, given->node));
		return;
	}
	ipam_reserve_handle(given->node, batch);
	if (kind < 0 || ipam_handle_equal(given->handle, batch) || addr_equal(&node->tunnels[kind], &given->addr))
		return;
	if (addr_is_set(&node->tunnels[kind]))
		leak(audit, given, audit_say(audit, "%s of node %s, which has %s", given->type, given->node,
			addr_format(&node->tunnels[kind], text)));
	else
		leak(audit, given, audit_say(audit, "%s of node %s, which has none", given->type, given->node));
}

/* Why the store's pods show that nobody has it; null: somebody may. */
static char *judge_by_pods(struct audit *audit, const struct given *given)
{
	_cleanup_free_ char *key = audit_say(audit, "%s/%s", given->namespace ? given->namespace : "", given->pod);
	int f = family_index(addr_family(&given->addr));
	char text[ADDR_TEXT_MAX];
	const struct pod *pod;

	if (!key)
		return NULL;
	HASH_FIND_STR(audit->pods, key, pod);
	if (!pod)
		return audit_say(audit, "pod %s of node %s does not exist", key, given->node);
	if (pod->finished)
		return audit_say(audit, "pod %s of node %s has ended", key, given->node);
	if (pod->node && strcmp(pod->node, given->node) != 0)
		return audit_say(audit, "pod %s runs on node %s, not on %s", key, pod->node, given->node);
	if (addr_is_set(&pod->addrs[f]) && !addr_equal(&pod->addrs[f], &given->addr))
		return audit_say(audit, "pod %s has %s", key, addr_format(&pod->addrs[f], text));
	return NULL;
}

static char *judge_without_pods(struct audit *audit, const struct given *given)
{
	const char *namespace = given->namespace ? given->namespace : "";

	if (strcmp(given->node, audit->options.node) == 0)
		return audit_say(audit, "pod %s/%s is not attached to this node", namespace, given->pod);
	if (!audit_find_node(audit, given->node))
		return audit_say(audit, "pod %s/%s of node %s, which does not exist", namespace, given->pod, given->node);
	return NULL;
}

static void judge_pod(struct audit *audit, const struct given *given, const struct holder *holder)
{
	char *why;

	if (!given->node || (holder && holder->handle))
		return; /* this node's own pods are judged by their handles */
	why = audit->options.pods_known ? judge_by_pods(audit, given) : judge_without_pods(audit, given);
	if (why)
		leak(audit, given, why);
}

/* The write that makes the batch's address the pod's may still be on its way. */
static void judge_handle(struct audit *audit, const struct given *given, const struct holder *holder)
{
	if (!holder || !holder->handle || ipam_handle_equal(holder->handle, given->handle) ||
		ipam_handle_equal(given->handle, audit->own_batch))
		return;
	audit_find(audit, AUDIT_WRONG_OWNER, 0, audit_addr(audit, &given->addr),
		audit_say(audit, "%s has it; its block shows handle %s, expected %s", holder->who, given->handle, holder->handle));
}

static void add_given(struct audit *audit, const struct given *given)
{
	struct holder *holder = audit_find_holder(audit, &given->addr);

	if (holder)
		holder->given = true;
	judge_handle(audit, given, holder);
	if (given->type && ipam_is_tunnel_type(given->type))
		judge_tunnel(audit, given);
	else if (given->pod)
		judge_pod(audit, given, holder);
}

static void add_addresses(struct audit *audit, const struct ipam_block *block)
{
	for (unsigned i = 0; i < block->count; i++) {
		const struct ipam_attr *attr = ipam_block_owner(block, i);
		struct given given;

		if (!ipam_attr_in_use(attr) || !attr->handle || ipam_handle_equal(attr->handle, IPAM_WINDOWS_HANDLE))
			continue;
		given = (struct given){
			.addr = ipam_block_addr(block, i),
			.sequence = block->sequences[i],
			.handle = attr->handle,
			.node = ipam_attr_get(attr, "node"),
			.pod = ipam_attr_get(attr, "pod"),
			.namespace = ipam_attr_get(attr, "namespace"),
			.type = ipam_attr_get(attr, "type"),
		};
		audit->counts.addresses++;
		count_handle(audit, &block->cidr, attr->handle);
		add_given(audit, &given);
	}
}

/* -- blocks -- */

static void judge_affinity(struct audit *audit, const struct ipam_block *block)
{
	const char *node = block->affinity && strncmp(block->affinity, "host:", 5) == 0 ? block->affinity + 5 : NULL;
	_cleanup_free_ char *key = node ? affinity_key(audit, &block->cidr, node) : NULL;
	struct affinity *affinity;

	if (!key)
		return;
	HASH_FIND_STR(audit->affinities, key, affinity);
	if (affinity)
		affinity->seen = true;
	else
		audit_find(audit, AUDIT_BLOCK_WITHOUT_AFFINITY, 0, audit_block_name(audit, &block->cidr),
			audit_say(audit, "it names node %s, which has no BlockAffinity for it", node));
	if (!audit_find_node(audit, node))
		audit_find(audit, AUDIT_BLOCK_WITHOUT_NODE, 0, audit_block_name(audit, &block->cidr),
			audit_say(audit, "it names node %s, which does not exist", node));
}

static void remember_block(struct audit *audit, const struct prefix *cidr)
{
	struct prefix *blocks = audit_keep(audit, realloc(audit->blocks, (audit->counts.blocks + 1) * sizeof(*blocks)));

	if (!blocks)
		return;
	audit->blocks = blocks;
	blocks[audit->counts.blocks++] = *cidr;
}

static void add_damaged(struct audit *audit, const json_t *object, const char *why)
{
	char *name = audit_say(audit, "IPAMBlock %s", text_of(json_object_get(object, "metadata"), "name"));
	size_t len = name ? strlen(name) : 0;
	struct prefix *damaged, cidr;

	/* the story begins with the same words */
	if (name && strncmp(why, name, len) == 0 && strncmp(why + len, ": ", 2) == 0)
		why += len + 2;
	audit_find(audit, AUDIT_BLOCK_DAMAGED, 0, name, audit_copy(audit, why));
	if (prefix_parse(text_of(spec_of(object), "cidr"), &cidr) < 0)
		return;
	damaged = audit_keep(audit, realloc(audit->damaged, (audit->damaged_count + 1) * sizeof(*damaged)));
	if (!damaged)
		return;
	audit->damaged = damaged;
	damaged[audit->damaged_count++] = prefix_masked(&cidr);
}

void audit_add_block(struct audit *audit, const json_t *object)
{
	struct ipam_block *block = NULL;
	struct err err = ERR_INIT;
	int rc;

	if (is_deleted(spec_of(object)))
		return;
	rc = ipam_block_decode(object, &block, &err);
	if (rc == -ENOMEM)
		audit->stuck = true;
	else if (rc < 0)
		add_damaged(audit, object, err_text(&err));
	if (rc < 0)
		return;
	remember_block(audit, &block->cidr);
	if (!audit_is_in_pools(audit, &block->cidr))
		audit_find(audit, AUDIT_BLOCK_OUTSIDE_POOLS, 0, audit_block_name(audit, &block->cidr),
			audit_copy(audit, "it lies in no IPPool"));
	judge_affinity(audit, block);
	add_addresses(audit, block);
	ipam_block_free(&block);
}

/* -- handles -- */

static struct share *find_share(const struct counted *counted, const struct prefix *cidr)
{
	for (struct share *share = counted ? counted->shares : NULL; share; share = share->next)
		if (prefix_equal(&share->cidr, cidr))
			return share;
	return NULL;
}

static void judge_count(
	struct audit *audit, const char *handle, const struct prefix *cidr, json_int_t says, json_int_t shown)
{
	char text[PREFIX_TEXT_MAX];

	if (says != shown && !audit_is_damaged(audit, cidr))
		audit_find(audit, AUDIT_HANDLE_COUNT, 0, audit_say(audit, "IPAMHandle %s", handle),
			audit_say(audit, "it counts %lld in block %s, which shows %lld", (long long)says, prefix_format(cidr, text),
				(long long)shown));
}

static void handle_is_damaged(struct audit *audit, const json_t *object, char *text)
{
	audit_find(audit, AUDIT_HANDLE_DAMAGED, 0,
		audit_say(audit, "IPAMHandle %s", text_of(json_object_get(object, "metadata"), "name")), text);
}

void audit_add_handle(struct audit *audit, const json_t *object)
{
	const json_t *spec = spec_of(object);
	const char *handle = text_of(spec, "handleID"), *key;
	json_t *counts = json_object_get(spec, "block"), *value;
	struct counted *counted;

	if (is_deleted(spec))
		return;
	audit->counts.handles++;
	if (!handle[0] || !json_is_object(counts)) {
		handle_is_damaged(audit, object, audit_copy(audit, "spec.handleID and spec.block: expected a text and an object"));
		return;
	}
	HASH_FIND(hh, audit->handles, handle, strcspn(handle, "\r"), counted);
	if (counted)
		counted->seen = true;
	json_object_foreach (counts, key, value) {
		struct share *share;
		struct prefix cidr;

		if (prefix_parse(key, &cidr) < 0) {
			handle_is_damaged(audit, object, audit_say(audit, "spec.block[\"%.60s\"]: expected a prefix", key));
			continue;
		}
		share = find_share(counted, &cidr);
		if (share)
			share->told = true;
		judge_count(audit, handle, &cidr, json_integer_value(value), share ? share->count : 0);
	}
	for (struct share *share = counted ? counted->shares : NULL; share; share = share->next)
		if (!share->told)
			judge_count(audit, handle, &share->cidr, 0, share->count);
}
