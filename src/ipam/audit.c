/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/audit_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const kind_names[] = {
	[AUDIT_BLOCK_DAMAGED] = "block-damaged",
	[AUDIT_BLOCK_OUTSIDE_POOLS] = "block-outside-pools",
	[AUDIT_BLOCKS_OVERLAP] = "blocks-overlap",
	[AUDIT_BLOCK_WITHOUT_NODE] = "block-without-node",
	[AUDIT_BLOCK_WITHOUT_AFFINITY] = "block-without-affinity",
	[AUDIT_AFFINITY_WITHOUT_BLOCK] = "affinity-without-block",
	[AUDIT_LEAKED] = "leaked",
	[AUDIT_USED_TWICE] = "used-twice",
	[AUDIT_NOT_GIVEN] = "not-given-out",
	[AUDIT_WRONG_OWNER] = "wrong-owner",
	[AUDIT_HANDLE_MISSING] = "handle-missing",
	[AUDIT_HANDLE_COUNT] = "handle-count",
	[AUDIT_HANDLE_DAMAGED] = "handle-damaged",
};

const char *audit_kind_name(enum audit_kind kind)
{
	return kind_names[kind];
}

/* -- memory -- */

char *audit_copy(struct audit *audit, const char *text)
{
	return text ? audit_keep(audit, strdup(text)) : NULL;
}

char *audit_say(struct audit *audit, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	return audit_keep(audit, text);
}

/* -- findings -- */

void audit_find(struct audit *audit, enum audit_kind kind, uint64_t sequence, char *object, char *text)
{
	struct audit_finding *findings = realloc(audit->findings, (audit->finding_count + 1) * sizeof(*findings));

	if (audit_keep(audit, findings))
		audit->findings = findings;
	if (!findings || !object || !text) {
		free(object);
		free(text);
		return;
	}
	findings[audit->finding_count++] = (struct audit_finding){kind, object, text, sequence};
}

char *audit_addr(struct audit *audit, const struct addr *addr)
{
	char text[ADDR_TEXT_MAX];

	return audit_copy(audit, addr_format(addr, text));
}

char *audit_block_name(struct audit *audit, const struct prefix *cidr)
{
	char name[IPAM_CIDR_NAME_MAX];

	return audit_say(audit, "IPAMBlock %s", ipam_cidr_name(cidr, name));
}

/* -- life -- */

struct audit *audit_new(const struct audit_options *options)
{
	struct audit *audit = calloc(1, sizeof(*audit));

	if (!audit)
		return NULL;
	audit->options = *options;
	audit->pools = calloc(options->pool_count + 1, sizeof(*audit->pools));
	if (!audit->pools) {
		free(audit);
		return NULL;
	}
	if (options->pool_count)
		memcpy(audit->pools, options->pools, options->pool_count * sizeof(*audit->pools));
	ipam_reserve_handle(options->node, audit->own_batch);
	return audit;
}

static void free_counted(struct counted *counted)
{
	while (counted->shares) {
		struct share *next = counted->shares->next;

		free(counted->shares);
		counted->shares = next;
	}
	free(counted->handle);
	free(counted);
}

static void free_tables(struct audit *audit)
{
	struct audit_node *node, *next_node;
	struct pod *pod, *next_pod;
	struct holder *holder, *next_holder;
	struct affinity *affinity, *next_affinity;
	struct counted *counted, *next_counted;

	HASH_ITER (hh, audit->nodes, node, next_node) {
		HASH_DEL(audit->nodes, node);
		free(node->name);
		free(node);
	}
	HASH_ITER (hh, audit->pods, pod, next_pod) {
		HASH_DEL(audit->pods, pod);
		free(pod->key);
		free(pod->node);
		free(pod);
	}
	HASH_ITER (hh, audit->holders, holder, next_holder) {
		HASH_DEL(audit->holders, holder);
		free(holder->who);
		free(holder->handle);
		free(holder);
	}
	HASH_ITER (hh, audit->affinities, affinity, next_affinity) {
		HASH_DEL(audit->affinities, affinity);
		free(affinity->key);
		free(affinity->name);
		free(affinity->state);
		free(affinity);
	}
	HASH_ITER (hh, audit->handles, counted, next_counted) {
		HASH_DEL(audit->handles, counted);
		free_counted(counted);
	}
	free(audit->blocks);
	free(audit->damaged);
	audit->blocks = audit->damaged = NULL;
}

