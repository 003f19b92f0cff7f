/* SPDX-License-Identifier: Apache-2.0
 *
 * Automatic host endpoints (model/auto_hosts.h), of all nodes: as peers, and those of this node to judge by.
 */
#include "agent/policy/internal.h"

#include "base/cleanup.h"
#include "model/auto_hosts.h"

#include <stdlib.h>
#include <string.h>

static const struct auto_hosts *settings(const struct policer *policer)
{
	return world_find(policer, WORLD_CONTROLLERS, "default");
}

bool auto_hosts_are_on(const struct policer *policer)
{
	const struct auto_hosts *hosts = settings(policer);

	return hosts && hosts->on;
}

static struct auto_host *find(const struct policer *policer, const char *name)
{
	struct auto_host *found;

	HASH_FIND_STR(policer->auto_hosts, name, found);
	return found;
}

const struct host_endpoint *auto_hosts_find(const struct policer *policer, const char *name)
{
	const struct host_endpoint *object = world_find(policer, WORLD_HOSTS, name);
	const struct auto_host *own = object ? NULL : find(policer, name);

	return own ? own->host : object;
}

static void note_place(struct policer *policer, const struct host_endpoint *host)
{
	policer->links_due |= strcmp(host->node, policer->agent->options.node_name) == 0;
}

/* The engine looks at the old one no more once it has the new one. */
static void take(struct policer *policer, struct host_endpoint *host)
{
	struct auto_host *known = find(policer, host->name);
	struct host_endpoint *old = known ? known->host : NULL;

	if (known)
		known->seen = true;
	if ((old && host_endpoint_equal(old, host)) || (!known && !(known = calloc(1, sizeof(*known))))) {
		host_endpoint_free(&host);
		return;
	}
	note_place(policer, host);
	verdicts_put_host(policer->verdicts, host);
	if (old)
		HASH_DEL(policer->auto_hosts, known);
	known->host = host;
	known->seen = true;
	HASH_ADD_KEYPTR(hh, policer->auto_hosts, host->name, strlen(host->name), known);
	host_endpoint_free(&old);
}

static void make(struct policer *policer, const struct known_node *node)
{
	_cleanup_free_ struct host_endpoint **made = NULL;
	const struct auto_host_node what = {.name = known_node_name(node), .labels = node->labels, .addrs = node->addrs,
		.count = node->count};
	size_t count = 0;

	policer->auto_hosts_due |= auto_hosts_make(settings(policer), &what, &made, &count) < 0;
	for (size_t i = 0; i < count; i++)
		if (world_find(policer, WORLD_HOSTS, made[i]->name))
			host_endpoint_free(&made[i]);
		else
			take(policer, made[i]);
}

/* What an object has replaced in the engine is not the engine's any more. */
static void drop(struct policer *policer, struct auto_host *gone)
{
	HASH_DEL(policer->auto_hosts, gone);
	note_place(policer, gone->host);
	if (!world_find(policer, WORLD_HOSTS, gone->host->name))
		verdicts_remove_host(policer->verdicts, gone->host->name);
	host_endpoint_free(&gone->host);
	free(gone);
}

void auto_hosts_follow(struct policer *policer)
{
	struct auto_host *item, *next;

	if (!policer->auto_hosts_due || !policer->world[WORLD_HOSTS].complete || !policer->world[WORLD_CONTROLLERS].complete ||
		!policer->world[WORLD_NODES].complete || policer->node_labels != auto_hosts_are_on(policer))
		return;
	policer->auto_hosts_due = false;
	for (item = policer->auto_hosts; item; item = item->hh.next)
		item->seen = false;
	for (size_t i = 0; policer->node_labels && i < world_count(policer, WORLD_NODES); i++)
		make(policer, world_object(policer, WORLD_NODES, i));
	HASH_ITER (hh, policer->auto_hosts, item, next)
		if (!item->seen)
			drop(policer, item);
}

void auto_hosts_end(struct policer *policer)
{
	struct auto_host *item, *next;

	HASH_ITER (hh, policer->auto_hosts, item, next) {
		HASH_DEL(policer->auto_hosts, item);
		host_endpoint_free(&item->host);
		free(item);
	}
}
