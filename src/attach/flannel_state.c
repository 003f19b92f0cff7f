/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/flannel_state.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MARK "tulle"

/* -- writing -- */

static void set(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

/* Keys that the user's delegate has stay as they are. Exact spelling: Flannel's plugin takes a plain map. */
static void set_absent(json_t *object, const char *key, json_t *value)
{
	if (json_object_get(object, key))
		json_decref(value);
	else
		set(object, key, value);
}

static json_t *prefix_json(const struct prefix *prefix)
{
	char text[PREFIX_TEXT_MAX];

	return json_string(prefix_format(prefix, text));
}

/* [[{"subnet": ...}], [{"subnet": ...}]] */
static json_t *make_ranges(const struct flannel_delegate *delegate)
{
	json_t *list = json_array();

	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct prefix subnet = prefix_masked(&delegate->subnet[f]);

		if (prefix_is_set(&subnet))
			json_array_append_new(list, json_pack("[{s:o}]", "subnet", prefix_json(&subnet)));
	}
	return list;
}

static json_t *copy_route(const json_t *route)
{
	static const char *const keys[] = {"dst", "gw", "mtu", "advmss", "priority", "table", "scope"};
	json_t *copy = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		json_t *value = json_find(route, keys[i]);

		if (value)
			json_object_set(copy, keys[i], value);
	}
	return copy;
}

static json_t *make_routes(const struct flannel_delegate *delegate, const json_t *own)
{
	json_t *list = json_array();

	for (size_t i = 0; i < json_array_size(own); i++)
		json_array_append_new(list, copy_route(json_array_get(own, i)));
	for (int f = 0; f < FAMILY_COUNT; f++) {
		struct prefix cluster = prefix_masked(&delegate->cluster[f]);

		if (prefix_is_set(&cluster))
			json_array_append_new(list, json_pack("{s:o}", "dst", prefix_json(&cluster)));
	}
	return list;
}

static json_t *copy_object(const json_t *conf, const char *key)
{
	const json_t *value = json_find(conf, key);

	return json_is_object(value) ? json_deep_copy(value) : json_object();
}

/* ipam.type may say tulle, which only we serve. */
static json_t *make_ipam(const struct flannel_delegate *delegate)
{
	json_t *ipam = copy_object(delegate->conf, "ipam");
	json_t *routes = make_routes(delegate, json_find(ipam, "routes"));

	set(ipam, "type", json_string("host-local"));
	set(ipam, "ranges", make_ranges(delegate));
	set(ipam, "routes", routes);
	return ipam;
}

static json_t *make_mark(const struct flannel_delegate *delegate)
{
	json_t *list = json_array();
	char text[ADDR_TEXT_MAX];

	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&delegate->addr[f]))
			json_array_append_new(list, json_string(addr_format(&delegate->addr[f], text)));
	}
	return json_pack("{s:s, s:o}", "ifname", delegate->ifname, "addresses", list);
}

static json_t *make_delegate(const struct flannel_delegate *delegate)
{
	json_t *object = copy_object(delegate->conf, "delegate");
	json_t *version = json_find(delegate->conf, "cniVersion");
	json_t *runtime = json_find(delegate->conf, "runtimeConfig");

	set(object, "name", json_string(delegate->network));
	set_absent(object, "type", json_string("bridge"));
	set_absent(object, "ipMasq", json_boolean(!delegate->ip_masq));
	set_absent(object, "mtu", json_integer(delegate->mtu));
	set_absent(object, "isGateway", json_true());
	if (json_is_string(version) && json_string_length(version))
		json_object_set(object, "cniVersion", version);
	if (runtime)
		json_object_set(object, "runtimeConfig", runtime);
	set(object, "ipam", make_ipam(delegate));
	set(object, MARK, make_mark(delegate));
	return object;
}

int flannel_state_format(const struct flannel_delegate *delegate, struct buf *buf, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = make_delegate(delegate);
	_cleanup_free_ char *text = object ? json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	if (!text || buf_add_str(buf, text) < 0)
		return err_set(err, -ENOMEM, "no memory for a state file");
	return 0;
}

/* -- reading -- */

