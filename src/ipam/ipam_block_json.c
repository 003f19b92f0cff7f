/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/ipam_block_json.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/ipam_names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ATTRS_UNUSED_MAX 256u /* entries that no address has, which other writers may leave behind */

static void block_cleanup(struct ipam_block **block)
{
	ipam_block_free(block);
}

/* -- in -- */

static int decode_cidr(const json_t *object, const char *where, struct prefix *ret, struct err *err)
{
	const char *text = json_string_value(json_object_get(json_object_get(object, "spec"), "cidr"));
	const char *name = json_string_value(json_object_get(json_object_get(object, "metadata"), "name"));
	char expected[IPAM_CIDR_NAME_MAX];
	struct prefix cidr;

	if (!text || prefix_parse(text, &cidr) < 0 || prefix_has_host_bits(&cidr))
		return err_set(err, -EINVAL, "%s: spec.cidr: \"%s\", expected a prefix without host bits",
			where, text ? text : "");
	if (prefix_max_len(&cidr) - cidr.len > 12)
		return err_set(err, -EINVAL, "%s: spec.cidr: %s, expected a block of at most %u addresses",
			where, text, IPAM_BLOCK_MAX);
	if (!name || strcmp(name, ipam_cidr_name(&cidr, expected)) != 0)
		return err_set(err, -EINVAL,
			"%s: spec.cidr: %s, expected the prefix that the object is named after", where, text);
	*ret = cidr;
	return 0;
}

/* Texts that would go nowhere else than into the same object again are taken as they are. */
static int decode_affinity(const json_t *spec, const char *where, struct ipam_block *block, struct err *err)
{
	const char *affinity = NULL, *time = NULL;
	int rc = json_get_string(spec, where, "affinity", &affinity, err);

	if (rc >= 0)
		rc = json_get_string(spec, where, "affinityClaimTime", &time, err);
	if (rc < 0)
		return rc;
	if (affinity && *affinity) {
		block->affinity = strdup(affinity);
		if (!block->affinity)
			return err_set(err, -ENOMEM, "%s: no memory", where);
	}
	if (time && ipam_time_parse(time, &block->claim_time) < 0)
		return err_set(err, -EINVAL, "%s: affinityClaimTime: \"%s\", expected an RFC 3339 time",
			where, time);
	return 0;
}

static int decode_attr(
	const json_t *json, const char *where, size_t i, struct ipam_attr *ret, struct err *err)
{
	struct ipam_attr attr = {0};
	const char *released = NULL;
	char name[400];

	snprintf(name, sizeof(name), "%s: spec.attributes[%zu]", where, i);
	if (!json_is_object(json))
		return err_set(err, -EINVAL, "%s: expected an object", name);
	if (json_get_string(json, name, "handle_id", &attr.handle, err) < 0 ||
		json_get_string(json, name, "releasedAt", &released, err) < 0)
		return err->code;
	if (released && ipam_time_parse(released, &attr.released_at) < 0)
		return err_set(
			err, -EINVAL, "%s: releasedAt: \"%s\", expected an RFC 3339 time", name, released);
	if (released && attr.released_at == 0)
		attr.released_at = 1;
	attr.json = json_incref((json_t *)json);
	*ret = attr;
	return 0;
}

static int decode_attrs(const json_t *spec, const char *where, struct ipam_block *block, struct err *err)
{
	json_t *array = NULL, *json;
	size_t i;

	if (json_get_array(spec, where, "attributes", &array, err) < 0)
		return err->code;
	if (json_array_size(array) > block->count + ATTRS_UNUSED_MAX)
		return err_set(err, -EINVAL, "%s: spec.attributes: %zu entries, expected at most %zu", where,
			json_array_size(array), block->count + ATTRS_UNUSED_MAX);
	block->attrs = calloc(json_array_size(array) + 1, sizeof(*block->attrs));
	if (!block->attrs)
		return err_set(err, -ENOMEM, "%s: no memory", where);
	json_array_foreach (array, i, json) {
		if (decode_attr(json, where, i, &block->attrs[i], err) < 0)
			return err->code;
		block->attr_count++;
	}
	return 0;
}

