/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/calico_form.h"

#include "base/cleanup.h"
#include "base/json.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Policies alone have a name of their own behind the metadata annotation. */
static bool is_policy(enum kind kind)
{
	return kind == KIND_CALICO_NETWORK_POLICY || kind == KIND_GLOBAL_NETWORK_POLICY;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* -- UIDs -- */

static unsigned char reversed(unsigned char byte)
{
	unsigned char ret = 0;

	for (int i = 0; i < 8; i++)
		ret = (unsigned char)(ret << 1 | (byte >> i & 1));
	return ret;
}

static bool is_uuid(const char *text)
{
	if (strlen(text) != 36)
		return false;
	for (int i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return true;
}

void calico_turn_uid(const char *uid, char *ret)
{
	memmove(ret, uid, strlen(uid) + 1);
	if (!is_uuid(ret))
		return;
	for (int at = 0, n = 0; at < 36; at += 2, n++) {
		unsigned byte;
		char hex[3];

		at += ret[at] == '-';
		/* The version and the variant of the UUID stay. */
		if (n == 6 || n == 8)
			continue;
		sscanf(ret + at, "%2x", &byte);
		snprintf(hex, sizeof(hex), "%02x", reversed((unsigned char)byte));
		memcpy(ret + at, hex, 2);
	}
}

static void turn_uid(json_t *object)
{
	const char *uid = text_of(object, "uid");
	_cleanup_free_ char *turned = strdup(uid);

	if (!*uid || !turned)
		return;
	calico_turn_uid(uid, turned);
	json_object_set_new(object, "uid", json_string(turned));
}

/* Owners of Calico's own kinds, as the other group calls them. */
static json_t *turn_owners(const json_t *owners, const char *from, const char *to)
{
	json_t *ret = json_array();
	const json_t *owner;
	size_t i;

	json_array_foreach(owners, i, owner) {
		json_t *copy = json_copy((json_t *)owner);

		if (strcmp(text_of(owner, "apiVersion"), from) == 0) {
			json_object_set_new(copy, "apiVersion", json_string(to));
			turn_uid(copy);
		}
		json_array_append_new(ret, copy);
	}
	return ret;
}

/* -- metadata behind the annotation -- */

/* Labels and annotations that the v1 object keeps for itself. */
static bool stays(const char *key)
{
	return strstr(key, "projectcalico.org/") || strstr(key, "operator.tigera.io/");
}

static json_t *kept(const json_t *texts)
{
	json_t *ret = json_object();
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)texts, key, value)
		if (stays(key) && strcmp(key, CALICO_METADATA) != 0)
			json_object_set(ret, key, value);
	return ret;
}

static void set_unless_empty(json_t *object, const char *key, json_t *value)
{
	if (json_object_size(value) || json_array_size(value))
		json_object_set_new(object, key, value);
	else
		json_decref(value);
}

/* Text of the annotation: what v1 has no place for. */
static char *wrapped(const json_t *metadata, enum kind kind)
{
	static const char *const members[] = {"labels", "annotations", "ownerReferences"};
	_cleanup_(json_cleanup) json_t *wrap = json_object();
	const json_t *created = json_object_get(metadata, "creationTimestamp");

	if (is_policy(kind))
		json_object_set(wrap, "name", json_object_get(metadata, "name"));
	json_object_set_new(wrap, "creationTimestamp", created ? json_incref((json_t *)created) : json_null());
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		json_t *value = json_object_get(metadata, members[i]);

		if (json_object_size(value) || json_array_size(value))
			json_object_set(wrap, members[i], value);
	}
	return json_dumps(wrap, JSON_COMPACT);
}

static json_t *wrap(const json_t *metadata, enum kind kind)
{
	_cleanup_free_ char *text = wrapped(metadata, kind);
	const json_t *owners = json_object_get(metadata, "ownerReferences");
	json_t *annotations = kept(json_object_get(metadata, "annotations"));
	json_t *ret = json_copy((json_t *)metadata);

	json_object_del(ret, "labels");
	set_unless_empty(ret, "labels", kept(json_object_get(metadata, "labels")));
	if (text)
		json_object_set_new(annotations, CALICO_METADATA, json_string(text));
	json_object_set_new(ret, "annotations", annotations);
	if (owners)
		json_object_set_new(ret, "ownerReferences", turn_owners(owners, CALICO_V3, CALICO_V1));
	turn_uid(ret);
	return ret;
}

/* The object's own first, then what the annotation says. */
static void overlay(json_t *metadata, const char *member, const json_t *wrap)
{
	const json_t *own = json_object_get(metadata, member);
	json_t *all = json_is_object(own) ? json_copy((json_t *)own) : json_object();

	json_object_update(all, json_object_get(wrap, member));
	json_object_del(all, CALICO_METADATA);
	json_object_del(metadata, member);
	set_unless_empty(metadata, member, all);
}

