/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes: of each its addresses, and its labels only where somebody asks for them, as there may be thousands.
 */
#include "agent/policy/internal.h"

#include "resources/resources.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *known_node_name(const struct known_node *node)
{
	return (const char *)(node->addrs + node->count);
}

const struct addr *known_node_first(const struct known_node *node, int family)
{
	for (size_t i = 0; node && i < node->count - node->tunnels; i++)
		if (family_index(addr_family(&node->addrs[i])) == family)
			return &node->addrs[i];
	return NULL;
}

static bool is_own(const struct policer *policer, const char *node)
{
	return strcmp(node, policer->agent->options.node_name) == 0;
}

/* -- one node -- */

static void know_addr(struct known_node *known, const struct addr *addr)
{
	if (addr_is_set(addr))
		known->addrs[known->count++] = *addr;
}

/* Its own address of each family comes first, and a tunnel's last. */
static struct known_node *know(const struct node *node)
{
	size_t room = node->other_count + 2 * FAMILY_COUNT + 1, len = strlen(node->name) + 1;
	struct known_node *known = calloc(1, sizeof(*known) + room * sizeof(struct addr) + len), *less;

	if (!known)
		return NULL;
	for (int f = 0; f < FAMILY_COUNT; f++)
		know_addr(known, &node->address[f].addr);
	for (size_t i = 0; i < node->other_count; i++)
		know_addr(known, &node->others[i]);
	known->tunnels = known->count;
	for (int f = 0; f < FAMILY_COUNT; f++)
		know_addr(known, &node->vxlan_addr[f]);
	know_addr(known, &node->ipip_addr);
	known->tunnels = known->count - known->tunnels;
	memcpy(known->addrs + known->count, node->name, len);
	less = realloc(known, sizeof(*known) + known->count * sizeof(struct addr) + len);
	return less ? less : known;
}

/* Labels are kept for automatic host endpoints; those of this node choose a FelixConfiguration, too. */
int nodes_read(struct policer *policer, const json_t *object, void **ret, struct err *err)
{
	struct known_node *known;
	struct node *node = NULL;
	int rc = calico_node_parse(object, NULL, &node, err);

	if (rc < 0)
		return rc;
	known = know(node);
	if (known && (policer->node_labels || is_own(policer, node->name))) {
		known->labels = node->labels;
		node->labels = NULL;
	}
	node_free(&node);
	*ret = known;
	return known ? 1 : err_set(err, -ENOMEM, "out of memory");
}

bool nodes_equal(const void *a, const void *b)
{
	const struct known_node *x = a, *y = b;

	if (!x->labels || !y->labels ? x->labels != y->labels : !labels_equal(x->labels, y->labels))
		return false;
	return x->count == y->count && x->tunnels == y->tunnels && memcmp(x->addrs, y->addrs, x->count * sizeof(*x->addrs)) == 0;
}

void nodes_free(struct policer *policer, void *object)
{
	struct known_node *node = object;

	labels_free(&node->labels);
	free(node);
}

void nodes_key(const void *object, char ret[static WORLD_KEY_MAX])
{
	snprintf(ret, WORLD_KEY_MAX, "%s", known_node_name(object));
}

/* -- for the engine -- */

int nodes_put(struct policer *policer, const char *key, const void *object, const void *old)
{
	const struct known_node *node = object;

	policer->auto_hosts_due = true;
	if (!is_own(policer, key))
		return verdicts_put_node(policer->verdicts, key, false, node->addrs, node->count);
	policer->links_due = true; /* together with what our interfaces have */
	if (world_count(policer, WORLD_FELIX))
		agent_mark(policer->agent);
	return 0;
}

void nodes_remove(struct policer *policer, const char *key, const void *object)
{
	policer->auto_hosts_due = true;
	if (!is_own(policer, key))
		verdicts_remove_node(policer->verdicts, key);
}
