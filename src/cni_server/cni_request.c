/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_request.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const command_names[CNI_COMMAND_COUNT] = {
	[CNI_ADD] = "ADD", [CNI_DEL] = "DEL", [CNI_CHECK] = "CHECK", [CNI_GC] = "GC", [CNI_STATUS] = "STATUS",
	[CNI_VERSION] = "VERSION",
};
static const char *const version_names[CNI_VERSION_COUNT] = {
	"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
static const char *const variable_names[FRAME_FIELDS] = {
	[FRAME_COMMAND] = "CNI_COMMAND",
	[FRAME_CONTAINER_ID] = "CNI_CONTAINERID",
	[FRAME_NETNS] = "CNI_NETNS",
	[FRAME_IFNAME] = "CNI_IFNAME",
	[FRAME_ARGS] = "CNI_ARGS",
	[FRAME_PATH] = "CNI_PATH",
	[FRAME_PLUGIN] = "the plugin's name",
};

const char *cni_command_name(enum cni_command command)
{
	return command < CNI_COMMAND_COUNT ? command_names[command] : "unknown";
}

const char *cni_version_name(enum cni_version version)
{
	return version_names[version < CNI_VERSION_COUNT ? version : CNI_1_1_0];
}

enum cni_version cni_version_find(const char *name)
{
	enum cni_version version = 0;

	while (version < CNI_VERSION_COUNT && strcmp(version_names[version], name) != 0)
		version++;
	return version;
}

static enum cni_command command_find(const char *name)
{
	enum cni_command command = 0;

	while (command < CNI_COMMAND_COUNT && strcmp(command_names[command], name) != 0)
		command++;
	return command;
}

bool cni_name_is_valid(const char *text)
{
	if (!isalnum((unsigned char)text[0]) || strlen(text) >= ATTACH_ID_MAX)
		return false;
	return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")] == 0;
}

static bool is_ifname(const char *text)
{
	return text[0] && strlen(text) < IFNAMSIZ && strcmp(text, ".") != 0 && strcmp(text, "..") != 0 &&
	       !text[strcspn(text, "/: \t\n\v\f\r")];
}

static int copy_fields(const struct frame_request *head, const char *fields, struct cni_request *ret,
	struct cni_error *error)
{
	for (int i = 0; i < FRAME_FIELDS; i++) {
		size_t len = i == FRAME_STDIN ? 0 : head->field_len[i];
		const char *from = fields + frame_field_offset(head, (enum frame_field)i);

		if (memchr(from, 0, len))
			return cni_error_set(
				error, CNI_BAD_ENVIRONMENT, "%s has a NUL byte in it", variable_names[i]);
		ret->text[i] = strndup(from, len);
		if (!ret->text[i])
			return cni_error_set(error, CNI_INTERNAL, "out of memory");
	}
	return 0;
}

static int check_attachment_ids(const struct cni_request *request, struct cni_error *error)
{
	if (request->command != CNI_ADD && request->command != CNI_DEL && request->command != CNI_CHECK)
		return 0;
	if (!cni_name_is_valid(request->text[FRAME_CONTAINER_ID])) {
		cni_error_set(error, CNI_BAD_ENVIRONMENT, "CNI_CONTAINERID is missing or not valid");
		return cni_error_details(
			error, "CNI_CONTAINERID is \"%.200s\"", request->text[FRAME_CONTAINER_ID]);
	}
	if (!is_ifname(request->text[FRAME_IFNAME])) {
		cni_error_set(error, CNI_BAD_ENVIRONMENT, "CNI_IFNAME is missing or not valid");
		return cni_error_details(error, "CNI_IFNAME is \"%.200s\"", request->text[FRAME_IFNAME]);
	}
	if (request->command != CNI_DEL && !request->text[FRAME_NETNS][0])
		return cni_error_set(
			error, CNI_BAD_ENVIRONMENT, "required env variables [CNI_NETNS] missing");
	return 0;
}

/* A string member of the configuration; "" when it is absent. */
static int get_text(const json_t *conf, const char *key, const char **ret, struct cni_error *error)
{
	struct err err = ERR_INIT;

	*ret = "";
	if (json_get_string(conf, "network configuration", key, ret, &err) < 0)
		return cni_error_set(error, CNI_UNDECODABLE, "%s", err_text(&err));
	return 0;
}

static int parse_conf(const char *text, size_t len, struct cni_request *ret, struct cni_error *error)
{
	struct err err = ERR_INIT;

	if (json_parse(text, len, "network configuration", &ret->conf, &err) < 0) {
		cni_error_set(
			error, CNI_UNDECODABLE, "the network configuration on stdin is not a JSON object");
		return cni_error_details(error, "%s", err_text(&err));
	}
	if (!json_is_object(ret->conf))
		return cni_error_set(error, CNI_UNDECODABLE,
			"the network configuration on stdin is not a JSON object");
	if (get_text(ret->conf, "name", &ret->network, error) < 0)
		return -1;
	if (!ret->network[0])
		return cni_error_set(error, CNI_BAD_CONF, "the network configuration has no \"name\"");
	if (!cni_name_is_valid(ret->network)) {
		cni_error_set(error, CNI_BAD_CONF, "key \"name\" of the network configuration is not valid");
		return cni_error_details(error, "\"name\" is \"%.200s\"", ret->network);
	}
	return 0;
}

static int check_version(struct cni_request *request, struct cni_error *error)
{
	enum cni_version since = request->command == CNI_CHECK ? CNI_0_4_0 : CNI_0_1_0;
	const char *text;

	if (get_text(request->conf, "cniVersion", &text, error) < 0)
		return -1;
	request->version = cni_version_find(text[0] ? text : version_names[CNI_0_1_0]);
	if (request->version == CNI_VERSION_COUNT) {
		cni_error_set(error, CNI_VERSION_UNKNOWN, "incompatible CNI versions");
		return cni_error_details(error, "config is \"%.100s\", plugin supports 0.1.0 to 1.1.0", text);
	}
	if (request->command == CNI_GC || request->command == CNI_STATUS)
		since = CNI_1_1_0;
	if (request->version < since)
		return cni_error_set(error, CNI_VERSION_UNKNOWN, "config version does not allow %s",
			cni_command_name(request->command));
	return 0;
}

int cni_request_parse(const struct frame_request *head, const char *fields, int netns_fd,
	struct cni_request *ret, struct cni_error *error)
{
	*ret = (struct cni_request){.command = CNI_COMMAND_COUNT,
		.version = CNI_VERSION_COUNT,
		.network = "",
		.netns_fd = netns_fd};
	if (copy_fields(head, fields, ret, error) < 0)
		return -1;
	ret->command = command_find(ret->text[FRAME_COMMAND]);
	if (ret->command == CNI_VERSION)
		return 0;
	if (check_attachment_ids(ret, error) < 0 || parse_conf(fields + frame_field_offset(head, FRAME_STDIN),
							    head->field_len[FRAME_STDIN], ret, error) < 0)
		return -1;
	if (ret->command == CNI_COMMAND_COUNT)
		return cni_error_set(
			error, CNI_BAD_ENVIRONMENT, "unknown CNI_COMMAND: %.100s", ret->text[FRAME_COMMAND]);
	return check_version(ret, error);
}

void cni_request_free(struct cni_request *request)
{
	for (int i = 0; i < FRAME_FIELDS; i++)
		free(request->text[i]);
	json_decref(request->conf);
	*request = (struct cni_request){.netns_fd = -1};
}

struct attach_request cni_request_attach(const struct cni_request *request)
{
	return (struct attach_request){
		.network = request->network,
		.container_id = request->text[FRAME_CONTAINER_ID],
		.ifname = request->text[FRAME_IFNAME],
		.netns_path = request->text[FRAME_NETNS],
		.netns_fd = request->netns_fd,
		.host_prefix =
			cni_type_host_prefix(cni_conf_type(request->conf, request->text[FRAME_PLUGIN])),
	};
}
