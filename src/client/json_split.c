/* SPDX-License-Identifier: Apache-2.0 */
#include "client/json_split.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DROPS_MAX 64
#define DROP_PARTS_MAX 8
#define DROP_NAME_MAX 256
/* Deeper brackets are counted, but their kinds are not compared; a parser refuses such an object anyway. */
#define DEPTH_CHECKED 2048
#define REST_MAX ((size_t)64 << 10)
#define OBJECT_MAX ((size_t)1 << 20)
/* A larger object's memory is given back at once. */
#define KEEP_MAX ((size_t)128 << 10)

/* What a byte may mean outside a string. */
enum {
	PLAIN = 0,
	SPACE = 1,
	QUOTE = 2,
	OPEN = 4,
	CLOSE = 8,
	COMMA = 16,
	STOP = 32, /* inside a string: the quote or an escape */
};

static const uint8_t kinds[256] = {
	[' '] = SPACE, ['\t'] = SPACE, ['\r'] = SPACE, ['\n'] = SPACE,
	['"'] = QUOTE | STOP, ['\\'] = STOP, [','] = COMMA,
	['{'] = OPEN, ['['] = OPEN, ['}'] = CLOSE, [']'] = CLOSE,
};

/* An object whose members are looked at: the list itself, or one on the way to what is dropped. */
struct level {
	uint64_t match;      /* drops whose beginning led here, one bit each */
	size_t member_start; /* length of the output in front of the member, its comma included */
	bool kept;           /* a member has been written */
};

struct json_split {
	struct json_split_options options;
	struct drop {
		struct part {
			const char *text;
			size_t len;
		} parts[DROP_PARTS_MAX];
		size_t count;
	} drops[DROPS_MAX];
	size_t drop_count;
	struct buf object, rest;
	struct buf *out;      /* where the text goes */
	uint64_t position;    /* of the piece in hand */
	size_t depth;         /* brackets that are open */
	size_t root;          /* the depth inside an object's outermost braces */
	uint8_t arrays[DEPTH_CHECKED / 8];
	struct level levels[DROP_PARTS_MAX + 1]; /* 0: the list; then the object, its members, … */
	uint64_t descend;     /* match of the object that is the value at hand */
	size_t dropping;      /* depth of the object whose member is dropped; 0: none */
	size_t key_start;
	bool string, escape;  /* inside a string; behind a backslash there */
	bool key, key_next;   /* that string is a key; the next one is */
	bool items_next;      /* the value at hand is that of "items" */
	bool in_items, had_items, ended;
	bool after_item, after_comma; /* in items */
	int error;
};

/* -- setting up -- */

static int add_drop(struct json_split *split, const char *path, struct err *err)
{
	struct drop *drop = &split->drops[split->drop_count];

	if (split->drop_count == DROPS_MAX)
		return err_set(err, -EINVAL, "JSON: more than %d members to drop", DROPS_MAX);
	for (const char *rest = path;;) {
		size_t len = strcspn(rest, ".");

		if (drop->count == DROP_PARTS_MAX || !len || len > DROP_NAME_MAX)
			return err_set(err, -EINVAL, "JSON: member to drop \"%.300s\": expected at most %d names, separated by "
				"dots", path, DROP_PARTS_MAX);
		drop->parts[drop->count++] = (struct part){rest, len};
		if (!rest[len])
			break;
		rest += len + 1;
	}
	split->drop_count++;
	return 0;
}

int json_split_new(const struct json_split_options *options, struct json_split **ret, struct err *err)
{
	struct json_split *split = calloc(1, sizeof(*split));
	int rc;

	if (!split)
		return err_set(err, -ENOMEM, "JSON: no memory");
	split->options = *options;
	if (!split->options.object_max)
		split->options.object_max = OBJECT_MAX;
	/* Room for the name of a member that is dropped once it is known. */
	split->object = BUF_INIT(split->options.object_max + DROP_NAME_MAX + 16);
	split->rest = BUF_INIT(REST_MAX);
	split->out = options->list ? &split->rest : &split->object;
	split->root = options->list ? 3 : 1;
	for (size_t i = 0; options->drop && options->drop[i]; i++) {
		rc = add_drop(split, options->drop[i], err);
		if (rc < 0) {
			json_split_free(split);
			return rc;
		}
	}
	*ret = split;
	return 0;
}

void json_split_free(struct json_split *split)
{
	if (!split)
		return;
	buf_free(&split->object);
	buf_free(&split->rest);
	free(split);
}

const char *json_split_rest(const struct json_split *split)
{
	return buf_text(&split->rest);
}

/* -- levels -- */

/* 1 inside the outermost braces of an object; 0 in none. */
static size_t object_depth(const struct json_split *split)
{
	if (split->depth < split->root || (split->options.list && !split->in_items))
		return 0;
	return split->depth - split->root + 1;
}

/* Null where members are not looked at. */
static struct level *level_at(struct json_split *split)
{
	size_t depth = object_depth(split);

	if (!depth)
		return split->options.list && split->depth == 1 ? &split->levels[0] : NULL;
	return depth <= DROP_PARTS_MAX && split->levels[depth].match ? &split->levels[depth] : NULL;
}

