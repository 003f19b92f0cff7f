/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/policy.h"

#include "base/cleanup.h"
#include "model/failsafe.h"

#include <errno.h>
#include <string.h>

struct policy_engine {
	struct verdicts *verdicts;
	const struct policy_world *world; /* null: none yet */
};

int policy_engine_new(struct policy_engine **ret)
{
	struct policy_engine *engine = calloc(1, sizeof(*engine));

	if (!engine || verdicts_new(&engine->verdicts) < 0) {
		free(engine);
		return -ENOMEM;
	}
	*ret = engine;
	return 0;
}

void policy_engine_free(struct policy_engine *engine)
{
	if (!engine)
		return;
	verdicts_free(engine->verdicts);
	free(engine);
}

/* -- what has gone since the world before -- */

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool has_owner(const struct policy_owner *owners, size_t count, const struct policy_owner *wanted)
{
	for (size_t i = 0; i < count; i++)
		if (same(owners[i].name, wanted->name) && same(owners[i].namespace, wanted->namespace))
			return true;
	return false;
}

static bool has_policy(const struct policy_world *world, const struct policy *wanted)
{
	for (size_t i = 0; i < world->policy_count; i++) {
		const struct policy *policy = world->policies[i];

		if (same(policy->name, wanted->name) && same(policy->namespace, wanted->namespace) && same(policy->kind, wanted->kind))
			return true;
	}
	return false;
}

static bool has_set(const struct policy_world *world, const struct network_set *wanted)
{
	for (size_t i = 0; i < world->set_count; i++)
		if (same(world->sets[i]->name, wanted->name) && same(world->sets[i]->namespace, wanted->namespace))
			return true;
	return false;
}

static bool has_tier(const struct policy_world *world, const struct tier *wanted)
{
	for (size_t i = 0; i < world->tier_count; i++)
		if (same(world->tiers[i]->name, wanted->name))
			return true;
	return false;
}

static bool has_host(const struct policy_world *world, const char *name)
{
	for (size_t i = 0; i < world->host_count; i++)
		if (same(world->hosts[i]->name, name))
			return true;
	return false;
}

static bool has_node(const struct policy_world *world, const struct policy_node *wanted)
{
	for (size_t i = 0; i < world->node_count; i++)
		if (same(world->nodes[i].name, wanted->name))
			return true;
	return false;
}

static const struct endpoint *find_endpoint(const struct policy_world *world, const struct endpoint *wanted)
{
	for (size_t i = 0; i < world->endpoint_count; i++)
		if (same(world->endpoints[i]->name, wanted->name) && same(world->endpoints[i]->namespace, wanted->namespace))
			return world->endpoints[i];
	return NULL;
}

static void remove_endpoints(struct verdicts *verdicts, const struct policy_world *old, const struct policy_world *now)
{
	for (size_t i = 0; i < old->endpoint_count; i++) {
		const struct endpoint *endpoint = old->endpoints[i], *other = find_endpoint(now, endpoint);

		if (!endpoint->host_network && (!other || other->host_network))
			verdicts_detach(verdicts, endpoint->namespace, endpoint->name);
		if (!other)
			verdicts_remove_endpoint(verdicts, endpoint->namespace, endpoint->name);
	}
}

static void remove_owners(struct verdicts *verdicts, const struct policy_world *old, const struct policy_world *now)
{
	for (size_t i = 0; i < old->namespace_count; i++)
		if (!has_owner(now->namespaces, now->namespace_count, &old->namespaces[i]))
			verdicts_remove_namespace(verdicts, old->namespaces[i].name);
	for (size_t i = 0; i < old->account_count; i++)
		if (!has_owner(now->accounts, now->account_count, &old->accounts[i]))
			verdicts_remove_service_account(verdicts, old->accounts[i].namespace, old->accounts[i].name);
}