static int copy_text(const char *text, const char *what, bool path, char to[static 256], struct err *err)
{
	size_t len = strlen(text);

	if (len == 0 || len >= 256 || text[0] == '.' || (path ? text[0] != '/' : strchr(text, '/') != NULL))
		return err_set(err, -EINVAL, "%s: \"%.40s\", expected %s", what, text,
			path ? "an absolute path" : "a plain name");
	memcpy(to, text, len + 1);
	return 0;
}

static int parse_ipam(const json_t *json, const char *where, struct flannel_state *state, struct err *err)
{
	const char *type = "", *dir = "";
	json_t *ipam = NULL;
	int rc = json_get_object(json, where, "ipam", &ipam, err);

	if (rc > 0)
		rc = json_get_string(ipam, "ipam", "type", &type, err);
	if (rc >= 0 && ipam)
		rc = json_get_string(ipam, "ipam", "dataDir", &dir, err);
	if (rc < 0)
		return err_wrap(err, "%s", where);
	if (strcmp(type, "host-local") != 0)
		return err_set(err, -EINVAL, "%s: ipam.type \"%.40s\", expected host-local", where, type);
	rc = dir[0] ? copy_text(dir, "ipam.dataDir", true, state->data_dir, err) : 0;
	return rc < 0 ? err_wrap(err, "%s", where) : 0;
}

static int parse_mark(const json_t *json, const char *where, struct flannel_state *state, struct err *err)
{
	json_t *mark = NULL, *list = NULL;
	const char *ifname = "";
	int rc = json_get_object(json, where, MARK, &mark, err);

	if (rc <= 0)
		return rc;
	rc = json_get_string(mark, MARK, "ifname", &ifname, err);
	if (rc >= 0)
		rc = json_get_array(mark, MARK, "addresses", &list, err);
	if (rc < 0)
		return err_wrap(err, "%s", where);
	if (!ifname[0] || strlen(ifname) >= IFNAMSIZ)
		return err_set(err, -EINVAL, "%s: " MARK ".ifname \"%.40s\", expected an interface's name",
			where, ifname);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		struct addr addr;

		if (!text || addr_parse(text, &addr) < 0)
			return err_set(err, -EINVAL, "%s: " MARK ".addresses: \"%.40s\" is no address", where,
				text ? text : "");
		state->addr[family_index(addr_family(&addr))] = addr;
	}
	memcpy(state->ifname, ifname, strlen(ifname) + 1);
	state->ours = true;
	return 0;
}

int flannel_state_parse(
	const char *text, size_t len, const char *where, struct flannel_state *ret, struct err *err)
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	struct flannel_state state = {0};
	const char *type = "bridge", *name = "";
	int rc = json_parse(text, len, where, &json, err);

	if (rc == 0)
		rc = json_get_string(json, where, "type", &type, err);
	if (rc >= 0)
		rc = json_get_string(json, where, "name", &name, err);
	if (rc < 0)
		return rc;
	if (strcmp(type, "bridge") != 0)
		return err_set(err, -EINVAL, "%s: type \"%.40s\", expected bridge", where, type);
	rc = copy_text(name, "name", false, state.network, err);
	if (rc < 0)
		return err_wrap(err, "%s", where);
	rc = parse_ipam(json, where, &state, err);
	if (rc == 0)
		rc = parse_mark(json, where, &state, err);
	if (rc < 0)
		return rc;
	*ret = state;
	return 0;
}

int flannel_state_path(const char *flannel_dir, const char *container_id, char path[static 1024])
{
	if (!flannel_dir || !container_id[0] || container_id[0] == '.' || strchr(container_id, '/'))
		return -EINVAL;
	return snprintf(path, 1024, "%s/%s", flannel_dir, container_id) >= 1024 ? -EINVAL : 0;
}

int flannel_state_read(
	const char *flannel_dir, const char *container_id, struct flannel_state *ret, struct err *err)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(FLANNEL_STATE_MAX);
	char path[1024];
	int rc;

	if (flannel_state_path(flannel_dir, container_id, path) < 0)
		return 0;
	rc = file_read(path, &buf, err);
	if (rc == -ENOENT || rc == -ENOTDIR)
		return 0;
	if (rc == 0)
		rc = flannel_state_parse(buf_text(&buf), buf.len, path, ret, err);
	return rc < 0 ? rc : 1;
}