static bool is_array(const struct json_split *split)
{
	size_t bit = split->depth - 1;

	return bit < DEPTH_CHECKED && (split->arrays[bit / 8] >> bit % 8 & 1);
}

/* Between the objects: nothing but white space, brackets and commas. */
static bool is_between(const struct json_split *split)
{
	return split->depth == 0 || (split->in_items && split->depth == 2);
}

static int broken(struct json_split *split, const char *at, const char *data, const char *what, struct err *err)
{
	split->error = -EINVAL;
	return err_set(err, -EINVAL, "JSON: byte %llu: %s",
		(unsigned long long)(split->position + (uint64_t)(at - data)), what);
}

static void write_out(struct json_split *split, const char *data, size_t len)
{
	/* An object that is too large keeps its beginning. */
	if (len && !split->dropping)
		buf_add(split->out, data, len);
}

static void begin_object(struct json_split *split)
{
	buf_reset(&split->object);
	split->out = &split->object;
	split->descend = split->drop_count == 64 ? UINT64_MAX : (UINT64_C(1) << split->drop_count) - 1;
}

static int end_object(struct json_split *split, struct err *err)
{
	const struct json_split_options *options = &split->options;
	bool oversize = split->object.error || split->object.len > options->object_max;
	int rc;

	if (split->object.error == -ENOMEM)
		return split->error = err_set(err, -ENOMEM, "JSON: no memory for an object of %zu bytes", split->object.len);
	rc = options->object(options->ctx, buf_text(&split->object), split->object.len, oversize, err);
	if (split->object.size > KEEP_MAX)
		buf_free(&split->object);
	buf_reset(&split->object);
	if (options->list) {
		split->out = &split->rest;
		split->after_item = true;
		split->after_comma = false;
	}
	if (rc < 0)
		split->error = rc;
	return rc;
}

/* -- what the bytes that matter do -- */

static void open_level(struct json_split *split, char c)
{
	size_t bit = split->depth++, depth = object_depth(split);
	struct level *level;

	if (bit < DEPTH_CHECKED && c == '[')
		split->arrays[bit / 8] |= (uint8_t)(1u << bit % 8);
	else if (bit < DEPTH_CHECKED)
		split->arrays[bit / 8] &= (uint8_t)~(1u << bit % 8);
	if (depth && depth <= DROP_PARTS_MAX)
		split->levels[depth].match = c == '{' ? split->descend : 0;
	split->descend = 0;
	level = level_at(split);
	split->key_next = level != NULL;
	if (level) {
		level->kept = false;
		level->member_start = split->out->len;
	}
}

static int open_items(struct json_split *split, char c, const char *at, const char *data, struct err *err)
{
	if (c != '[')
		return broken(split, at, data, "\"items\" is no array", err);
	split->in_items = true;
	split->items_next = split->after_item = split->after_comma = false;
	split->dropping = 0;
	open_level(split, c);
	return 0;
}

static int open_bracket(struct json_split *split, char c, const char *at, const char *data, struct err *err)
{
	if (split->items_next && split->depth == 1)
		return open_items(split, c, at, data, err);
	if (is_between(split)) {
		if (c != '{' || split->ended || split->after_item)
			return broken(split, at, data, "not the beginning of an object", err);
		if (split->depth + 1 == split->root)
			begin_object(split);
	}
	write_out(split, at, 1);
	open_level(split, c);
	return 0;
}

static int close_items(struct json_split *split, const char *at, const char *data, struct err *err)
{
	if (split->after_comma)
		return broken(split, at, data, "expected an object", err);
	split->in_items = split->after_item = false;
	split->depth--;
	return 0;
}

static int close_bracket(struct json_split *split, char c, const char *at, const char *data, struct err *err)
{
	bool whole = object_depth(split) == 1;

	if (!split->depth || (split->depth <= DEPTH_CHECKED && is_array(split) != (c == ']')))
		return broken(split, at, data, "a closing bracket that does not fit", err);
	if (split->in_items && split->depth == 2)
		return close_items(split, at, data, err);
	if (split->dropping == split->depth)
		split->dropping = 0;
	split->key_next = split->items_next = false;
	split->descend = 0;
	split->depth--;
	write_out(split, at, 1);
	split->ended = split->options.list && split->depth == 0;
	return whole ? end_object(split, err) : 0;
}

static int comma(struct json_split *split, const char *at, const char *data, struct err *err)
{
	struct level *level = level_at(split);

	if (is_between(split)) {
		if (!split->after_item)
			return broken(split, at, data, "expected an object", err);
		split->after_item = false;
		split->after_comma = true;
	} else if (!level) {
		write_out(split, at, 1);
	} else {
		if (split->dropping == split->depth)
			split->dropping = 0;
		split->items_next = false;
		split->descend = 0;
		split->key_next = true;
		level->member_start = split->out->len;
		if (level->kept)
			write_out(split, at, 1);
	}
	return 0;
}

static void begin_string(struct json_split *split, const char *at)
{
	split->string = true;
	split->key = split->key_next && level_at(split) && !split->dropping;
	split->key_next = false;
	split->key_start = split->out->len + 1;
	write_out(split, at, 1);
}

