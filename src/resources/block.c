/* SPDX-License-Identifier: Apache-2.0
 *
 * IPAMBlock as routing needs it (reference/calico.md 2.15, 5.4).
 */
#include "resources/read.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define HOST "host:"
#define ADDRESSES_MAX 65536 /* of a block whose guests are looked at */

static int read_affinity(const struct calico_at *at, struct block *block)
{
	const char *text = "";
	int rc = calico_text(at, "affinity", &text);

	if (rc < 0 || strncmp(text, HOST, strlen(HOST)) != 0)
		return rc < 0 ? rc : 0;
	text += strlen(HOST);
	if (!calico_name_is_sane(text))
		return calico_wrong(at, "affinity", "\"host:\" and a node's name");
	block->node = strdup(text);
	return block->node ? 0 : calico_no_memory(at);
}

/* -- guests -- */

/* The node that an entry of attributes names; null: none, or it is a holder that the block itself has. */
static const char *node_of(const json_t *attributes, size_t index)
{
	const json_t *secondary = json_object_get(json_array_get(attributes, index), "secondary");
	const json_t *node = json_object_get(secondary, "node");
	const char *name = json_string_value(node);

	return name && strlen(name) == json_string_length(node) && calico_name_is_sane(name) ? name : NULL;
}

static int add_guest(struct block *block, size_t ordinal, const char *node)
{
	struct block_guest *guest = &block->guests[block->guest_count];

	guest->node = strdup(node);
	if (!guest->node)
		return -ENOMEM;
	guest->addr = addr_add(&block->cidr.addr, (int64_t)ordinal);
	block->guest_count++;
	return 0;
}

/* As many entries as the block has addresses, each of them null or an index into attributes. */
static bool has_all(const struct block *block, const json_t *allocations)
{
	unsigned bits = prefix_max_len(&block->cidr) - block->cidr.len;

	return bits <= 16 && json_array_size(allocations) == (size_t)1 << bits;
}

static int read_guests(const struct calico_at *at, struct block *block, const json_t *allocations,
	const json_t *attributes)
{
	const json_t *index;
	size_t i, bad = 0, first_bad = 0;

	json_array_foreach((json_t *)allocations, i, index) {
		json_int_t n = json_integer_value(index);
		const char *node;

		if (json_is_null(index))
			continue;
		if (!json_is_integer(index) || n < 0 || (size_t)n >= json_array_size(attributes)) {
			first_bad = bad++ ? first_bad : i;
			continue;
		}
		node = node_of(attributes, (size_t)n);
		if (node && (!block->node || strcmp(node, block->node) != 0) && add_guest(block, i, node) < 0)
			return calico_no_memory(at);
	}
	if (bad)
		calico_remark(at, "spec.allocations has %zu entries that are neither null nor an index below %zu into "
			"spec.attributes, the first at [%zu]: these addresses are not routed on their own", bad,
			json_array_size(attributes), first_bad);
	return 0;
}

static int read_allocations(const struct calico_at *at, struct block *block)
{
	const json_t *allocations = NULL, *attributes = NULL;
	struct calico_at quiet = *at;
	struct err err = ERR_INIT;

	quiet.err = &err;
	if (calico_list(&quiet, "allocations", &allocations) < 0 || calico_list(&quiet, "attributes", &attributes) < 0) {
		calico_remark_ignored(at, &err);
		return 0;
	}
	if (!has_all(block, allocations)) {
		calico_remark(at, "spec.allocations has %zu entries, expected one for each address of spec.cidr (at most %d): no "
			"address of this block is routed on its own", json_array_size(allocations), ADDRESSES_MAX);
		return 0;
	}
	block->guests = calloc(json_array_size(allocations), sizeof(*block->guests));
	return block->guests ? read_guests(at, block, allocations, attributes) : calico_no_memory(at);
}

/* Most blocks have none, and there may be 100,000 of them. */
static void shrink_guests(struct block *block)
{
	struct block_guest *guests;

	if (!block->guest_count) {
		free(block->guests);
		block->guests = NULL;
		return;
	}
	guests = realloc(block->guests, block->guest_count * sizeof(*guests));
	if (guests)
		block->guests = guests;
}

int calico_block_parse(const json_t *object, const struct calico_remarks *remarks, struct block **ret, struct err *err)
{
	_cleanup_(block_free) struct block *block = calloc(1, sizeof(*block));
	bool deleted = false;
	struct calico_at at;
	int rc = calico_begin(object, "IPAMBlock", remarks, err, &at);

	if (rc == 0)
		rc = calico_bool(&at, "deleted", &deleted);
	if (rc < 0 || deleted)
		return rc < 0 ? rc : 0;
	if (!block)
		return calico_no_memory(&at);
	rc = calico_prefix(&at, "cidr", &block->cidr);
	if (rc == 0 || (rc == 1 && prefix_has_host_bits(&block->cidr)))
		rc = calico_wrong(&at, "cidr", "a CIDR such as 10.65.1.64/26, without bits behind its length");
	if (rc >= 0)
		rc = read_affinity(&at, block);
	if (rc >= 0)
		rc = read_allocations(&at, block);
	if (rc < 0)
		return rc;
	shrink_guests(block);
	*ret = TAKE_PTR(block);
	return 1;
}
