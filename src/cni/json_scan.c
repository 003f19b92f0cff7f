/* SPDX-License-Identifier: Apache-2.0 */
#include "cni/json_scan.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

struct scan {
	const char *at, *end;
	const char *why; /* first problem */
	unsigned depth;
	char open[SCAN_DEPTH_MAX]; /* '{' or '[' */
};

/* Where a decoded string goes; everything beyond size is dropped and marked. */
struct sink {
	char *text;
	size_t len, size;
	bool cut;
};

static bool fail(struct scan *s, const char *why)
{
	if (!s->why)
		s->why = why;
	return false;
}

static void skip_space(struct scan *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
		s->at++;
}

static bool take(struct scan *s, char c)
{
	if (s->at >= s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

static void sink_add(struct sink *sink, char c)
{
	if (sink->len + 1 >= sink->size || !c)
		sink->cut = true;
	else
		sink->text[sink->len++] = c;
}

static void sink_add_rune(struct sink *sink, uint32_t rune)
{
	if (rune < 0x80) {
		sink_add(sink, (char)rune);
		return;
	}
	if (rune < 0x800) {
		sink_add(sink, (char)(0xc0 | rune >> 6));
	} else {
		if (rune < 0x10000) {
			sink_add(sink, (char)(0xe0 | rune >> 12));
		} else {
			sink_add(sink, (char)(0xf0 | rune >> 18));
			sink_add(sink, (char)(0x80 | (rune >> 12 & 0x3f)));
		}
		sink_add(sink, (char)(0x80 | (rune >> 6 & 0x3f)));
	}
	sink_add(sink, (char)(0x80 | (rune & 0x3f)));
}

static bool take_hex4(struct scan *s, uint32_t *ret)
{
	uint32_t n = 0;

	for (int i = 0; i < 4; i++, s->at++) {
		char c = s->at < s->end ? *s->at : 0;

		if (c >= '0' && c <= '9')
			n = n << 4 | (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			n = n << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return fail(s, "\\u without four hexadecimal digits");
	}
	*ret = n;
	return true;
}

/* Behind "\u". A surrogate without its other half becomes U+FFFD, as in Go. */
static bool take_unicode(struct scan *s, struct sink *sink)
{
	uint32_t high, low;

	if (!take_hex4(s, &high))
		return false;
	if (high >= 0xd800 && high < 0xdc00 && s->end - s->at >= 2 && s->at[0] == '\\' && s->at[1] == 'u') {
		const char *mark = s->at;

		s->at += 2;
		if (!take_hex4(s, &low))
			return false;
		if (low >= 0xdc00 && low < 0xe000)
			high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
		else
			s->at = mark;
	}
	if (high >= 0xd800 && high < 0xe000)
		high = 0xfffd;
	sink_add_rune(sink, high);
	return true;
}

static bool take_escape(struct scan *s, struct sink *sink)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *found;

	if (s->at >= s->end)
		return fail(s, "a string without an end");
	if (take(s, 'u'))
		return take_unicode(s, sink);
	found = *s->at ? strchr(from, *s->at) : NULL;
	if (!found)
		return fail(s, "an unknown escape in a string");
	sink_add(sink, to[found - from]);
	s->at++;
	return true;
}

static bool take_string(struct scan *s, struct sink *sink)
{
	if (!take(s, '"'))
		return fail(s, "expected a string");
	while (s->at < s->end) {
		char c = *s->at++;

		if (c == '"') {
			if (sink->size)
				sink->text[sink->len] = 0;
			return true;
		}
		if ((unsigned char)c < 0x20)
			return fail(s, "a control character in a string");
		if (c != '\\')
			sink_add(sink, c);
		else if (!take_escape(s, sink))
			return false;
	}
	return fail(s, "a string without an end");
}

static size_t take_digits(struct scan *s)
{
	const char *start = s->at;

	while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
		s->at++;
	return (size_t)(s->at - start);
}

static bool take_number(struct scan *s)
{
	take(s, '-');
	if (!take(s, '0') && !take_digits(s))
		return fail(s, "expected a value");
	if (take(s, '.') && !take_digits(s))
		return fail(s, "a number without digits behind the point");
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			take(s, '-');
		if (!take_digits(s))
			return fail(s, "a number without digits in its exponent");
	}
	return true;
}

static bool take_word(struct scan *s, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
		return false;
	s->at += len;
	return true;
}

static bool take_scalar(struct scan *s)
{
	struct sink nowhere = {0};

	if (s->at < s->end && *s->at == '"')
		return take_string(s, &nowhere);
	if (take_word(s, "true") || take_word(s, "false") || take_word(s, "null"))
		return true;
	return take_number(s);
}

static bool take_key(struct scan *s, struct sink *sink)
{
	skip_space(s);
	if (!take_string(s, sink))
		return false;
	skip_space(s);
	if (!take(s, ':'))
		return fail(s, "expected ':' behind a key");
	return true;
}

static bool push(struct scan *s, char bracket)
{
	if (s->depth == SCAN_DEPTH_MAX)
		return fail(s, "nested too deeply");
	s->open[s->depth++] = bracket;
	s->at++;
	skip_space(s);
	return true;
}

/* Behind a complete value: closes what ends here, until a comma promises another value or depth base is reached. */
static bool close_values(struct scan *s, unsigned base)
{
	struct sink nowhere = {0};

	while (s->depth > base) {
		bool object = s->open[s->depth - 1] == '{';

		skip_space(s);
		if (take(s, ','))
			return !object || take_key(s, &nowhere);
		if (!take(s, object ? '}' : ']'))
			return fail(s, object ? "expected ',' or '}'" : "expected ',' or ']'");
		s->depth--;
	}
	return true;
}

/* One value of any kind, without recursion. */
static bool take_value(struct scan *s)
{
	unsigned base = s->depth;
	struct sink nowhere = {0};

	do {
		skip_space(s);
		if (s->at < s->end && *s->at == '{') {
			if (!push(s, '{'))
				return false;
			if (s->at < s->end && *s->at != '}') {
				if (!take_key(s, &nowhere))
					return false;
				continue;
			}
		} else if (s->at < s->end && *s->at == '[') {
			if (!push(s, '['))
				return false;
			if (s->at < s->end && *s->at != ']')
				continue;
		} else if (!take_scalar(s)) {
			return false;
		}
		if (!close_values(s, base))
			return false;
	} while (s->depth > base);
	return true;
}

static struct scan_member *find_member(struct scan_member *members, size_t count, const char *key, bool *ret_exact)
{
	for (size_t i = 0; i < count; i++) {
		bool exact = strcmp(members[i].key, key) == 0;

		if (exact || (!members[i].exact && strcasecmp(members[i].key, key) == 0)) {
			*ret_exact = exact;
			return &members[i];
		}
	}
	return NULL;
}

static bool take_member(struct scan *s, struct scan_member *member)
{
	struct sink sink = {.text = member->text, .size = sizeof(member->text)};

	skip_space(s);
	if (s->at < s->end && *s->at == '"') {
		if (!take_string(s, &sink))
			return false;
		member->kind = sink.cut ? SCAN_LONG : SCAN_STRING;
		return true;
	}
	member->kind = s->at < s->end && *s->at == 'n' ? SCAN_ABSENT : SCAN_OTHER;
	return take_value(s);
}

static bool take_members(struct scan *s, struct scan_member *members, size_t count)
{
	do {
		char key[64];
		struct sink sink = {.text = key, .size = sizeof(key)};
		struct scan_member *member = NULL;
		bool exact = false;

		if (!take_key(s, &sink))
			return false;
		if (!sink.cut)
			member = find_member(members, count, key, &exact);
		if (member ? !take_member(s, member) : !take_value(s))
			return false;
		if (member)
			member->exact = exact;
		skip_space(s);
	} while (take(s, ','));
	return take(s, '}') || fail(s, "expected ',' or '}'");
}

const char *scan_object(const char *text, size_t len, struct scan_member *members, size_t count, size_t *ret_at)
{
	struct scan s = {.at = text, .end = text + len};

	for (size_t i = 0; i < count; i++) {
		members[i].kind = SCAN_ABSENT;
		members[i].exact = false;
		members[i].text[0] = 0;
	}
	skip_space(&s);
	if (s.at == s.end) {
		fail(&s, "empty");
	} else if (!take(&s, '{')) {
		fail(&s, "expected an object");
	} else {
		s.open[s.depth++] = '{';
		skip_space(&s);
		if (!take(&s, '}'))
			take_members(&s, members, count);
		skip_space(&s);
		if (!s.why && s.at != s.end)
			fail(&s, "more text behind the object");
	}
	*ret_at = (size_t)(s.at - text);
	return s.why;
}