static void remove_gone(struct verdicts *verdicts, const struct policy_world *old, const struct policy_world *now)
{
	for (size_t i = 0; i < old->policy_count; i++)
		if (!has_policy(now, old->policies[i]))
			verdicts_remove_policy(verdicts, old->policies[i]->kind, old->policies[i]->namespace, old->policies[i]->name);
	for (size_t i = 0; i < old->tier_count; i++)
		if (!has_tier(now, old->tiers[i]))
			verdicts_remove_tier(verdicts, old->tiers[i]->name);
	for (size_t i = 0; i < old->set_count; i++)
		if (!has_set(now, old->sets[i]))
			verdicts_remove_set(verdicts, old->sets[i]->namespace, old->sets[i]->name);
	for (size_t i = 0; i < old->node_count; i++)
		if (!has_node(now, &old->nodes[i]))
			verdicts_remove_node(verdicts, old->nodes[i].name);
	for (size_t i = 0; i < old->host_count; i++)
		if (!has_host(now, old->hosts[i]->name))
			verdicts_remove_host(verdicts, old->hosts[i]->name);
	remove_endpoints(verdicts, old, now);
	remove_owners(verdicts, old, now);
}

/* -- what is there now -- */

static bool same_service(const struct policy_backend *a, const struct policy_backend *b)
{
	return same(a->service, b->service) && same(a->namespace, b->namespace);
}

/* They are sorted: those of one Service from first on. */
static size_t count_backends(const struct policy_world *world, size_t first)
{
	size_t end = first;

	while (end < world->backend_count && same_service(&world->backends[end], &world->backends[first]))
		end++;
	return end - first;
}

static bool has_service(const struct policy_world *world, const struct policy_backend *wanted)
{
	for (size_t i = 0; i < world->backend_count; i++)
		if (same_service(&world->backends[i], wanted))
			return true;
	return false;
}

static int put_service(struct verdicts *verdicts, const struct policy_backend *first, size_t count)
{
	_cleanup_free_ struct verdict_backend *list = calloc(count, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		list[i] = (struct verdict_backend){first[i].addr, first[i].protocol, first[i].port};
	return verdicts_set_backends(verdicts, first->namespace, first->service, list, count);
}

static int put_backends(struct verdicts *verdicts, const struct policy_world *old, const struct policy_world *now)
{
	int rc = 0;

	for (size_t i = 0, count; rc == 0 && i < now->backend_count; i += count) {
		count = count_backends(now, i);
		rc = put_service(verdicts, &now->backends[i], count);
	}
	for (size_t i = 0, count; old && rc == 0 && i < old->backend_count; i += count) {
		count = count_backends(old, i);
		if (!has_service(now, &old->backends[i]))
			rc = verdicts_set_backends(verdicts, old->backends[i].namespace, old->backends[i].service, NULL, 0);
	}
	return rc;
}

static int put_endpoint(struct verdicts *verdicts, const struct endpoint *endpoint)
{
	int rc = verdicts_put_endpoint(verdicts, endpoint);

	if (rc == 0 && !endpoint->host_network)
		rc = verdicts_attach(verdicts, endpoint->namespace, endpoint->name, endpoint->addr);
	return rc;
}

static int put_host(struct verdicts *verdicts, const struct host_endpoint *host)
{
	int rc = verdicts_put_host(verdicts, host);

	return rc == 0 ? verdicts_attach_host(verdicts, host->name) : rc;
}

static int put_owners(struct verdicts *verdicts, const struct policy_world *world)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < world->namespace_count; i++)
		rc = verdicts_put_namespace(verdicts, world->namespaces[i].name, world->namespaces[i].labels);
	for (size_t i = 0; rc == 0 && i < world->account_count; i++)
		rc = verdicts_put_service_account(verdicts, world->accounts[i].namespace, world->accounts[i].name,
			world->accounts[i].labels);
	return rc;
}

