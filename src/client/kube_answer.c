/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_answer.h"

#include "base/cleanup.h"
#include "base/json.h"

#include <stdio.h>
#include <string.h>

static void copy(char *ret, size_t size, const char *text, size_t len)
{
	if (len >= size)
		len = size - 1;
	/* Not in the middle of a character. */
	while (len && text[len] && ((unsigned char)text[len] & 0xc0) == 0x80)
		len--;
	for (size_t i = 0; i < len; i++)
		ret[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i];
	ret[len] = 0;
	while (len && ret[len - 1] == ' ')
		ret[--len] = 0;
}

static void copy_member(char *ret, size_t size, const json_t *json, const char *key)
{
	const json_t *value = json_object_get(json, key);

	if (json_is_string(value))
		copy(ret, size, json_string_value(value), json_string_length(value));
}

void kube_status_read(const json_t *json, struct kube_status *ret)
{
	const json_t *kind = json_object_get(json, "kind"), *code = json_object_get(json, "code");
	const json_t *wait = json_object_get(json_object_get(json, "details"), "retryAfterSeconds");

	*ret = (struct kube_status){0};
	if (!json_is_string(kind) || strcmp(json_string_value(kind), "Status") != 0)
		return;
	if (json_integer_value(code) > 0 && json_integer_value(code) < 1000)
		ret->code = (int)json_integer_value(code);
	if (json_integer_value(wait) > 0 && json_integer_value(wait) < 3600)
		ret->retry_after_s = (int)json_integer_value(wait);
	copy_member(ret->reason, sizeof(ret->reason), json, "reason");
	copy_member(ret->message, sizeof(ret->message), json, "message");
}

/* Bodies that are no JSON may be anything; texts go on into JSON of our own. */
static void make_utf8(char *text)
{
	_cleanup_(json_cleanup) json_t *valid = json_string(text);

	for (; !valid && *text; text++)
		if ((unsigned char)*text >= 0x80)
			*text = '?';
}

void kube_status_parse(const char *body, size_t len, struct kube_status *ret)
{
	_cleanup_(json_cleanup) json_t *json = NULL;

	*ret = (struct kube_status){0};
	if (len && json_parse(body, len, "the answer", &json, NULL) == 0)
		kube_status_read(json, ret);
	if (!ret->message[0] && !ret->code) {
		copy(ret->message, sizeof(ret->message), body, len < 200 ? len : 200);
		make_utf8(ret->message);
	}
}
