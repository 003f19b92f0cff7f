/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/manifest.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "client/kube_yaml.h"
#include "objects/calico_form.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define OBJECTS_MAX 10000 /* of one file */

struct reading {
	const char *where;
	struct manifest manifest;
};

void manifest_free(struct manifest *manifest)
{
	for (size_t i = 0; i < manifest->count; i++)
		json_decref(manifest->objects[i].object);
	free(manifest->objects);
	for (size_t i = 0; i < manifest->staged_count; i++)
		free(manifest->staged[i]);
	free(manifest->staged);
	*manifest = (struct manifest){0};
}

static int add(struct reading *reading, enum kind kind, json_t *object, struct err *err)
{
	struct manifest *manifest = &reading->manifest;
	struct manifest_object *more = NULL;

	if (manifest->count < OBJECTS_MAX)
		more = realloc(manifest->objects, (manifest->count + 1) * sizeof(*more));
	if (!more) {
		json_decref(object);
		return err_set(err, -ENOMEM, "%s: no memory for object %zu", reading->where, manifest->count + 1);
	}
	manifest->objects = more;
	more[manifest->count++] = (struct manifest_object){kind, object, object_name(object), object_namespace(object)};
	return 0;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* metadata as far as everybody relies on it. */
static int check_metadata(const struct reading *reading, enum kind kind, const json_t *object, struct err *err)
{
	static const char *const maps[] = {"labels", "annotations"};
	const json_t *metadata = json_object_get(object, "metadata"), *value;
	const char *key;

	if (!object_name_is_good(object_name(object)))
		return err_set(err, -EINVAL, "%s: %s: metadata.name is \"%.260s\", expected a name", reading->where,
			kind_name(kind), object_name(object));
	if (kind_is_namespaced(kind) && *object_namespace(object) && !object_name_is_good(object_namespace(object)))
		return err_set(err, -EINVAL, "%s: %s %s: metadata.namespace is \"%.260s\", expected a name", reading->where,
			kind_name(kind), object_name(object), object_namespace(object));
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		json_t *map = json_object_get(metadata, maps[i]);

		if (map && !json_is_null(map) && !json_is_object(map))
			return err_set(err, -EINVAL, "%s: %s %s: metadata.%s is no mapping, expected one of texts",
				reading->where, kind_name(kind), object_name(object), maps[i]);
		json_object_foreach(map, key, value)
			if (!json_is_string(value))
				return err_set(err, -EINVAL, "%s: %s %s: metadata.%s: value of \"%.200s\" is no text, expected "
					"one (in quotes)", reading->where, kind_name(kind), object_name(object), maps[i], key);
	}
	return 0;
}

/* Where a namespace belongs there is one, elsewhere there is none. */
static void mend_namespace(enum kind kind, json_t *object)
{
	json_t *metadata = json_copy(json_object_get(object, "metadata"));

	if (!kind_is_namespaced(kind))
		json_object_del(metadata, "namespace");
	else if (!*object_namespace(object))
		json_object_set_new(metadata, "namespace", json_string("default"));
	json_object_set_new(object, "metadata", metadata);
}

/* Kinds of policy are not passed over when their version is another: without one of them more would be allowed. */
static const char *expected_version(const char *version, const char *name)
{
	static const char *const policies[][2] = {
		{"NetworkPolicy", "networking.k8s.io/v1 or " CALICO_V3},
		{"ClusterNetworkPolicy", CLUSTER_POLICY_VERSION},
		{"AdminNetworkPolicy", "kind ClusterNetworkPolicy of " CLUSTER_POLICY_VERSION},
		{"BaselineAdminNetworkPolicy", "kind ClusterNetworkPolicy of " CLUSTER_POLICY_VERSION},
	};

	for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
		if (strcmp(policies[i][0], name) == 0)
			return policies[i][1];
	return strstr(version, "projectcalico.org/") && kind_find(CALICO_V3, name) != KIND_COUNT ? CALICO_V3 : NULL;
}

static bool is_staged(const char *version, const char *name)
{
	return strncmp(name, "Staged", strlen("Staged")) == 0 && strstr(version, "projectcalico.org/");
}

static int note_staged(struct reading *reading, const json_t *object, struct err *err)
{
	struct manifest *manifest = &reading->manifest;
	const char *namespace = object_namespace(object);
	char **more = NULL;

	if (manifest->staged_count < OBJECTS_MAX)
		more = reallocarray(manifest->staged, manifest->staged_count + 1, sizeof(*more));
	if (!more)
		return err_set(err, -ENOMEM, "%s: no memory", reading->where);
	manifest->staged = more;
	if (asprintf(&more[manifest->staged_count], "%s %s%s%s", text_of(object, "kind"), namespace, *namespace ? "/" : "", object_name(object)) < 0)
		return err_set(err, -ENOMEM, "%s: no memory", reading->where);
	manifest->staged_count++;
	return 0;
}

static int take_object(struct reading *reading, const json_t *object, struct err *err)
{
	const char *version = text_of(object, "apiVersion"), *name = text_of(object, "kind");
	enum kind kind = kind_find(version, name);
	const char *expected = kind == KIND_COUNT ? expected_version(version, name) : NULL;
	json_t *neutral;
	int rc;

	if (expected)
		return err_set(err, -EINVAL, "%s: %s: apiVersion is \"%.100s\", expected %s", reading->where, name, version,
			expected);
	if (kind == KIND_COUNT)
		return is_staged(version, name) ? note_staged(reading, object, err) : 0;
	rc = check_metadata(reading, kind, object, err);
	if (rc < 0)
		return rc;
	neutral = strcmp(version, CALICO_V1) == 0 ? calico_from_v1(kind, object) : json_copy((json_t *)object);
	if (!neutral)
		return err_set(err, -ENOMEM, "%s: no memory", reading->where);
	mend_namespace(kind, neutral);
	return add(reading, kind, neutral, err);
}

