/* SPDX-License-Identifier: Apache-2.0
 *
 * Input: what a runtime writes to the plugin's stdin. The plugin's own scanner and the agent's parser must agree on
 * it, and nothing that the agent then does with it may fail but by an error.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "cni/json_scan.h"
#include "cni_server/cni_request.h"
#include "cni_server/cni_result.h"
#include "cni_server/cni_server.h"

#include <string.h>
#include <strings.h>

/* Is text what one of the spellings of "name" says? Which of several wins after a repetition differs: jansson keeps the
 * place of the first. */
static bool is_a_name(const json_t *json, const char *text)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)json, key, value)
		if (strcasecmp(key, "name") == 0 && json_is_string(value) && strcmp(json_string_value(value), text) == 0)
			return true;
	return false;
}

/* What jansson takes, the scanner takes too, and finds the same name. */
static void compare(const char *text, size_t len, const json_t *json)
{
	struct scan_member member = {.key = "name"};
	size_t at;
	const char *why = scan_object(text, len, &member, 1, &at);
	const json_t *name = json_find(json, "name");

	FUZZ_CHECK(at <= len);
	if (!json_is_object(json))
		return;
	FUZZ_CHECK(!why || strcmp(why, "nested too deeply") == 0);
	/* an exact key that is null hides other spellings in both */
	if (why || !name)
		return;
	if (member.kind == SCAN_STRING)
		FUZZ_CHECK(is_a_name(json, member.text));
}

static void try_result(const json_t *json)
{
	struct attachment attachment = {.ifname = "eth0", .host_ifname = "tul0", .default_route = true};

	addr_parse("10.0.0.1", &attachment.addr[FAMILY_4]);
	for (enum cni_version version = 0; version < CNI_VERSION_COUNT; version++) {
		_cleanup_(json_cleanup) json_t *result = cni_result_read(json);
		_cleanup_(json_cleanup) json_t *written = NULL;

		FUZZ_CHECK(result);
		cni_result_compare(result, &attachment, NULL);
		FUZZ_CHECK(cni_result_add(result, &attachment, "/ns", NULL) == 0);
		written = cni_result_write(result, version, NULL);
		FUZZ_CHECK(written);
	}
}

static void try_request(const char *data, size_t size)
{
	static const char start[] = "ADDid/nseth0tulle";
	struct frame_request head = {.magic = FRAME_MAGIC, .version = FRAME_VERSION,
		.field_len = {3, 2, 3, 4, 0, 0, 5, (uint32_t)size}, .total = (uint32_t)(sizeof(start) - 1 + size)};
	_cleanup_free_ char *fields = malloc(head.total);
	struct cni_request request;
	struct cni_error error;

	if (!fields || size > FRAME_STDIN_MAX)
		return;
	memcpy(fields, start, sizeof(start) - 1);
	memcpy(fields + sizeof(start) - 1, data, size);
	FUZZ_CHECK(!frame_request_check(&head));
	if (cni_request_parse(&head, fields, -1, &request, &error) == 0) {
		FUZZ_CHECK(request.version < CNI_VERSION_COUNT && cni_name_is_valid(request.network));
		FUZZ_CHECK(strcmp(cni_request_attach(&request).network, request.network) == 0);
	}
	cni_request_free(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	_cleanup_(json_cleanup) json_t *json = NULL;
	struct cni_wishes wishes = {0};
	struct cni_conf conf;
	struct err err = ERR_INIT;
	char args[256];

	snprintf(args, sizeof(args), "%.*s", (int)(size < 255 ? size : 255), text);
	cni_args_parse(args, &wishes, &err);
	FUZZ_CHECK(wishes.ip_count <= CNI_IPS_MAX);
	try_request(text, size);
	cni_conf_check(text, size, "fuzz", &err);
	if (json_parse(text, size, "fuzz", &json, &err) < 0)
		return 0;
	compare(text, size, json);
	if (!json_is_object(json))
		return 0;
	if (cni_conf_parse(json, "tulle", false, &wishes, &conf, &err) == 0)
		FUZZ_CHECK(conf.type < CNI_TYPE_COUNT && conf.route_count <= CNI_ROUTES_MAX &&
			   conf.wishes.ip_count <= CNI_IPS_MAX);
	try_result(json);
	return 0;
}