static int decode_allocations(
	const json_t *spec, const char *where, struct ipam_block *block, struct err *err)
{
	json_t *array = NULL, *json;
	size_t i;

	if (json_get_array(spec, where, "allocations", &array, err) < 0)
		return err->code;
	if (json_array_size(array) != block->count)
		return err_set(err, -EINVAL, "%s: spec.allocations: %zu entries, expected %zu", where,
			json_array_size(array), block->count);
	json_array_foreach (array, i, json) {
		json_int_t value = json_integer_value(json);

		if (json_is_null(json))
			continue;
		if (!json_is_integer(json) || value < 0 || (size_t)value >= block->attr_count)
			return err_set(err, -EINVAL,
				"%s: spec.allocations[%zu]: %lld, expected null or one of %zu attributes",
				where, i, (long long)value, block->attr_count);
		block->allocations[i] = (int)value;
	}
	return 0;
}

static int decode_unallocated(
	const json_t *spec, const char *where, struct ipam_block *block, struct err *err)
{
	_cleanup_free_ bool *seen = calloc(block->count, sizeof(*seen));
	json_t *array = NULL, *json;
	size_t i;

	if (!seen)
		return err_set(err, -ENOMEM, "%s: no memory", where);
	if (json_get_array(spec, where, "unallocated", &array, err) < 0)
		return err->code;
	json_array_foreach (array, i, json) {
		json_int_t value = json_is_integer(json) ? json_integer_value(json) : -1;

		if (value < 0 || (size_t)value >= block->count || seen[value] ||
			block->allocations[value] >= 0)
			return err_set(err, -EINVAL,
				"%s: spec.unallocated[%zu]: %lld, expected an address of the block that is "
				"free and "
				"named once",
				where, i, (long long)value);
		seen[value] = true;
		block->unallocated[block->free_count++] = (unsigned)value;
	}
	for (i = 0; i < block->count; i++) {
		if (!seen[i] && block->allocations[i] < 0)
			return err_set(err, -EINVAL,
				"%s: spec.unallocated: %zu is missing, though spec.allocations[%zu] is null",
				where, i, i);
	}
	return 0;
}

static int decode_sequences(const json_t *spec, const char *where, struct ipam_block *block, struct err *err)
{
	int64_t sequence = 0;
	json_t *object = NULL, *json;
	const char *key;

	if (json_get_int(spec, where, "sequenceNumber", 0, INT64_MAX - 1, &sequence, err) < 0 ||
		json_get_object(spec, where, "sequenceNumberForAllocation", &object, err) < 0)
		return err->code;
	block->sequence = (uint64_t)sequence;
	json_object_foreach (object, key, json) {
		char *end = NULL;
		unsigned long ordinal = strtoul(key, &end, 10);

		if (end == key || *end || ordinal >= block->count || !json_is_integer(json) ||
			json_integer_value(json) < 0)
			return err_set(err, -EINVAL,
				"%s: spec.sequenceNumberForAllocation[\"%s\"]: expected a number for one of "
				"%zu "
				"addresses",
				where, key, block->count);
		/* what is left over of a freed address means nothing */
		if (block->allocations[ordinal] >= 0)
			block->sequences[ordinal] = (uint64_t)json_integer_value(json);
	}
	return 0;
}

int ipam_block_decode(const json_t *object, struct ipam_block **ret, struct err *err)
{
	const char *name = json_string_value(json_object_get(json_object_get(object, "metadata"), "name"));
	_cleanup_(block_cleanup) struct ipam_block *block = NULL;
	const json_t *spec = json_object_get(object, "spec");
	struct err scratch = ERR_INIT;
	struct prefix cidr;
	char where[300];
	int rc;

	err = err ? err : &scratch;
	snprintf(where, sizeof(where), "IPAMBlock %s", name ? name : "without name");
	rc = decode_cidr(object, where, &cidr, err);
	if (rc < 0)
		return rc;
	block = ipam_block_alloc(&cidr);
	if (!block)
		return err_set(err, -ENOMEM, "%s: no memory", where);
	if (json_get_bool(spec, where, "deleted", &block->deleted, err) < 0 ||
		decode_affinity(spec, where, block, err) < 0 || decode_attrs(spec, where, block, err) < 0 ||
		decode_allocations(spec, where, block, err) < 0 ||
		decode_unallocated(spec, where, block, err) < 0 ||
		decode_sequences(spec, where, block, err) < 0)
		return err->code == -ENOMEM ? -ENOMEM : -EINVAL;
	json_decref(block->object);
	block->object = json_incref((json_t *)object);
	*ret = TAKE_PTR(block);
	return 0;
}

