/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes of Felix, and the whole of its sweep.
 */
#include "plane/felix.h"

#include "base/cleanup.h"
#include "plane/plane.h"

#include <errno.h>
#include <string.h>

#define PROTOCOL 80
#define TRIES_MAX 20 /* of sets that are in use */

static const char *device_of(const struct plane_link *links, size_t count, uint32_t index)
{
	for (size_t i = 0; i < count; i++)
		if (links[i].index == index)
			return links[i].name;
	return "";
}

static int route_remove(struct nl *nl, const struct plane_route *route, struct err *err)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_DELROUTE, 0);
	struct rtmsg *info = nl_extra(msg, sizeof(*info));

	info->rtm_family = route->dst.family;
	info->rtm_dst_len = route->dst.len;
	info->rtm_table = RT_TABLE_MAIN;
	info->rtm_protocol = PROTOCOL;
	info->rtm_scope = RT_SCOPE_NOWHERE;
	info->rtm_type = route->type;
	if (route->dst.len)
		nl_put_addr(msg, RTA_DST, &route->dst.addr);
	if (route->index)
		mnl_attr_put_u32(msg, RTA_OIF, route->index);
	if (route->metric)
		mnl_attr_put_u32(msg, RTA_PRIORITY, route->metric);
	return nl_talk(nl, msg, err);
}

int felix_routes_remove(struct nl *nl, struct buf *note, struct err *err)
{
	_cleanup_free_ struct plane_route *routes = NULL;
	_cleanup_free_ struct plane_link *links = NULL;
	size_t route_count = 0, link_count = 0, gone = 0;
	char text[PREFIX_TEXT_MAX];
	int r = plane_list_links(&links, &link_count, err);

	if (r == 0)
		r = plane_list_routes(&routes, &route_count, err);
	for (size_t i = 0; i < route_count && r == 0; i++) {
		if (routes[i].protocol != PROTOCOL ||
			strncmp(device_of(links, link_count, routes[i].index), "cali", 4) == 0)
			continue;
		r = route_remove(nl, &routes[i], err);
		gone += r == 0;
		r = r == -ESRCH || r == -ENOENT ? 0 : r;
		if (r < 0)
			err_wrap(err, "Calico's route to %s cannot be removed", prefix_format(&routes[i].dst, text));
	}
	if (gone)
		buf_printf(note, "%s%zu routes", note->len ? ", " : "", gone);
	return r;
}

/* -- the sweep -- */

int felix_sweep_go(struct felix_sweep *sweep, struct nl *nl, struct children *children, struct err *err)
{
	size_t before = sweep->sets;
	int r = 0;

	if (sweep->done)
		return 0;
	if (!sweep->rules)
		r = felix_rules_remove(children, &sweep->note, err);
	if (r < 0)
		return r;
	sweep->rules = true;
	if (!sweep->routes)
		r = felix_routes_remove(nl, &sweep->note, err);
	if (r < 0)
		return r;
	sweep->routes = true;
	sweep->done = !felix_sets_remove(&sweep->sets);
	/* somebody else's rule may look into a set: then it stays */
	if (sweep->sets == before && ++sweep->tries > TRIES_MAX)
		sweep->done = true;
	if (sweep->done && sweep->sets)
		buf_printf(&sweep->note, "%s%zu sets", sweep->note.len ? ", " : "", sweep->sets);
	return 0;
}

void felix_sweep_free(struct felix_sweep *sweep)
{
	buf_free(&sweep->note);
}
