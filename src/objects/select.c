/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "objects/private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TERM_MAX 1024

struct term {
	char key[TERM_MAX];
	char value[TERM_MAX];
	enum { TERM_EXISTS, TERM_ABSENT, TERM_EQUAL, TERM_DIFFERENT } what;
};

static void copy_trimmed(const char *from, size_t len, char ret[static TERM_MAX])
{
	while (len && *from == ' ')
		from++, len--;
	while (len && from[len - 1] == ' ')
		len--;
	snprintf(ret, TERM_MAX, "%.*s", (int)len, from);
}

static bool take_term(const char *text, size_t len, struct term *ret)
{
	const char *sign = memchr(text, '=', len);
	size_t head, tail;

	if (len >= TERM_MAX)
		return false;
	if (!sign) {
		ret->what = *text == '!' ? TERM_ABSENT : TERM_EXISTS;
		copy_trimmed(text + (*text == '!'), len - (*text == '!'), ret->key);
		ret->value[0] = 0;
		return *ret->key && !strpbrk(ret->key, " ()!<>");
	}
	head = (size_t)(sign - text);
	tail = head + 1 + (head + 1 < len && sign[1] == '=');
	ret->what = TERM_EQUAL;
	if (head && sign[-1] == '!') {
		ret->what = TERM_DIFFERENT;
		head--;
	}
	copy_trimmed(text, head, ret->key);
	copy_trimmed(text + tail, len - tail, ret->value);
	return *ret->key && !strpbrk(ret->key, " ()!<>");
}

/* The next term of *selector, which moves on. */
static bool next_term(const char **selector, struct term *ret)
{
	size_t len = strcspn(*selector, ",");
	bool good = len && take_term(*selector, len, ret);

	*selector += len + ((*selector)[len] == ',');
	return good;
}

static int check(const char *selector, const char *what, bool fields, struct err *err)
{
	struct term term;

	for (const char *at = selector; at && *at;)
		if (!next_term(&at, &term) || (fields && (term.what == TERM_EXISTS || term.what == TERM_ABSENT)))
			return err_set(err, -EINVAL,
				"%s selector is \"%.200s\", expected terms such as \"%s\", joined by commas", what, selector,
				fields ? "metadata.name=a" : "a=b");
	return 0;
}

int objects_label_check(const char *selector, struct err *err)
{
	return check(selector, "label", false, err);
}

int objects_field_check(const char *selector, struct err *err)
{
	return check(selector, "field", true, err);
}

static bool holds(const struct term *term, const char *value)
{
	switch (term->what) {
	case TERM_EXISTS:
		return value != NULL;
	case TERM_ABSENT:
		return value == NULL;
	case TERM_EQUAL:
		return value && strcmp(value, term->value) == 0;
	case TERM_DIFFERENT:
		break;
	}
	return !value || strcmp(value, term->value) != 0;
}

bool objects_label_match(const char *selector, const json_t *object)
{
	const json_t *labels = json_object_get(json_object_get(object, "metadata"), "labels");
	struct term term;

	for (const char *at = selector; at && *at;)
		if (!next_term(&at, &term) || !holds(&term, json_string_value(json_object_get(labels, term.key))))
			return false;
	return true;
}

/* Absent text counts as empty, as in Kubernetes. */
static const char *field(const json_t *object, char *path)
{
	const char *text;
	char *name;

	while ((name = strsep(&path, ".")))
		object = json_object_get(object, name);
	text = json_string_value(object);
	return text ? text : "";
}

bool objects_field_match(const char *selector, const json_t *object)
{
	struct term term;

	for (const char *at = selector; at && *at;)
		if (!next_term(&at, &term) || !holds(&term, field(object, term.key)))
			return false;
	return true;
}

/* -- what was shown -- */

struct objects_shown {
	UT_hash_handle hh;
	char key[];
};

static struct objects_shown *find_shown(struct objects_shown *shown, const json_t *object,
	char key[static 2 * OBJECT_NAME_MAX + 2])
{
	struct objects_shown *found;

	snprintf(key, 2 * OBJECT_NAME_MAX + 2, "%.253s/%.253s", object_namespace(object), object_name(object));
	HASH_FIND(hh, shown, key, strlen(key), found);
	return found;
}

void objects_shown_add(struct objects_shown **shown, const json_t *object)
{
	char key[2 * OBJECT_NAME_MAX + 2];
	struct objects_shown *one;

	if (find_shown(*shown, object, key))
		return;
	one = calloc(1, sizeof(*one) + strlen(key) + 1);
	if (!one)
		return;
	strcpy(one->key, key);
	HASH_ADD_KEYPTR(hh, *shown, one->key, strlen(key), one);
}

bool objects_shown_del(struct objects_shown **shown, const json_t *object)
{
	char key[2 * OBJECT_NAME_MAX + 2];
	struct objects_shown *one = find_shown(*shown, object, key);

	if (one)
		HASH_DEL(*shown, one);
	free(one);
	return one;
}

void objects_shown_free(struct objects_shown **shown)
{
	struct objects_shown *one, *next;

	HASH_ITER(hh, *shown, one, next) {
		HASH_DEL(*shown, one);
		free(one);
	}
}
