/* SPDX-License-Identifier: Apache-2.0
 *
 * KubeControllersConfiguration (reference/calico.md 2.13, 8.8): what it says of automatic host endpoints. The rest is for
 * Calico's controllers.
 */
#include "resources/policy.h"

#include "base/cleanup.h"
#include "resources/read.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TEMPLATES_MAX 100
#define NETS_MAX 1000

static const char *const enabled_words[] = {"Disabled", "Enabled", NULL};

static int read_enabled(const struct calico_at *at, const char *key, bool *ret)
{
	int choice = 0, rc = calico_choice(at, key, enabled_words, &choice);

	if (rc == 1)
		*ret = choice;
	return rc < 0 ? rc : 0;
}

/* -- templates -- */

static int read_nets(const struct calico_at *at, struct host_template *template)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(at, "interfaceCIDRs", &list);
	size_t i;

	if (rc < 0)
		return rc;
	if (!json_array_size(list) || json_array_size(list) > NETS_MAX)
		return calico_wrong(at, "interfaceCIDRs", "1 to %d CIDRs", NETS_MAX);
	template->nets = calloc(json_array_size(list), sizeof(*template->nets));
	if (!template->nets)
		return calico_no_memory(at);
	json_array_foreach(list, i, item) {
		struct calico_at place;

		calico_item(at, "interfaceCIDRs", i, item, &place);
		rc = calico_prefix_or_addr(&place, NULL, &template->nets[template->net_count]);
		if (rc <= 0)
			return rc < 0 ? rc : calico_wrong(&place, NULL, "a CIDR");
		template->nets[template->net_count] = prefix_masked(&template->nets[template->net_count]);
		template->net_count++;
	}
	return 0;
}

static int read_template_labels(const struct calico_at *at, struct host_template *template)
{
	struct calico_at place;
	const char *key;
	json_t *value;
	int rc = calico_enter(at, "labels", &place);

	template->labels = labels_new();
	if (!template->labels)
		return calico_no_memory(at);
	if (rc <= 0)
		return rc;
	json_object_foreach((json_t *)place.json, key, value) {
		if (!json_is_string(value))
			return calico_wrong(&place, key, "a text");
		if (labels_set(template->labels, key, json_string_value(value)) < 0)
			return calico_no_memory(at);
	}
	return 0;
}

/* Interfaces by pattern are not made: other nodes' interfaces are nowhere told. */
static int read_template(const struct calico_at *at, struct host_template *template)
{
	static const char *const members[] = {"generateName", "nodeSelector", "interfaceCIDRs", "labels", NULL};
	const char *name = "", *unknown = calico_unknown(at, members);
	int rc;

	if (!json_is_object(at->json))
		return calico_wrong(at, NULL, "an object");
	if (unknown)
		return calico_wrong(at, unknown, "nothing: of a template, generateName, nodeSelector, interfaceCIDRs and labels are understood");
	rc = calico_text(at, "generateName", &name);
	if (rc >= 0 && !calico_name_is_sane(name))
		rc = calico_wrong(at, "generateName", "a name");
	if (rc < 0)
		return rc;
	template->name = strdup(name);
	if (!template->name)
		return calico_no_memory(at);
	rc = calico_selector(at, "nodeSelector", &template->nodes);
	if (rc >= 0)
		rc = read_nets(at, template);
	return rc < 0 ? rc : read_template_labels(at, template);
}

static void template_done(struct host_template *template)
{
	free(template->name);
	selector_free(&template->nodes);
	free(template->nets);
	labels_free(&template->labels);
}

/* One that cannot be used is left out, as a HostEndpoint like it would be. */
static int add_template(const struct calico_at *at, struct auto_hosts *hosts)
{
	struct host_template template = {0};
	struct calico_at place = *at;
	struct err err = ERR_INIT;
	int rc;

	place.err = &err;
	rc = read_template(&place, &template);
	if (rc == 0) {
		hosts->templates[hosts->template_count++] = template;
		return 0;
	}
	template_done(&template);
	if (rc == -ENOMEM)
		return calico_no_memory(at);
	if (!hosts->trouble)
		hosts->trouble = strdup(err_text(&err));
	calico_remark_ignored(at, &err);
	return 0;
}

static int read_templates(const struct calico_at *at, struct auto_hosts *hosts)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(at, "templates", &list);
	size_t i;

	if (rc < 0)
		return rc;
	if (json_array_size(list) > TEMPLATES_MAX)
		return calico_wrong(at, "templates", "at most %d of them", TEMPLATES_MAX);
	hosts->templates = calloc(json_array_size(list) + 1, sizeof(*hosts->templates));
	if (!hosts->templates)
		return calico_no_memory(at);
	json_array_foreach(list, i, item) {
		struct calico_at place;

		calico_item(at, "templates", i, item, &place);
		rc = add_template(&place, hosts);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* -- the whole -- */

static int read_hosts(const struct calico_at *at, struct auto_hosts *hosts)
{
	static const char *const members[] = {"autoCreate", "createDefaultHostEndpoint", "templates", NULL};
	int rc = read_enabled(at, "autoCreate", &hosts->on);

	hosts->common = true;
	if (rc == 0)
		rc = read_enabled(at, "createDefaultHostEndpoint", &hosts->common);
	if (rc == 0)
		rc = read_templates(at, hosts);
	if (rc == 0)
		calico_remark_unknown(at, members);
	return rc;
}

int auto_hosts_parse(const json_t *object, const struct calico_remarks *remarks, struct auto_hosts **ret, struct err *err)
{
	static const char *const path[] = {"controllers", "node", "hostEndpoint"};
	_cleanup_(auto_hosts_free) struct auto_hosts *hosts = calloc(1, sizeof(*hosts));
	struct calico_at at;
	int rc = calico_begin(object, "KubeControllersConfiguration", remarks, err, &at);

	if (rc < 0)
		return rc;
	if (strcmp(calico_name(object), "default") != 0)
		return err_set(err, -ENOENT, "%s: expected the name default", at.who);
	if (!hosts)
		return calico_no_memory(&at);
	for (size_t i = 0; i < ARRAY_SIZE(path); i++) {
		struct calico_at next;

		rc = calico_enter(&at, path[i], &next);
		if (rc <= 0)
			break;
		at = next;
	}
	if (rc > 0)
		rc = read_hosts(&at, hosts);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(hosts);
	return 0;
}
