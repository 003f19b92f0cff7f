/* SPDX-License-Identifier: Apache-2.0
 *
 * NetworkSet and GlobalNetworkSet (reference/calico.md 2.9).
 */
#include "resources/policy.h"

#include "base/cleanup.h"
#include "resources/read.h"

#include <string.h>

static int compare_nets(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

static void sort_nets(struct network_set *set)
{
	size_t kept = 0;

	if (set->net_count)
		qsort(set->nets, set->net_count, sizeof(*set->nets), compare_nets);
	for (size_t i = 0; i < set->net_count; i++)
		if (!kept || !prefix_equal(&set->nets[kept - 1], &set->nets[i]))
			set->nets[kept++] = set->nets[i];
	set->net_count = kept;
}

static void take_net(const struct calico_at *place, struct network_set *set)
{
	struct err err = ERR_INIT;
	struct calico_at quiet = *place;
	struct prefix net;
	int rc;

	quiet.err = &err;
	rc = calico_prefix_or_addr(&quiet, NULL, &net);
	if (rc == 1)
		set->nets[set->net_count++] = prefix_masked(&net);
	else if (rc < 0)
		calico_remark_ignored(place, &err);
}

/* What large sets are made of: nothing but a good CIDR. */
static bool take_plain(const json_t *item, struct network_set *set)
{
	const char *text = json_string_value(item);
	struct prefix net;

	if (!text || strlen(text) != json_string_length(item) || prefix_parse(text, &net) < 0)
		return false;
	set->nets[set->net_count++] = prefix_masked(&net);
	return true;
}

static int read_nets(const struct calico_at *spec, struct network_set *set)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(spec, "nets", &list);
	size_t i;

	if (rc <= 0)
		return rc;
	set->nets = calloc(json_array_size(list) + 1, sizeof(*set->nets));
	if (!set->nets)
		return calico_no_memory(spec);
	json_array_foreach((json_t *)list, i, item) {
		struct calico_at place;

		if (take_plain(item, set))
			continue;
		calico_item(spec, "nets", i, item, &place);
		take_net(&place, set);
	}
	sort_nets(set);
	return 0;
}

static int copy_names(const json_t *object, bool global, struct network_set *set)
{
	set->name = strdup(calico_name(object));
	set->namespace = global ? NULL : strdup(calico_namespace(object));
	set->labels = labels_new();
	if (!set->name || (!global && !set->namespace) || !set->labels)
		return -1;
	return calico_labels(object, set->labels);
}

static int enter_spec(const struct calico_at *at, struct calico_at *ret)
{
	int rc;

	*ret = *at;
	ret->json = NULL;
	rc = calico_enter(at, "spec", ret);
	return rc < 0 ? rc : 0;
}

int network_set_parse(const json_t *object, bool global, const struct calico_remarks *remarks, struct network_set **ret,
	struct err *err)
{
	static const char *const members[] = {"nets", NULL};
	_cleanup_(network_set_free) struct network_set *set = calloc(1, sizeof(*set));
	struct calico_at at, spec;
	int rc = global ? calico_begin_object(object, "GlobalNetworkSet", remarks, err, &at)
			: calico_begin_namespaced(object, "NetworkSet", remarks, err, &at);

	if (rc < 0)
		return rc;
	if (!set || copy_names(object, global, set) < 0)
		return calico_no_memory(&at);
	rc = enter_spec(&at, &spec);
	if (rc == 0)
		rc = read_nets(&spec, set);
	if (rc < 0)
		return rc;
	calico_remark_unknown(&spec, members);
	*ret = TAKE_PTR(set);
	return 0;
}