static void free_finding(struct audit_finding *finding)
{
	free(finding->object);
	free(finding->text);
}

void audit_free(struct audit *audit)
{
	if (!audit)
		return;
	free_tables(audit);
	for (size_t i = 0; i < audit->finding_count; i++)
		free_finding(&audit->findings[i]);
	free(audit->findings);
	free(audit->pools);
	free(audit);
}

/* -- who lives -- */

const struct audit_node *audit_find_node(const struct audit *audit, const char *name)
{
	struct audit_node *node;

	HASH_FIND_STR(audit->nodes, name, node);
	return node;
}

struct holder *audit_find_holder(const struct audit *audit, const struct addr *addr)
{
	struct holder *holder;

	HASH_FIND(hh, audit->holders, addr, sizeof(*addr), holder);
	return holder;
}

/* Takes over who. Null: another one has it already. */
static struct holder *add_holder(struct audit *audit, const struct addr *addr, char *who)
{
	struct holder *holder = audit_find_holder(audit, addr);

	if (holder && who)
		audit_find(audit, AUDIT_USED_TWICE, 0, audit_addr(audit, addr),
			audit_say(audit, "%s has it, and so has %s", holder->who, who));
	holder = holder || !who ? NULL : audit_keep(audit, calloc(1, sizeof(*holder)));
	if (!holder) {
		free(who);
		return NULL;
	}
	holder->addr = *addr;
	holder->who = who;
	HASH_ADD(hh, audit->holders, addr, sizeof(holder->addr), holder);
	return holder;
}

void audit_add_node(struct audit *audit, const char *name, const struct addr tunnels[IPAM_TUNNEL_COUNT])
{
	struct audit_node *node = audit_keep(audit, calloc(1, sizeof(*node)));

	if (!node)
		return;
	node->name = audit_copy(audit, name);
	if (!node->name || audit_find_node(audit, name)) {
		free(node->name);
		free(node);
		return;
	}
	HASH_ADD_KEYPTR(hh, audit->nodes, node->name, strlen(node->name), node);
	audit->counts.nodes++;
	for (int i = 0; i < IPAM_TUNNEL_COUNT; i++) {
		struct holder *holder = audit_find_holder(audit, &tunnels[i]);

		node->tunnels[i] = tunnels[i];
		/* with addresses by the node's podCIDR all tunnels have the same one */
		if (addr_is_set(&tunnels[i]) && !(holder && holder->node == node))
			holder = add_holder(audit, &tunnels[i], audit_say(audit, "node %s (%s)", name, ipam_tunnel_type(i)));
		if (holder)
			holder->node = node;
	}
}

void audit_add_pod(struct audit *audit, const struct audit_pod *from)
{
	struct pod *pod = audit_keep(audit, calloc(1, sizeof(*pod)));

	if (!pod)
		return;
	pod->key = audit_say(audit, "%s/%s", from->namespace, from->name);
	pod->node = audit_copy(audit, from->node);
	pod->finished = from->finished;
	if (!pod->key) {
		free(pod->node);
		free(pod);
		return;
	}
	memcpy(pod->addrs, from->addrs, sizeof(pod->addrs));
	HASH_ADD_KEYPTR(hh, audit->pods, pod->key, strlen(pod->key), pod);
	audit->counts.pods++;
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (!pod->finished && addr_is_set(&pod->addrs[f]))
			add_holder(audit, &pod->addrs[f],
				audit_say(audit, "pod %s of node %s", pod->key, pod->node ? pod->node : "?"));
}

void audit_add_attachment(struct audit *audit, const char *handle, const struct addr addrs[FAMILY_COUNT])
{
	audit->counts.attachments++;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct holder *holder = addr_is_set(&addrs[f]) ? audit_find_holder(audit, &addrs[f]) : NULL;

		if (!addr_is_set(&addrs[f]))
			continue;
		/* most likely the pod that the store shows; if it is another's, the blocks cannot belong to both */
		if (!holder)
			holder = add_holder(audit, &addrs[f], audit_say(audit, "a pod of this node (handle %s)", handle));
		else if (holder->handle)
			audit_find(audit, AUDIT_USED_TWICE, 0, audit_addr(audit, &addrs[f]),
				audit_say(audit, "two pods of this node have it: handles %s and %s", holder->handle, handle));
		if (holder && !holder->handle)
			holder->handle = audit_copy(audit, handle);
	}
}

