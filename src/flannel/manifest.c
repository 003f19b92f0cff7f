/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "flannel/flannel.h"
#include "flannel/json.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <yaml.h>

/* What a manifest gives: the two texts of the first ConfigMap that has them. */
struct texts {
	char *net, *cni;
};

static void texts_free(struct texts *texts)
{
	free(texts->net);
	free(texts->cni);
	*texts = (struct texts){0};
}

static char **texts_slot(struct texts *texts, const char *key)
{
	if (strcmp(key, "net-conf.json") == 0)
		return &texts->net;
	return strcmp(key, "cni-conf.json") == 0 ? &texts->cni : NULL;
}

/* Takes what is still missing; one is emptied. */
static void texts_merge(struct texts *all, struct texts *one)
{
	if (!all->net)
		all->net = TAKE_PTR(one->net);
	if (!all->cni)
		all->cni = TAKE_PTR(one->cni);
	texts_free(one);
}

static int not_text(const char *where, const char *key, struct err *err)
{
	return err_set(err, -EINVAL,
		"%s: ConfigMap, data: key \"%s\" is no text, expected JSON as a block of text (\"%s: |\")",
		where, key, key);
}

/* -- JSON -- */

static int json_texts(const json_t *data, const char *where, struct texts *ret, struct err *err)
{
	_cleanup_(texts_free) struct texts texts = {0};
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)data, key, value) {
		char **slot = texts_slot(&texts, key);

		if (!slot)
			continue;
		if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
			return not_text(where, key, err);
		*slot = strdup(json_string_value(value));
		if (!*slot)
			return err_set(err, -ENOMEM, "%s: out of memory", where);
	}
	texts_merge(ret, &texts);
	return 0;
}

static int json_manifest(const char *text, size_t len, const char *where, struct texts *ret, struct err *err)
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	const char *kind;
	int r;

	r = flannel_object_parse(text, len, where, &json, err);
	if (r < 0)
		return r;
	kind = json_string_value(json_object_get(json, "kind"));
	if (!kind && !json_object_get(json, "apiVersion")) { /* a bare net-conf */
		ret->net = strndup(text, len);
		return ret->net ? 0 : err_set(err, -ENOMEM, "%s: out of memory", where);
	}
	if (!kind || strcmp(kind, "ConfigMap") != 0)
		return 0;
	return json_texts(json_object_get(json, "data"), where, ret, err);
}

/* -- YAML: events, so that neither size nor aliases cost memory -- */

struct reader {
	yaml_parser_t parser;
	yaml_event_t event;
	bool has_event;
	const char *where;
	struct err *err;
};

static int reader_next(struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;

	if (reader->has_event)
		yaml_event_delete(&reader->event);
	reader->has_event = false;
	if (!yaml_parser_parse(&reader->parser, &reader->event))
		return err_set(reader->err, -EINVAL, "%s: not valid YAML: line %zu column %zu: %s",
			reader->where, parser->problem_mark.line + 1, parser->problem_mark.column + 1,
			parser->problem ? parser->problem : "out of memory");
	reader->has_event = true;
	return 0;
}

/* Reads to the end of the node whose first event is the current one. */
static int reader_skip(struct reader *reader)
{
	size_t depth = 0;
	int r = 0;

	for (;;) {
		switch (reader->event.type) {
		case YAML_SEQUENCE_START_EVENT:
		case YAML_MAPPING_START_EVENT:
			depth++;
			break;
		case YAML_SEQUENCE_END_EVENT:
		case YAML_MAPPING_END_EVENT:
			depth--;
			break;
		default:
			break;
		}
		if (depth == 0)
			return 0;
		r = reader_next(reader);
		if (r < 0)
			return r;
	}
}

static const char *scalar(const struct reader *reader)
{
	const yaml_event_t *event = &reader->event;

	if (event->type != YAML_SCALAR_EVENT ||
		strlen((const char *)event->data.scalar.value) != event->data.scalar.length)
		return NULL;
	return (const char *)event->data.scalar.value;
}

/* Walks a mapping whose start is the current event. For each key that is a plain word, value() is called with
 * the value's first event current; it must read to the end of that node. */
