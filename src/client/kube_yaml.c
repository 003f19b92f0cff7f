/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_yaml.h"

#include "base/json.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX 64
#define VALUES_LEAST 100000 /* that a document may have, however short */
#define NUMBER_MAX 24 /* characters; larger than any 64-bit number */

struct reader {
	yaml_document_t *document;
	const char *where;
	size_t values, values_max;
	struct err *err;
};

/* Only aliases make more values than a text's length allows: each takes a character, and one that parts it from the next. */
static size_t values_max(size_t len)
{
	return VALUES_LEAST + len / 2;
}

static json_t *convert(struct reader *reader, int index, unsigned depth, bool numbers);

static json_t *refuse(struct reader *reader, const yaml_node_t *node, const char *what)
{
	err_set(reader->err, -EINVAL, "%s: line %zu column %zu: %s", reader->where, node->start_mark.line + 1,
		node->start_mark.column + 1, what);
	return NULL;
}

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

static json_t *number(const char *text)
{
	const char *digits = text + (*text == '-');
	json_error_t problem;
	json_t *value;

	if (!isdigit((unsigned char)*digits) || strlen(text) > NUMBER_MAX)
		return NULL;
	value = json_loads(text, JSON_DECODE_ANY, &problem);
	if (value && json_is_number(value))
		return value;
	json_decref(value);
	return NULL;
}

static json_t *scalar(struct reader *reader, const yaml_node_t *node, bool numbers)
{
	static const char *const yes[] = {"true", "True", "TRUE", NULL}, *const no[] = {"false", "False", "FALSE", NULL},
			  *const nothing[] = {"", "~", "null", "Null", "NULL", NULL};
	const char *text = (const char *)node->data.scalar.value;
	size_t len = node->data.scalar.length;
	json_t *value = NULL;

	if (strlen(text) != len)
		return refuse(reader, node, "a NUL byte in a text");
	if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
		if (is_one_of(text, yes) || is_one_of(text, no))
			return json_boolean(is_one_of(text, yes));
		if (is_one_of(text, nothing))
			return json_null();
		value = numbers ? number(text) : NULL;
	}
	if (!value)
		value = json_stringn(text, len);
	return value ? value : refuse(reader, node, "a text that is not UTF-8");
}

static json_t *sequence(struct reader *reader, const yaml_node_t *node, unsigned depth, bool numbers)
{
	json_t *array = json_array();

	for (const yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
		json_t *value = convert(reader, *item, depth + 1, numbers);

		if (!value || json_array_append_new(array, value) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *mapping(struct reader *reader, const yaml_node_t *node, unsigned depth, bool numbers)
{
	json_t *object = json_object();

	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
		json_t *value = NULL;

		if (!key || key->type != YAML_SCALAR_NODE || strlen((const char *)key->data.scalar.value) !=
			key->data.scalar.length)
			refuse(reader, key ? key : node, "a key that is no text");
		else
			value = convert(reader, pair->value, depth + 1,
				numbers || strcmp((const char *)key->data.scalar.value, "extension") == 0);
		if (value && json_object_set_new(object, (const char *)key->data.scalar.value, value) < 0) {
			refuse(reader, key, "a key that is not UTF-8");
			value = NULL;
		}
		if (!value) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static json_t *convert(struct reader *reader, int index, unsigned depth, bool numbers)
{
	const yaml_node_t *node = yaml_document_get_node(reader->document, index);

	if (!node)
		return json_null();
	if (depth > DEPTH_MAX)
		return refuse(reader, node, "nested too deeply");
	if (++reader->values > reader->values_max)
		return refuse(reader, node, "too many values, as aliases unfold");
	if (node->type == YAML_SCALAR_NODE)
		return scalar(reader, node, numbers);
	return node->type == YAML_SEQUENCE_NODE ? sequence(reader, node, depth, numbers) : mapping(reader, node, depth, numbers);
}

/* 1 and the next document, 0 behind the last one. */
static int load(yaml_parser_t *parser, size_t len, const char *where, bool numbers, json_t **ret, struct err *err)
{
	yaml_document_t document;
	struct reader reader = {&document, where, 0, values_max(len), err};
	json_t *value = NULL;
	bool found;

	if (!yaml_parser_load(parser, &document))
		return err_set(err, -EINVAL, "%s: not valid YAML: line %zu column %zu: %s", where,
			parser->problem_mark.line + 1, parser->problem_mark.column + 1,
			parser->problem ? parser->problem : "no memory");
	err_set(err, -EINVAL, "%s: no memory", where);
	found = yaml_document_get_root_node(&document);
	if (found)
		value = convert(&reader, 1, 0, numbers);
	yaml_document_delete(&document);
	if (found && !value)
		return -EINVAL;
	*ret = value;
	return found;
}

static int parse_yaml(const char *text, size_t len, const char *where, json_t **ret, struct err *err)
{
	yaml_parser_t parser;
	json_t *value;
	int rc;

	if (!yaml_parser_initialize(&parser))
		return err_set(err, -ENOMEM, "%s: no memory", where);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	rc = load(&parser, len, where, false, &value, err);
	yaml_parser_delete(&parser);
	if (rc < 0)
		return rc;
	*ret = rc ? value : json_null();
	return 0;
}

int kube_yaml_each(const char *text, size_t len, const char *where,
	int (*document)(void *ctx, json_t *value, struct err *err), void *ctx, struct err *err)
{
	size_t start = strspn(text, " \t\r\n");
	yaml_parser_t parser;
	json_t *value;
	int rc;

	if (start < len && text[start] == '{' && !memmem(text, len, "\n---", 4)) { /* which no JSON holds: one document */
		rc = json_parse(text, len, where, &value, err);
		return rc < 0 ? rc : document(ctx, value, err);
	}
	if (!yaml_parser_initialize(&parser))
		return err_set(err, -ENOMEM, "%s: no memory", where);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	while ((rc = load(&parser, len, where, true, &value, err)) > 0) {
		rc = document(ctx, value, err);
		if (rc < 0)
			break;
	}
	yaml_parser_delete(&parser);
	return rc;
}

int kube_yaml_parse(const char *text, size_t len, const char *where, json_t **ret, struct err *err)
{
	size_t start = 0;

	while (start < len && isspace((unsigned char)text[start]))
		start++;
	if (start < len && text[start] == '{')
		return json_parse(text, len, where, ret, err);
	return parse_yaml(text, len, where, ret, err);
}