/* kubectl's lists: each item is a manifest. */
static int take_document(void *ctx, json_t *value, struct err *err)
{
	_cleanup_(json_cleanup) json_t *document = value;
	struct reading *reading = ctx;
	const json_t *items = json_object_get(document, "items"), *item;
	size_t i;
	int rc = 0;

	if (json_is_null(document))
		return 0;
	if (strcmp(text_of(document, "kind"), "List") != 0 || !json_is_array(items)) {
		reading->manifest.documents++;
		return take_object(reading, document, err);
	}
	reading->manifest.documents += 2; /* not to be written back, whatever it holds */
	json_array_foreach(items, i, item)
		if (rc == 0)
			rc = take_object(reading, item, err);
	return rc;
}

int manifest_parse(const char *text, size_t len, const char *where, struct manifest *ret, struct err *err)
{
	struct reading reading = {.where = where};
	int rc = kube_yaml_each(text, len, where, take_document, &reading, err);

	if (rc < 0) {
		manifest_free(&reading.manifest);
		return rc;
	}
	*ret = reading.manifest;
	return 0;
}

/* -- YAML out -- */

static int take_output(void *ctx, unsigned char *data, size_t len)
{
	return buf_add(ctx, data, len) == 0;
}

/* Would somebody read something else than this text? Then it gets quotes; some that need none, too. */
static bool is_plain(const char *text)
{
	static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"};

	if (!isalpha((unsigned char)*text) || strlen(text) > 80)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcasecmp(text, words[i]) == 0)
			return false;
	return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-")] == 0;
}

static bool emit_scalar(yaml_emitter_t *emitter, const char *text, yaml_scalar_style_t style)
{
	yaml_event_t event;

	return yaml_scalar_event_initialize(&event, NULL, NULL, (yaml_char_t *)text, (int)strlen(text), 1, 1, style) &&
		yaml_emitter_emit(emitter, &event);
}

static bool emit_text(yaml_emitter_t *emitter, const char *text)
{
	yaml_scalar_style_t style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;

	if (is_plain(text))
		style = YAML_PLAIN_SCALAR_STYLE;
	else if (strchr(text, '\n'))
		style = YAML_LITERAL_SCALAR_STYLE;
	return emit_scalar(emitter, text, style);
}

static bool emit(yaml_emitter_t *emitter, const json_t *value);

static bool emit_object(yaml_emitter_t *emitter, const json_t *object)
{
	yaml_mapping_style_t style = json_object_size(object) ? YAML_BLOCK_MAPPING_STYLE : YAML_FLOW_MAPPING_STYLE;
	yaml_event_t event;
	const char *key;
	json_t *value;

	if (!yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, style) || !yaml_emitter_emit(emitter, &event))
		return false;
	json_object_foreach((json_t *)object, key, value)
		if (!emit_text(emitter, key) || !emit(emitter, value))
			return false;
	return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static bool emit_array(yaml_emitter_t *emitter, const json_t *array)
{
	bool nested = json_is_object(json_array_get(array, 0));
	yaml_event_t event;
	const json_t *value;
	size_t i;

	if (!yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
		nested ? YAML_BLOCK_SEQUENCE_STYLE : YAML_FLOW_SEQUENCE_STYLE) || !yaml_emitter_emit(emitter, &event))
		return false;
	json_array_foreach(array, i, value)
		if (!emit(emitter, value))
			return false;
	return yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static bool emit(yaml_emitter_t *emitter, const json_t *value)
{
	_cleanup_free_ char *text = NULL;

	if (json_is_object(value))
		return emit_object(emitter, value);
	if (json_is_array(value))
		return emit_array(emitter, value);
	if (json_is_string(value))
		return emit_text(emitter, json_string_value(value));
	text = json_dumps(value, JSON_ENCODE_ANY);
	return text && emit_scalar(emitter, text, YAML_PLAIN_SCALAR_STYLE);
}

static int format_yaml(const json_t *object, struct buf *ret)
{
	yaml_emitter_t emitter;
	yaml_event_t event;
	bool good;

	if (!yaml_emitter_initialize(&emitter))
		return -ENOMEM;
	yaml_emitter_set_output(&emitter, take_output, ret);
	yaml_emitter_set_unicode(&emitter, 1);
	good = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) && yaml_emitter_emit(&emitter, &event) &&
		yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) && yaml_emitter_emit(&emitter, &event) &&
		emit(&emitter, object) &&
		yaml_document_end_event_initialize(&event, 1) && yaml_emitter_emit(&emitter, &event) &&
		yaml_stream_end_event_initialize(&event) && yaml_emitter_emit(&emitter, &event);
	yaml_emitter_delete(&emitter);
	return good ? ret->error : ret->error ? ret->error : -ENOMEM;
}

int manifest_format(const json_t *object, bool yaml, struct buf *ret)
{
	_cleanup_free_ char *text = NULL;

	if (yaml)
		return format_yaml(object, ret);
	text = json_dumps(object, JSON_INDENT(2));
	if (!text)
		return -ENOMEM;
	buf_add_str(ret, text);
	return buf_add_str(ret, "\n");
}