static void drop_member(struct json_split *split, const struct level *level)
{
	split->dropping = split->depth;
	split->out->len = level->member_start;
	split->out->data[split->out->len] = 0;
}

/* Which drops go on with this key. True: one ends here. */
static bool match_key(struct json_split *split, const struct level *level, const char *key, size_t len)
{
	size_t i = object_depth(split) - 1;
	uint64_t next = 0;

	for (size_t n = 0; n < split->drop_count; n++) {
		const struct drop *drop = &split->drops[n];

		if (!(level->match >> n & 1) || drop->parts[i].len != len || memcmp(drop->parts[i].text, key, len) != 0)
			continue;
		if (drop->count == i + 1)
			return true;
		next |= UINT64_C(1) << n;
	}
	split->descend = next;
	return false;
}

/* The closing quote is written. */
static int end_key(struct json_split *split, const char *at, const char *data, struct err *err)
{
	struct level *level = level_at(split);
	const char *key = split->out->data + split->key_start;
	size_t len = split->out->len - split->key_start - 1;

	split->key = false;
	if (split->out->error) /* an object that is left out anyway */
		return 0;
	if (!object_depth(split)) {
		split->items_next = len == 5 && memcmp(key, "items", 5) == 0;
		if (split->items_next && split->had_items)
			return broken(split, at, data, "\"items\" for the second time", err);
		split->had_items |= split->items_next;
		if (split->items_next) {
			drop_member(split, level);
			return 0;
		}
	} else if (match_key(split, level, key, len)) {
		drop_member(split, level);
		return 0;
	}
	level->kept = true;
	return 0;
}

/* -- scanning -- */

static const char *scan_string(struct json_split *split, const char *p, const char *end)
{
	const char *from = p;

	for (;;) {
		if (split->escape && p < end) {
			split->escape = false;
			p++;
		}
		while (p < end && !(kinds[(uint8_t)*p] & STOP))
			p++;
		if (p == end || *p == '"')
			break;
		split->escape = true;
		p++;
	}
	if (p == end) {
		write_out(split, from, (size_t)(p - from));
		return p;
	}
	p++;
	write_out(split, from, (size_t)(p - from));
	split->string = false;
	return p;
}

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && kinds[(uint8_t)*p] == SPACE)
		p++;
	return p;
}

static const char *scan_plain(struct json_split *split, const char *p, const char *end)
{
	uint8_t stops = QUOTE | OPEN | CLOSE | COMMA;
	const char *from = p;

	if (!level_at(split))
		stops &= (uint8_t)~COMMA;
	while (p < end && !(kinds[(uint8_t)*p] & stops))
		p++;
	write_out(split, from, (size_t)(p - from));
	return p;
}

/* What may stand between "items" and its value, and the only value beside an array: Go writes an empty one so. */
static bool is_null(const char *p, const char *end)
{
	static const char may[] = ":nul \t\r\n";

	while (p < end && memchr(may, *p, sizeof(may) - 1))
		p++;
	return p == end;
}

static int take_byte(struct json_split *split, const char *p, const char *data, struct err *err)
{
	switch (kinds[(uint8_t)*p] & ~STOP) {
	case OPEN:
		return open_bracket(split, *p, p, data, err);
	case CLOSE:
		return close_bracket(split, *p, p, data, err);
	case COMMA:
		return comma(split, p, data, err);
	case QUOTE:
		if (split->items_next)
			return broken(split, p, data, "\"items\" is no array", err);
		if (is_between(split))
			return broken(split, p, data, "expected an object", err);
		begin_string(split, p);
		return 0;
	default:
		return broken(split, p, data, "expected an object", err);
	}
}

int json_split_add(struct json_split *split, const char *data, size_t len, struct err *err)
{
	const char *p = data, *end = data + len;
	int rc = 0;

	if (split->error)
		return err_set(err, split->error, "JSON: the stream was broken before");
	while (p < end && rc == 0) {
		const char *from = p;

		if (split->string) {
			p = scan_string(split, p, end);
			if (!split->string && split->key)
				rc = end_key(split, p - 1, data, err);
			continue;
		}
		p = is_between(split) ? skip_space(p, end) : scan_plain(split, p, end);
		if (split->items_next && !is_null(from, p))
			rc = broken(split, from, data, "\"items\" is no array", err);
		else if (p < end)
			rc = take_byte(split, p++, data, err);
	}
	if (rc == 0 && split->rest.error)
		rc = broken(split, p, data, "more than 64 KiB beside \"items\"", err);
	split->position += len;
	return rc;
}

int json_split_end(struct json_split *split, struct err *err)
{
	if (split->error)
		return err_set(err, split->error, "JSON: the stream was broken before");
	if (split->depth || (split->options.list && !split->ended))
		return broken(split, NULL, NULL, split->options.list ? "the list ends too early" : "the stream ends inside an "
			"object", err);
	if (split->options.list && !split->had_items)
		return broken(split, NULL, NULL, "a list without \"items\"", err);
	return 0;
}