static int put_all(struct verdicts *verdicts, const struct policy_world *world)
{
	int rc = put_owners(verdicts, world);

	for (size_t i = 0; rc == 0 && i < world->node_count; i++)
		rc = verdicts_put_node(verdicts, world->nodes[i].name, false, world->nodes[i].addrs, world->nodes[i].count);
	for (size_t i = 0; rc == 0 && i < world->endpoint_count; i++)
		rc = put_endpoint(verdicts, world->endpoints[i]);
	for (size_t i = 0; rc == 0 && i < world->host_count; i++)
		rc = put_host(verdicts, world->hosts[i]);
	for (size_t i = 0; rc == 0 && i < world->tier_count; i++)
		rc = verdicts_put_tier(verdicts, world->tiers[i]);
	for (size_t i = 0; rc == 0 && i < world->set_count; i++)
		rc = verdicts_put_set(verdicts, world->sets[i]);
	for (size_t i = 0; rc == 0 && i < world->policy_count; i++)
		if (!world->policies[i]->staged)
			rc = verdicts_put_policy(verdicts, world->policies[i]);
	return rc;
}

int policy_engine_load(struct policy_engine *engine, const struct policy_world *world, struct err *err)
{
	struct verdict_change change;
	int rc;

	if (engine->world)
		remove_gone(engine->verdicts, engine->world, world);
	rc = put_all(engine->verdicts, world);
	if (rc == 0)
		rc = put_backends(engine->verdicts, engine->world, world);
	if (rc < 0)
		return err_set(err, rc, "out of memory");
	engine->world = world;
	rc = verdicts_update(engine->verdicts, &change, err);
	if (rc == 0)
		verdicts_acknowledge(engine->verdicts);
	return rc;
}

/* -- judgement -- */

static const struct endpoint *judged(const struct netpol_probe *probe, enum netpol_side side)
{
	return probe->exempt ? NULL : side == NETPOL_EGRESS ? probe->from->endpoint : probe->to->endpoint;
}

static struct verdict_flow flow_of(const struct netpol_probe *probe)
{
	return (struct verdict_flow){probe->src, probe->dst, probe->protocol, probe->sport, probe->dport};
}

/* -- host endpoints -- */

/* A packet crosses an interface of the node where either end is, if the other end is elsewhere. host null: nobody is asked. */
static struct verdict_crossing crossing_of(const struct policy_engine *engine, const struct netpol_probe *probe, enum netpol_side side,
	struct failsafes *safe)
{
	const struct policy_end *end = side == NETPOL_EGRESS ? probe->from : probe->to;
	enum policy_direction direction = side == NETPOL_EGRESS ? POLICY_EGRESS : POLICY_INGRESS;

	const struct host_endpoint *host = probe->exempt || probe->from->node == probe->to->node ? NULL :
		policy_world_host(engine->world, end->node);

	if (host)
		*safe = failsafes_default(direction);
	return (struct verdict_crossing){host, direction, end->endpoint != NULL, safe};
}

/* -- both -- */

bool policy_engine_allow(const struct policy_engine *engine, const struct netpol_probe *probe, enum netpol_side side)
{
	struct failsafes safe;
	struct verdict_crossing crossing = crossing_of(engine, probe, side, &safe);
	const struct endpoint *endpoint = judged(probe, side);
	struct verdict_flow flow = flow_of(probe);
	enum policy_direction direction = side == NETPOL_EGRESS ? POLICY_EGRESS : POLICY_INGRESS;

	return (!endpoint || verdicts_allow(engine->verdicts, endpoint->namespace, endpoint->name, direction, &flow)) &&
	       (!crossing.host || verdicts_crosses(engine->verdicts, &crossing, &flow));
}

bool policy_engine_why(const struct policy_engine *engine, const struct netpol_probe *probe, enum netpol_side side,
	struct verdict_why *ret)
{
	struct failsafes safe;
	struct verdict_crossing crossing = crossing_of(engine, probe, side, &safe);
	const struct endpoint *endpoint = judged(probe, side);
	struct verdict_flow flow = flow_of(probe);
	struct verdict_why host;

	if (crossing.host)
		verdicts_why_crossing(engine->verdicts, &crossing, &flow, &host);
	if (endpoint)
		verdicts_why(engine->verdicts, endpoint->namespace, endpoint->name,
			side == NETPOL_EGRESS ? POLICY_EGRESS : POLICY_INGRESS, &flow, ret);
	if (crossing.host && (!endpoint || (ret->allow && !host.allow)))
		*ret = host;
	return endpoint || crossing.host;
}