static int reader_mapping(
	struct reader *reader, int (*value)(struct reader *reader, const char *key, void *ctx), void *ctx)
{
	int r;

	for (;;) {
		char key[64] = "";

		r = reader_next(reader);
		if (r < 0 || reader->event.type == YAML_MAPPING_END_EVENT)
			return r;
		if (scalar(reader) && strlen(scalar(reader)) < sizeof(key))
			strcpy(key, scalar(reader));
		r = reader_skip(reader);
		if (r == 0)
			r = reader_next(reader);
		if (r == 0)
			r = key[0] ? value(reader, key, ctx) : reader_skip(reader);
		if (r < 0)
			return r;
	}
}

struct document {
	bool config_map;
	bool bad; /* a text is none; told only if the document is a ConfigMap */
	char bad_key[16];
	struct texts texts;
};

static int data_value(struct reader *reader, const char *key, void *ctx)
{
	struct document *document = ctx;
	char **slot = texts_slot(&document->texts, key);

	if (!slot)
		return reader_skip(reader);
	if (!scalar(reader)) {
		document->bad = true;
		strcpy(document->bad_key, key);
		return reader_skip(reader);
	}
	free(*slot);
	*slot = strdup(scalar(reader));
	return *slot ? 0 : err_set(reader->err, -ENOMEM, "%s: out of memory", reader->where);
}

static int root_value(struct reader *reader, const char *key, void *ctx)
{
	struct document *document = ctx;

	if (strcmp(key, "data") == 0 && reader->event.type == YAML_MAPPING_START_EVENT)
		return reader_mapping(reader, data_value, document);
	if (strcmp(key, "kind") == 0)
		document->config_map = scalar(reader) && strcmp(scalar(reader), "ConfigMap") == 0;
	return reader_skip(reader);
}

static int yaml_document(struct reader *reader, struct texts *ret)
{
	struct document document = {0};
	int r = reader_next(reader);

	if (r == 0)
		r = reader->event.type == YAML_MAPPING_START_EVENT
			    ? reader_mapping(reader, root_value, &document)
			    : reader_skip(reader);
	if (r == 0 && document.config_map && document.bad)
		r = not_text(reader->where, document.bad_key, reader->err);
	if (r == 0 && document.config_map)
		texts_merge(ret, &document.texts);
	texts_free(&document.texts);
	return r;
}

static int yaml_manifest(const char *text, size_t len, const char *where, struct texts *ret, struct err *err)
{
	struct reader reader = {.where = where, .err = err};
	int r;

	if (len > FLANNEL_TEXT_MAX)
		return err_set(err, -EMSGSIZE, "%s: has %zu bytes, expected at most %u", where, len,
			FLANNEL_TEXT_MAX);
	if (!yaml_parser_initialize(&reader.parser))
		return err_set(err, -ENOMEM, "%s: out of memory", where);
	yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, len);
	do {
		r = reader_next(&reader);
		if (r == 0 && reader.event.type == YAML_DOCUMENT_START_EVENT)
			r = yaml_document(&reader, ret);
	} while (r == 0 && reader.event.type != YAML_STREAM_END_EVENT);
	if (reader.has_event)
		yaml_event_delete(&reader.event);
	yaml_parser_delete(&reader.parser);
	return r;
}

int flannel_manifest_parse(
	const char *text, size_t len, const char *where, char **ret_net, char **ret_cni, struct err *err)
{
	_cleanup_(texts_free) struct texts texts = {0};
	size_t start = 0;
	int r;

	while (start < len && isspace((unsigned char)text[start]))
		start++;
	if (start < len && text[start] == '{')
		r = json_manifest(text, len, where, &texts, err);
	else
		r = yaml_manifest(text, len, where, &texts, err);
	if (r < 0)
		return r;
	if (!texts.net && !texts.cni)
		return err_set(err, -ENOENT,
			"%s: holds neither a network configuration ({\"Network\": ...}) nor a ConfigMap "
			"with key \"net-conf.json\" or \"cni-conf.json\"",
			where);
	*ret_net = TAKE_PTR(texts.net);
	*ret_cni = TAKE_PTR(texts.cni);
	return 0;
}
