/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/plane_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

struct cleanup {
	const struct plane_options *options;
	struct nl *nl;
	struct devices devices;
	struct children children;
	struct buf *report;
	struct failures failures;
};

static void fail(struct cleanup *cleanup, const struct err *err)
{
	if (cleanup->failures.count++ == 0)
		cleanup->failures.first = *err;
}

static void remove_links(struct cleanup *cleanup, const char *const *names)
{
	for (; *names; names++) {
		const struct plane_link *link = devices_find(&cleanup->devices, *names);
		struct err err = ERR_INIT;
		int r;

		if (!link)
			continue;
		r = link_delete(cleanup->nl, link->index, &err);
		if (r == -ENODEV) /* a pod's namespace took it along meanwhile */
			continue;
		if (r < 0) {
			err_wrap(&err, "device %s", *names);
			fail(cleanup, &err);
		} else {
			buf_printf(cleanup->report, "removed device %s\n", *names);
		}
	}
}

static void remove_routes(struct cleanup *cleanup)
{
	struct table routes;
	struct err err = ERR_INIT;
	struct entry_list list = {0};

	table_init(&routes, &route_kind);
	if (routes.kind->scan(cleanup->nl, &cleanup->devices, &list, &err) < 0)
		fail(cleanup, &err);
	for (size_t i = 0; i < list.count; i++) {
		int r = nl_talk(cleanup->nl, routes.kind->del(cleanup->nl, &list.entries[i]), &err);

		if (r < 0 && r != -ESRCH) {
			err_wrap(&err, "removing a route");
			fail(cleanup, &err);
			continue;
		}
		buf_add_str(cleanup->report, "removed ");
		routes.kind->format(&list.entries[i], &cleanup->devices, cleanup->report);
		buf_add_str(cleanup->report, "\n");
	}
	table_free(&routes);
	free(list.entries);
}

static void remove_table(struct cleanup *cleanup)
{
	struct nft nft;
	struct err err = ERR_INIT;
	bool removed = false;

	nft_init(&nft, cleanup->options->nft ? cleanup->options->nft : "nft");
	if (nft_remove(&nft, &cleanup->children, &removed, &err) < 0)
		fail(cleanup, &err);
	if (removed)
		buf_add_str(cleanup->report, "removed nftables table inet " NFT_TABLE "\n");
	nft_done(&nft);
}

static void remove_rest(struct cleanup *cleanup)
{
	struct err err = ERR_INIT;

	if (forward_remove(&cleanup->children, cleanup->report, &err) < 0)
		fail(cleanup, &err);
	err = ERR_INIT;
	if (cleanup->options->bpffs && carrier_remove(cleanup->options->bpffs, &err) < 0)
		fail(cleanup, &err);
}

int plane_cleanup(const struct plane_options *options, const char *const *names, struct buf *report, struct err *err)
{
	struct cleanup cleanup = {.options = options, .report = report};
	int r = nl_open(&cleanup.nl, err);

	if (r < 0)
		return r;
	r = links_dump(cleanup.nl, &cleanup.devices.links, &cleanup.devices.count, err);
	if (r == 0) {
		/* routes first: with their device they would go unnamed */
		remove_routes(&cleanup);
		remove_rest(&cleanup);
		remove_links(&cleanup, names);
		remove_table(&cleanup);
	}
	free(cleanup.devices.links);
	nl_close(cleanup.nl);
	if (r == 0 && cleanup.failures.count)
		r = err_set(err, cleanup.failures.first.code, "%s", err_text(&cleanup.failures.first));
	return r;
}
