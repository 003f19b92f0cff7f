/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects as anybody may have written them: a manifest; or "KIND KEY" on the first line and a value in etcd, or an object of
 * the v1 group, behind it.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "objects/calico_form.h"
#include "objects/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What Tulle writes back means the same. */
static void write_back(const json_t *object)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT((size_t)16 << 20);
	struct manifest again = {0};

	FUZZ_CHECK(manifest_format(object, true, &text) == 0);
	FUZZ_CHECK(manifest_parse(buf_text(&text), text.len, "again", &again, NULL) == 0);
	FUZZ_CHECK(again.count == 1 && json_equal(again.objects[0].object, object));
	manifest_free(&again);
}

static void try_manifest(const char *text, size_t len)
{
	struct manifest manifest = {0};
	struct err err = ERR_INIT;

	if (manifest_parse(text, len, "manifest", &manifest, &err) < 0) {
		FUZZ_CHECK(err.code < 0 && err.text[0] && !manifest.objects);
		return;
	}
	for (size_t i = 0; i < manifest.count; i++)
		write_back(manifest.objects[i].object);
	manifest_free(&manifest);
}

static void try_etcd(enum kind kind, const char *key, const char *value, size_t len)
{
	_cleanup_(json_cleanup) json_t *object = NULL, *back = NULL;
	struct err err = ERR_INIT;
	char again[CALICO_KEY_MAX];
	int rc = calico_from_etcd(kind, key, value, len, 1, &object, &err);

	if (rc < 0) {
		FUZZ_CHECK(!object && (rc == -ENOENT || err.text[0]));
		return;
	}
	FUZZ_CHECK(object_name_is_good(object_name(object)) || kind_info(kind)->ipam);
	if (calico_etcd_key(kind, object, again, NULL) == 0 && kind != KIND_IPAM_BLOCK && kind != KIND_BLOCK_AFFINITY)
		FUZZ_CHECK(strcmp(again, key) == 0);
	back = calico_to_etcd(kind, object);
	FUZZ_CHECK(back);
}

static void try_v1(enum kind kind, const char *text, size_t len)
{
	_cleanup_(json_cleanup) json_t *object = NULL, *neutral = NULL, *back = NULL;

	if (json_parse(text, len, "v1", &object, NULL) < 0 || !json_is_object(object))
		return;
	neutral = calico_from_v1(kind, object);
	FUZZ_CHECK(neutral);
	back = calico_to_v1(kind, neutral);
	FUZZ_CHECK(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	size_t len = strlen(text);
	char *line = strchr(text, '\n'), *space;

	try_manifest(text, len);
	if (!line || *text < 'a' || *text >= 'a' + KIND_COUNT)
		return 0;
	*line = 0;
	space = strchr(text, ' ');
	if (space)
		try_etcd((enum kind)(*text - 'a'), space + 1, line + 1, strlen(line + 1));
	try_v1((enum kind)(*text - 'a'), line + 1, strlen(line + 1));
	return 0;
}