/* -- the end -- */

bool audit_is_damaged(const struct audit *audit, const struct prefix *prefix)
{
	for (size_t i = 0; i < audit->damaged_count; i++)
		if (prefix_overlaps(&audit->damaged[i], prefix))
			return true;
	return false;
}

bool audit_is_in_pools(const struct audit *audit, const struct prefix *cidr)
{
	for (size_t i = 0; i < audit->options.pool_count; i++)
		if (prefix_contains_prefix(&audit->pools[i], cidr))
			return true;
	return false;
}


static void finish_affinities(struct audit *audit)
{
	for (const struct affinity *affinity = audit->affinities; affinity; affinity = affinity->hh.next)
		if (!affinity->seen && !audit_is_damaged(audit, &affinity->cidr))
			audit_find(audit, AUDIT_AFFINITY_WITHOUT_BLOCK, 0, audit_say(audit, "BlockAffinity %s", affinity->name),
				audit_say(audit, "it is %s, and no block names its node",
					affinity->state[0] ? affinity->state : "without state"));
}

static void finish_holders(struct audit *audit)
{
	for (const struct holder *holder = audit->holders; holder; holder = holder->hh.next) {
		struct prefix host = prefix_host(&holder->addr);

		if (!holder->given && audit_is_in_pools(audit, &host) && !audit_is_damaged(audit, &host))
			audit_find(audit, AUDIT_NOT_GIVEN, 0, audit_addr(audit, &holder->addr),
				audit_say(audit, "%s has it, and no block shows it as given out", holder->who));
	}
}

static void finish_handles(struct audit *audit)
{
	char text[PREFIX_TEXT_MAX];

	for (const struct counted *counted = audit->handles; counted; counted = counted->hh.next)
		if (!counted->seen)
			audit_find(audit, AUDIT_HANDLE_MISSING, 0, audit_say(audit, "IPAMHandle %s", counted->handle),
				audit_say(audit, "block %s shows addresses of it, and there is no such object",
					prefix_format(&counted->shares->cidr, text)));
}

static int by_cidr(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

static void finish_blocks(struct audit *audit)
{
	char text[PREFIX_TEXT_MAX];

	if (audit->counts.blocks)
		qsort(audit->blocks, audit->counts.blocks, sizeof(*audit->blocks), by_cidr);
	for (size_t i = 1; i < audit->counts.blocks; i++)
		if (prefix_overlaps(&audit->blocks[i - 1], &audit->blocks[i]))
			audit_find(audit, AUDIT_BLOCKS_OVERLAP, 0, audit_block_name(audit, &audit->blocks[i]),
				audit_say(audit, "it overlaps block %s: addresses may be given out twice",
					prefix_format(&audit->blocks[i - 1], text)));
}

static int by_kind(const void *one, const void *other)
{
	const struct audit_finding *a = one, *b = other;
	int order = (int)a->kind - (int)b->kind;

	if (order == 0)
		order = strcmp(a->object, b->object);
	if (order == 0)
		order = strcmp(a->text, b->text);
	return order ? order : a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

int audit_finish(struct audit *audit)
{
	finish_affinities(audit);
	finish_holders(audit);
	finish_handles(audit);
	finish_blocks(audit);
	free_tables(audit);
	if (audit->stuck)
		return -ENOMEM;
	if (audit->finding_count)
		qsort(audit->findings, audit->finding_count, sizeof(*audit->findings), by_kind);
	return 0;
}

void audit_count(const struct audit *audit, struct audit_counts *ret)
{
	*ret = audit->counts;
}

const struct audit_finding *audit_findings(const struct audit *audit, size_t *ret_count)
{
	*ret_count = audit->finding_count;
	return audit->findings;
}

void audit_keep_common(struct audit *audit, const struct audit *earlier)
{
	size_t kept = 0;

	for (size_t i = 0; i < audit->finding_count; i++) {
		struct audit_finding *finding = &audit->findings[i];

		if (earlier->finding_count &&
			bsearch(finding, earlier->findings, earlier->finding_count, sizeof(*finding), by_kind))
			audit->findings[kept++] = *finding;
		else
			free_finding(finding);
	}
	audit->finding_count = kept;
}
