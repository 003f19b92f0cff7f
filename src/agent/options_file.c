/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/options_file.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define OPTIONS_FILE_MAX ((size_t)1 << 20)

struct reader {
	const char *path;
	int (*entry)(void *ctx, const char *name, const char *value, struct err *err);
	void *ctx;
	char name[128];
	bool have_name, in_mapping, in_list;
};

static int refuse(const struct reader *reader, const yaml_event_t *event, struct err *err, const char *what)
{
	return err_set(err, -EINVAL, "%s line %zu: %s", reader->path, event->start_mark.line + 1, what);
}

static int scalar(struct reader *reader, const yaml_event_t *event, struct err *err)
{
	const char *value = (const char *)event->data.scalar.value;

	if (!reader->in_mapping)
		return refuse(reader, event, err, "expected a mapping of flag names to values");
	if (!reader->have_name) {
		snprintf(reader->name, sizeof(reader->name), "%s", value);
		reader->have_name = true;
		return 0;
	}
	reader->have_name = reader->in_list;
	if (strlen(value) != event->data.scalar.length)
		return refuse(reader, event, err, "a value has a NUL byte");
	if (reader->entry(reader->ctx, reader->name, value, err) < 0)
		return err_wrap(err, "%s line %zu", reader->path, event->start_mark.line + 1);
	return 0;
}

static int one_event(struct reader *reader, const yaml_event_t *event, struct err *err)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return scalar(reader, event, err);
	case YAML_MAPPING_START_EVENT:
		if (reader->in_mapping)
			return refuse(reader, event, err, "a flag's value is a mapping, expected a scalar or a list");
		reader->in_mapping = true;
		return 0;
	case YAML_MAPPING_END_EVENT:
		reader->in_mapping = false;
		return 0;
	case YAML_SEQUENCE_START_EVENT:
		if (!reader->have_name || reader->in_list)
			return refuse(reader, event, err, "a list is only taken as the value of a flag");
		reader->in_list = true;
		return 0;
	case YAML_SEQUENCE_END_EVENT:
		reader->in_list = false;
		reader->have_name = false;
		return 0;
	case YAML_ALIAS_EVENT:
		return refuse(reader, event, err, "aliases are not taken");
	default:
		return 0;
	}
}

int options_file_read(const char *path, int (*entry)(void *ctx, const char *name, const char *value, struct err *err),
	void *ctx, struct err *err)
{
	struct reader reader = {.path = path, .entry = entry, .ctx = ctx};
	_cleanup_(buf_free) struct buf text = BUF_INIT(OPTIONS_FILE_MAX);
	yaml_parser_t parser;
	int rc = file_read(path, &text, err);
	bool end = false;

	if (rc < 0)
		return rc;
	yaml_parser_initialize(&parser);
	yaml_parser_set_input_string(&parser, (const unsigned char *)buf_text(&text), text.len);
	while (rc == 0 && !end) {
		yaml_event_t event;

		if (!yaml_parser_parse(&parser, &event)) {
			rc = err_set(err, -EINVAL, "%s line %zu: not valid YAML: %s", path, parser.problem_mark.line + 1,
				parser.problem ? parser.problem : "unknown problem");
			break;
		}
		end = event.type == YAML_STREAM_END_EVENT;
		rc = one_event(&reader, &event, err);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return rc;
}