static void unwrap_name(enum kind kind, json_t *metadata, const json_t *wrap, const json_t *object)
{
	const char *name = text_of(metadata, "name"), *tier = text_of(json_object_get(object, "spec"), "tier");
	const char *given = text_of(wrap, "name");

	if (*given)
		json_object_set_new(metadata, "name", json_string(given));
	else if (is_policy(kind) && strncmp(name, "default.", 8) == 0 &&
		(!*tier || strcmp(tier, "default") == 0))
		json_object_set_new(metadata, "name", json_string(name + 8));
}

static json_t *unwrap(enum kind kind, const json_t *object)
{
	const json_t *metadata = json_object_get(object, "metadata");
	const char *text = text_of(json_object_get(metadata, "annotations"), CALICO_METADATA);
	_cleanup_(json_cleanup) json_t *wrap = json_loads(text, 0, NULL);
	json_t *ret = json_copy((json_t *)metadata);
	json_t *owners = json_object_get(wrap, "ownerReferences");

	overlay(ret, "labels", wrap);
	overlay(ret, "annotations", wrap);
	if (json_is_array(owners))
		json_object_set(ret, "ownerReferences", owners);
	else if ((owners = json_object_get(ret, "ownerReferences")))
		json_object_set_new(ret, "ownerReferences", turn_owners(owners, CALICO_V1, CALICO_V3));
	unwrap_name(kind, ret, wrap, object);
	turn_uid(ret);
	return ret;
}

/* -- the specs of IPAM's kinds -- */

static void set_default(json_t *spec, const char *key, json_t *value)
{
	if (json_object_get(spec, key))
		json_decref(value);
	else
		json_object_set_new(spec, key, value);
}

static json_t *spec_from_v1(enum kind kind, const json_t *spec)
{
	json_t *ret = json_copy((json_t *)spec);
	const json_t *deleted = json_object_get(spec, "deleted");

	if (kind == KIND_BLOCK_AFFINITY && json_is_string(deleted))
		json_object_set_new(ret, "deleted", json_boolean(strcasecmp(json_string_value(deleted), "true") == 0));
	return ret;
}

/* v1 requires some members that v3 fills in by itself. */
static json_t *spec_to_v1(enum kind kind, const json_t *spec)
{
	json_t *ret = json_copy((json_t *)spec);

	if (kind == KIND_BLOCK_AFFINITY) {
		json_object_set_new(ret, "deleted", json_string(json_is_true(json_object_get(spec, "deleted")) ?
			"true" : "false"));
	} else if (kind == KIND_IPAM_BLOCK) {
		set_default(ret, "strictAffinity", json_false());
		set_default(ret, "deleted", json_false());
	} else if (kind == KIND_IPAM_HANDLE) {
		set_default(ret, "deleted", json_false());
	} else if (kind == KIND_IPAM_CONFIG) {
		set_default(ret, "strictAffinity", json_false());
		set_default(ret, "autoAllocateBlocks", json_true());
	}
	return ret;
}

/* -- whole objects -- */

json_t *calico_from_v1(enum kind kind, const json_t *object)
{
	const struct kind_info *info = kind_info(kind);
	json_t *ret = json_copy((json_t *)object);
	const json_t *spec = json_object_get(object, "spec");

	if (!ret)
		return NULL;
	if (info->v1_name && !info->ipam && json_is_object(json_object_get(object, "metadata")))
		json_object_set_new(ret, "metadata", unwrap(kind, object));
	if (info->ipam && json_is_object(spec))
		json_object_set_new(ret, "spec", spec_from_v1(kind, spec));
	json_object_set_new(ret, "apiVersion", json_string(info->api_version));
	json_object_set_new(ret, "kind", json_string(info->name));
	return ret;
}

json_t *calico_to_v1(enum kind kind, const json_t *object)
{
	const struct kind_info *info = kind_info(kind);
	json_t *ret = json_copy((json_t *)object);
	const json_t *metadata = json_object_get(object, "metadata"), *spec = json_object_get(object, "spec");

	if (!ret || !info->v1_name)
		return ret;
	if (!info->ipam && json_is_object(metadata))
		json_object_set_new(ret, "metadata", wrap(metadata, kind));
	if (info->ipam && json_is_object(spec))
		json_object_set_new(ret, "spec", spec_to_v1(kind, spec));
	json_object_set_new(ret, "apiVersion", json_string(CALICO_V1));
	json_object_set_new(ret, "kind", json_string(info->v1_name));
	return ret;
}
