/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_conf.h"
#include "cni_server/cni_request.h"
#include "cni_server/cni_server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool declares(const json_t *plugin, const char *capability)
{
	return json_is_true(json_find(json_find(plugin, "capabilities"), capability));
}

static int check_version(const char *version, const char *where, struct err *err)
{
	if (cni_version_find(version) < CNI_VERSION_COUNT)
		return 0;
	return err_set(err, -EINVAL, "%s: CNI version \"%.40s\" is unknown, expected 0.1.0 to 1.1.0", where,
		version);
}

/* "cniVersion", and for lists "cniVersions". */
static int check_versions(const json_t *object, const char *where, struct err *err)
{
	const char *version = "0.1.0";
	json_t *list = NULL;

	if (json_get_string(object, where, "cniVersion", &version, err) < 0 ||
		json_get_array(object, where, "cniVersions", &list, err) < 0 ||
		(version[0] && check_version(version, where, err) < 0))
		return -EINVAL;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (check_version(text ? text : "", where, err) < 0)
			return -EINVAL;
	}
	return 0;
}

static int check_name(const json_t *object, const char *where, struct err *err)
{
	const char *name = "";

	if (json_get_string(object, where, "name", &name, err) < 0)
		return -EINVAL;
	if (!cni_name_is_valid(name))
		return err_set(err, -EINVAL,
			"%s: key \"name\" is \"%.100s\", expected a letter or digit, then letters, digits, "
			"'_', '.' and '-'",
			where, name);
	return 0;
}

/* Whether the agent masquerades is not known here: ipMasq passes. */
static int check_plugin(const json_t *plugin, const char *where, bool *ours, struct err *err)
{
	const char *type = "";
	struct cni_conf conf;

	if (!json_is_object(plugin))
		return err_set(err, -EINVAL, "%s: expected an object", where);
	if (json_get_string(plugin, where, "type", &type, err) < 0)
		return -EINVAL;
	if (!type[0] || strchr(type, '/'))
		return err_set(err, -EINVAL, "%s: key \"type\" is \"%.100s\", expected the name of a plugin",
			where, type);
	*ours = cni_type_find(type) < CNI_TYPE_COUNT;
	if (*ours && cni_conf_parse(plugin, type, true, NULL, &conf, err) < 0)
		return err_wrap(err, "%s", where);
	return 0;
}

static int check_list(const json_t *plugins, const char *where, struct err *err)
{
	size_t ours = 0;
	bool shaped = false, foreign_shaper = false;

	for (size_t i = 0; i < json_array_size(plugins); i++) {
		const json_t *plugin = json_array_get(plugins, i);
		const char *type = json_string_value(json_find(plugin, "type"));
		char place[256];
		bool mine;

		snprintf(place, sizeof(place), "%.200s: plugins[%zu]", where, i);
		if (check_plugin(plugin, place, &mine, err) < 0)
			return -EINVAL;
		ours += mine;
		shaped |= mine && declares(plugin, "bandwidth");
		foreign_shaper |= type && strcmp(type, "bandwidth") == 0;
	}
	if (ours != 1)
		return err_set(err, -EINVAL,
			"%s: key \"plugins\" has %zu plugins of type tulle, flannel or calico, expected one",
			where, ours);
	if (shaped && foreign_shaper)
		return err_set(err, -EINVAL,
			"%s: both tulle and the plugin \"bandwidth\" shape the pods, expected one of them",
			where);
	return 0;
}

static int check_object(const json_t *object, const char *where, struct err *err)
{
	json_t *plugins = NULL;
	bool ours = false;

	if (check_name(object, where, err) < 0 || check_versions(object, where, err) < 0 ||
		json_get_array(object, where, "plugins", &plugins, err) < 0)
		return -EINVAL;
	if (plugins)
		return check_list(plugins, where, err);
	if (check_plugin(object, where, &ours, err) < 0)
		return -EINVAL;
	if (!ours)
		return err_set(err, -EINVAL,
			"%s: key \"type\" is \"%.100s\", expected tulle, flannel or calico", where,
			json_string_value(json_find(object, "type")));
	return 0;
}

int cni_conf_check(const char *text, size_t len, const char *where, struct err *err)
{
	json_t *object = NULL;
	int rc = json_parse(text, len, where, &object, err);

	if (rc < 0)
		return rc;
	rc = json_is_object(object) ? check_object(object, where, err)
				    : err_set(err, -EINVAL, "%s: expected a JSON object", where);
	json_decref(object);
	return rc;
}