/* -- out -- */

static json_t *encode_allocations(const struct ipam_block *block)
{
	json_t *array = json_array();

	for (size_t i = 0; i < block->count; i++)
		json_array_append_new(
			array, block->allocations[i] < 0 ? json_null() : json_integer(block->allocations[i]));
	return array;
}

static json_t *encode_unallocated(const struct ipam_block *block)
{
	json_t *array = json_array();

	for (size_t i = 0; i < block->free_count; i++)
		json_array_append_new(array, json_integer(block->unallocated[i]));
	return array;
}

static json_t *encode_attrs(const struct ipam_block *block)
{
	json_t *array = json_array();

	for (size_t i = 0; i < block->attr_count; i++)
		json_array_append(array, block->attrs[i].json);
	return array;
}

static json_t *encode_sequences(const struct ipam_block *block)
{
	json_t *object = json_object();
	char key[24];

	for (size_t i = 0; i < block->count; i++) {
		if (block->allocations[i] < 0 || block->sequences[i] == 0)
			continue;
		snprintf(key, sizeof(key), "%zu", i);
		json_object_set_new(object, key, json_integer((json_int_t)block->sequences[i]));
	}
	return object;
}

static void encode_affinity(const struct ipam_block *block, json_t *spec)
{
	const char *was = json_string_value(json_object_get(spec, "affinityClaimTime"));
	char text[IPAM_TIME_MAX];
	int64_t time = 0;

	if (block->affinity)
		json_object_set_new(spec, "affinity", json_string(block->affinity));
	else
		json_object_del(spec, "affinity");
	if (block->claim_time == 0)
		json_object_del(spec, "affinityClaimTime");
	else if (!was || ipam_time_parse(was, &time) < 0 || time != block->claim_time)
		json_object_set_new(
			spec, "affinityClaimTime", json_string(ipam_time_format(block->claim_time, text)));
}

static json_t *member(json_t *object, const char *key)
{
	if (!json_is_object(json_object_get(object, key)))
		json_object_set_new(object, key, json_object());
	return json_object_get(object, key);
}

json_t *ipam_block_encode(const struct ipam_block *block)
{
	json_t *object = json_deep_copy(block->object), *spec = member(object, "spec");
	char name[IPAM_CIDR_NAME_MAX], cidr[PREFIX_TEXT_MAX];
	int rc = 0;

	if (!json_object_get(object, "apiVersion"))
		rc |= json_object_set_new(object, "apiVersion", json_string("projectcalico.org/v3"));
	rc |= json_object_set_new(object, "kind", json_string("IPAMBlock"));
	rc |= json_object_set_new(
		member(object, "metadata"), "name", json_string(ipam_cidr_name(&block->cidr, name)));
	rc |= json_object_set_new(spec, "cidr", json_string(prefix_format(&block->cidr, cidr)));
	rc |= json_object_set_new(spec, "allocations", encode_allocations(block));
	rc |= json_object_set_new(spec, "unallocated", encode_unallocated(block));
	rc |= json_object_set_new(spec, "attributes", encode_attrs(block));
	rc |= json_object_set_new(spec, "sequenceNumber", json_integer((json_int_t)block->sequence));
	rc |= json_object_set_new(spec, "sequenceNumberForAllocation", encode_sequences(block));
	rc |= json_object_set_new(spec, "deleted", json_boolean(block->deleted));
	if (!json_object_get(spec, "strictAffinity"))
		rc |= json_object_set_new(spec, "strictAffinity", json_false());
	encode_affinity(block, spec);
	if (rc == 0)
		return object;
	json_decref(object);
	return NULL;
}

json_t *ipam_block_encode_next(struct ipam_block *block)
{
	block->sequence++;
	ipam_block_prune(block);
	return ipam_block_encode(block);
}
