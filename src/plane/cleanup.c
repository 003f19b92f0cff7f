/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/plane_internal.h"

#include "base/cleanup.h"
#include "plane/policy.h"

#include <errno.h>
#include <limits.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct pass {
	const struct plane_cleanup *wish;
	struct nl *nl;
	struct devices devices;
	struct children children;
	struct failures failures;
};

static void fail(struct pass *pass, const struct err *err)
{
	if (pass->failures.count++ == 0)
		pass->failures.first = *err;
}

static void told(const struct pass *pass, const char *kind, const char *name)
{
	pass->wish->told(pass->wish->ctx, kind, name);
}

static void remove_links(struct pass *pass)
{
	for (const char *const *name = pass->wish->links; *name; name++) {
		const struct plane_link *link = devices_find(&pass->devices, *name);
		struct err err = ERR_INIT;
		int r;

		if (!link)
			continue;
		r = pass->wish->dry ? 0 : link_retire(pass->nl, link, &err);
		if (r == -ENODEV) /* a pod's namespace took it along meanwhile */
			continue;
		if (r < 0) {
			err_wrap(&err, "device %s", *name);
			fail(pass, &err);
		} else {
			told(pass, strcmp(link->kind, "ipip") == 0 ? "addresses of device" : "device", *name);
		}
	}
}

static void tell_route(const struct pass *pass, const struct table *routes, const struct entry *entry)
{
	static const char kind[] = "route ";
	_cleanup_(buf_free) struct buf text = BUF_INIT(4096);

	routes->kind->format(entry, &pass->devices, &text);
	told(pass, "route", buf_text(&text) + (strncmp(buf_text(&text), kind, sizeof(kind) - 1) ? 0 : sizeof(kind) - 1));
}

static void remove_routes(struct pass *pass)
{
	struct table routes;
	struct err err = ERR_INIT;
	struct entry_list list = {0};

	table_init(&routes, &route_kind);
	if (routes.kind->scan(pass->nl, &pass->devices, &list, &err) < 0)
		fail(pass, &err);
	for (size_t i = 0; i < list.count; i++) {
		int r = pass->wish->dry ? 0 : nl_talk(pass->nl, routes.kind->del(pass->nl, &list.entries[i]), &err);

		if (r < 0 && r != -ESRCH) {
			err_wrap(&err, "removing a route");
			fail(pass, &err);
			continue;
		}
		tell_route(pass, &routes, &list.entries[i]);
	}
	table_free(&routes);
	free(list.entries);
}

static bool is_of_bird(const struct plane_cleanup *wish, const struct plane_route *route)
{
	bool is_named = wish->all_bird_routes;

	for (size_t i = 0; i < wish->bird_route_count && !is_named; i++)
		is_named = prefix_equal(&wish->bird_routes[i], &route->dst);
	return is_named && route->protocol == RTPROT_BIRD;
}

static void remove_bird_routes(struct pass *pass)
{
	_cleanup_free_ struct plane_route *routes = NULL;
	struct err err = ERR_INIT;
	struct table table;
	size_t count = 0;

	if (!pass->wish->bird_route_count && !pass->wish->all_bird_routes)
		return;
	if (plane_list_routes(&routes, &count, &err) < 0)
		fail(pass, &err);
	table_init(&table, &route_kind);
	for (size_t i = 0; i < count; i++) {
		const struct plane_route *route = &routes[i];
		struct entry entry = {.addr = route->dst.addr, .len = route->dst.len, .via = route->via, .index = route->index,
			.metric = route->metric, .protocol = route->protocol, .type = route->type};
		int r;

		if (!is_of_bird(pass->wish, route))
			continue;
		r = pass->wish->dry ? 0 : nl_talk(pass->nl, route_kind.del(pass->nl, &entry), &err);
		if (r < 0 && r != -ESRCH) {
			err_wrap(&err, "removing a route of BIRD's");
			fail(pass, &err);
			continue;
		}
		tell_route(pass, &table, &entry);
	}
	table_free(&table);
}

static void remove_table(struct pass *pass)
{
	struct nft nft;
	struct err err = ERR_INIT;
	bool there = false;

	nft_init(&nft, pass->wish->nft ? pass->wish->nft : "nft");
	if (nft_remove(&nft, &pass->children, pass->wish->dry, &there, &err) < 0)
		fail(pass, &err);
	if (there)
		told(pass, "nftables table", "inet " NFT_TABLE);
	nft_done(&nft);
}

/* What is pinned is attached; an interface may have it without pins (clsact), which its remover finds. */
static void remove_program(struct pass *pass, const char *name, int (*remove)(const char *bpffs, struct err *err))
{
	struct err err = ERR_INIT;
	char pins[PATH_MAX];

	if (!pass->wish->bpffs || snprintf(pins, sizeof(pins), "%s/%s", pass->wish->bpffs, name) >= (int)sizeof(pins))
		return;
	if (access(pins, F_OK) == 0)
		told(pass, "eBPF program", name);
	if (!pass->wish->dry && remove(pass->wish->bpffs, &err) < 0)
		fail(pass, &err);
}

static void remove_rest(struct pass *pass)
{
	_cleanup_(buf_free) struct buf report = BUF_INIT(0);
	struct err err = ERR_INIT;
	char *line, *rest = NULL;

	if (forward_remove(&pass->children, pass->wish->dry, &report, &err) < 0)
		fail(pass, &err);
	for (line = report.len ? strtok_r(report.data, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
		told(pass, "rule", line);
	remove_program(pass, "carrier", carrier_remove);
	remove_program(pass, "guard", guard_remove);
	remove_program(pass, "policy", policy_plane_remove);
}

int plane_cleanup(const struct plane_cleanup *cleanup, struct err *err)
{
	struct pass pass = {.wish = cleanup};
	int r = nl_open(&pass.nl, err);

	if (r < 0)
		return r;
	if (cleanup->record)
		record_read(cleanup->record, &pass.devices.record);
	r = links_dump(pass.nl, &pass.devices.links, &pass.devices.count, err);
	if (r == 0) {
		/* routes first: with their device they would go unnamed */
		remove_routes(&pass);
		remove_bird_routes(&pass);
		remove_rest(&pass);
		remove_links(&pass);
		remove_table(&pass);
	}
	free(pass.devices.links);
	nl_close(pass.nl);
	if (r == 0 && pass.failures.count)
		r = err_set(err, pass.failures.first.code, "%s", err_text(&pass.failures.first));
	return r;
}
