/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_S 1
#define UPKEEP_S 5

bool policer_problem(struct policer *policer, const char *object, const char *text)
{
	char name[700];

	snprintf(name, sizeof(name), "policy%s%s", *object ? " " : "", object);
	return problems_set(policer->agent->problems, name, text);
}

/* -- the pass -- */

void policer_mark(struct policer *policer)
{
	if (!policer->dirty || event_pending(policer->dirty, EV_TIMEOUT, NULL))
		return;
	policer->dirty_since_us = agent_now_us();
	event_active(policer->dirty, EV_TIMEOUT, 0);
}

static bool is_empty(const struct verdict_change *change)
{
	return !change->new_port_count && !change->new_pair_count && !change->address_count && !change->stale_pair_count &&
		!change->stale_port_count;
}

/* What an earlier agent left is in force until here: tables first, then entries, then programs where there were none. */
static int begin_force(struct policer *policer, struct err *err)
{
	struct verdict_tables tables = {0};
	struct verdict_change change = {0};
	int rc = verdicts_all(policer->verdicts, &tables);

	if (rc < 0)
		return err_set(err, rc, "policy: out of memory");
	rc = policy_plane_compare(policer->plane, &tables, &change, err);
	if (rc == 0)
		rc = policy_plane_apply_new(policer->plane, &change, err);
	if (rc == 0)
		rc = local_put(policer, true, err);
	if (rc == 0)
		rc = hosts_put(policer, true, err);
	if (rc == 0)
		rc = policy_plane_apply_stale(policer->plane, &change, err);
	if (rc == 0)
		rc = local_keep(policer, err);
	policy_plane_change_done(&change);
	verdict_tables_done(&tables);
	return rc;
}

static int apply(struct policer *policer, const struct verdict_change *change, struct err *err)
{
	int rc = 0;

	/* The tables of a new pod may be there already; then nothing is to be judged again. */
	if (!is_empty(change))
		rc = policy_plane_apply_new(policer->plane, change, err);
	if (rc == 0)
		rc = local_put(policer, false, err);
	if (rc == 0)
		rc = hosts_put(policer, false, err);
	return rc == 0 && !is_empty(change) ? policy_plane_apply_stale(policer->plane, change, err) : rc;
}

static void tell_in_force(struct policer *policer)
{
	struct verdict_stats stats;

	policer->in_force = true;
	verdicts_get_stats(policer->verdicts, &stats);
	log_info("policy: in force for %zu pods, %zu policies, of which %zu apply here", stats.attached, stats.policies, stats.applied);
}

/* With a list that is not complete something denied might pass: until then what is in force stays. */
static bool may_go_on(struct policer *policer)
{
	if (!world_is_complete(policer, policer->waiting, sizeof(policer->waiting)))
		return false;
	if (policer->ground)
		return true;
	snprintf(policer->waiting, sizeof(policer->waiting), "the node's own rules are not in place yet");
	return false;
}

int policer_pass(struct policer *policer, struct err *err)
{
	int64_t began = policer->dirty_since_us ? policer->dirty_since_us : agent_now_us();
	struct verdict_change change;
	int rc;

	if (!may_go_on(policer))
		return err_set(err, -EAGAIN, "policy: %s", policer->waiting);
	auto_hosts_follow(policer);
	if (policer->slices_due)
		parts_tell_backends(policer);
	rc = verdicts_update(policer->verdicts, &change, err);
	if (rc == 0)
		rc = policer->in_force ? apply(policer, &change, err) : begin_force(policer, err);
	policer->passes++;
	policer->dirty_since_us = 0;
	policer->last_pass_us = (uint64_t)(agent_now_us() - began);
	policer_problem(policer, "", rc < 0 && err ? err_text(err) : NULL);
	if (rc < 0) {
		policer->failures++;
		return rc;
	}
	verdicts_acknowledge(policer->verdicts);
	if (!policer->in_force)
		tell_in_force(policer);
	if (change.more || policer->slices_due)
		policer_mark(policer);
	return 0;
}

static void on_dirty(evutil_socket_t fd, short what, void *ctx)
{
	const struct timeval after = {.tv_sec = RETRY_S};
	struct policer *policer = ctx;
	struct err err = ERR_INIT;
	bool waited;

	if (policer->pods_due)
		local_sync(policer);
	places_follow(policer);
	if (policer->probing)
		return;
	world_adjust(policer);
	waited = *policer->waiting;
	if (!may_go_on(policer))
		return;
	if (policer_pass(policer, &err) < 0)
		event_add(policer->retry, &after);
	else if (waited)
		cni_server_kick(policer->agent->cni);
}

static void on_retry(evutil_socket_t fd, short what, void *ctx)
{
	policer_mark(ctx);
}

/* Somebody else may have taken a program away, with a qdisc or by itself: the kernel does not tell. */
static void on_upkeep(evutil_socket_t fd, short what, void *ctx)
{
	struct policer *policer = ctx;
	size_t pods = local_check(policer), exits = places_check(policer) + hosts_check(policer) + express_lost(policer);

	if (!pods && !exits)
		return;
	log_warning("policy: %zu pods' interfaces and %zu by which packets leave had lost their programs; they are put back", pods, exits);
	policer_mark(policer);
}

void policer_follow(struct policer *policer)
{
	if (!policer || *policer->off)
		return;
	policer->links_due |= !policer->ground; /* the uplink is known now */
	policer->ground = true;
	policer_mark(policer);
}

void policer_links_due(struct policer *policer)
{
	if (!policer || *policer->off)
		return;
	policer->links_due = true;
	policer_mark(policer);
}

void policer_pods_due(struct policer *policer)
{
	if (!policer || *policer->off)
		return;
	policer->pods_due = true;
	policer_mark(policer);
}

/* -- the gate's first half -- */

int policer_admit(struct policer *policer, const struct attach_request *request, struct err *err)
{
	bool named = request->pod_namespace && request->pod_namespace[0] && request->pod_name && request->pod_name[0];
	char key[400];

	if (!policer)
		return err_set(err, -EINPROGRESS, "policy: it is not known yet what the store speaks");
	if (*policer->off)
		return 0;
	if (!policer->in_force || !may_go_on(policer))
		return err_set(err, -EINPROGRESS, "policy: %s",
			*policer->waiting ? policer->waiting : "the first lists are being read");
	if (!named || !policer->kubernetes)
		return 0;
	snprintf(key, sizeof(key), "%s/%s", request->pod_namespace, request->pod_name);
	if (!world_find(policer, WORLD_LOCAL_PODS, key))
		return err_set(err, -EINPROGRESS, "pod %s: the API server has not shown it yet", key);
	if (!world_find(policer, WORLD_NAMESPACES, request->pod_namespace))
		return err_set(err, -EINPROGRESS, "pod %s: the API server has not shown its namespace yet", key);
	return 0;
}

/* -- is there anything to enforce? -- */

static void event_release(struct event **event)
{
	if (*event)
		event_free(*event);
	*event = NULL;
}

static void let_go(struct policer *policer)
{
	attach_set_gate(policer->agent->attacher, NULL);
	event_release(&policer->dirty);
	event_release(&policer->retry);
	event_release(&policer->upkeep);
	drops_end(policer);
	events_end(policer);
	if (policer->verdicts)
		verdicts_free(policer->verdicts);
	policer->verdicts = NULL; /* it borrows from all that follows */
	local_free(policer);
	world_end(policer);
	express_end(policer);
	places_free(policer);
	hosts_end(policer);
	auto_hosts_end(policer);
	if (policer->plane)
		policy_plane_free(policer->plane);
	policer->plane = NULL;
}

/* Nothing of ours stays that nobody keeps up to date. */
static void turn_off(struct policer *policer, const char *why)
{
	struct err err = ERR_INIT;

	snprintf(policer->off, sizeof(policer->off), "%s", why);
	let_go(policer);
	if (policy_plane_remove(policer->agent->options.bpffs, &err) < 0 && err.code != -ENODEV)
		log_warning("policy: %s", err_text(&err));
	if (policer->agent->cni)
		cni_server_kick(policer->agent->cni);
}

static bool is_demanded(const struct policer *policer)
{
	return strcmp(policer->agent->options.policy, "on") == 0;
}

static void ignore(void *ctx, const json_t *object)
{
}

/* Watches wait for ever for what they may not see; ADDs cannot. */
static void on_probed(void *ctx, const struct objects_answer *answer)
{
	struct world *world = ctx;
	struct policer *policer = world->policer;
	char why[300];

	policer->probes[world->part] = NULL;
	policer->probing--;
	if (*policer->off)
		return;
	if (answer->rc == -EACCES && !is_demanded(policer)) {
		snprintf(why, sizeof(why), "this agent may not list %ss: %.200s", kind_title(world_traits[world->part].kind), answer->text);
		log_warning("policy: off: %s", why);
		turn_off(policer, why);
		return;
	}
	if (policer->probing == 0)
		world_begin(policer);
}

static void probe(struct policer *policer, enum world_part part)
{
	struct world *world = &policer->world[part];

	/* no object has this label: all that is asked is whether we may */
	policer->probes[part] = objects_list(policer->objects, world_traits[part].kind, "tulle.invalid/none=none", ignore, on_probed, world);
	if (policer->probes[part])
		policer->probing++;
}

static void probe_all(struct policer *policer)
{
	for (int i = 0; i < WORLD_PART_COUNT; i++)
		if (i != WORLD_PODS)
			probe(policer, i);
	if (!policer->probing)
		world_begin(policer);
}

/* -- life -- */

static int open_plane(struct policer *policer, struct err *err)
{
	const struct options *options = &policer->agent->options;
	struct policy_plane_options plane = {
		.bpffs = options->bpffs,
		.mark_pending = options_policy_mark(options, 0),
		.mark_host = options_policy_mark(options, 1),
		.mark_express = options_express_mark(options),
		.express = options_express_mark(options) != 0,
		/* Each program by tcx would cost its ADD a grace period of RCU: some ten milliseconds, twice. */
		.pods_by_clsact = true,
		.keep_established = strcmp(options->policy_established, "keep") == 0,
		.event = policer_event,
		.ctx = policer,
	};

	return policy_plane_new(&plane, &policer->plane, err);
}

static int open_parts(struct policer *policer, struct err *err)
{
	const struct timeval upkeep = {.tv_sec = UPKEEP_S};
	struct event_base *base = policer->agent->base;
	int rc = open_plane(policer, err);

	if (rc < 0)
		return rc;
	if (options_express_mark(&policer->agent->options))
		rc = express_begin(policer, err);
	else
		express_clear(policer);
	if (rc < 0)
		return rc;
	policer->endpoints = endpoint_pool_new();
	policer->dirty = event_new(base, -1, 0, on_dirty, policer);
	policer->retry = event_new(base, -1, 0, on_retry, policer);
	policer->upkeep = event_new(base, -1, EV_PERSIST, on_upkeep, policer);
	if (!policer->endpoints || !policer->dirty || !policer->retry || !policer->upkeep || events_begin(policer) < 0 ||
		verdicts_new(&policer->verdicts) < 0)
		return err_set(err, -ENOMEM, "policy: out of memory");
	event_add(policer->upkeep, &upkeep);
	return 0;
}

static void begin(struct policer *policer)
{
	struct attach_gate gate = local_gate;

	gate.ctx = policer;
	attach_set_gate(policer->agent->attacher, &gate);
	policer->links_due = true;
	hosts_begin(policer);
	local_sync(policer); /* what is not a pod's interface is an exit, and the first plan names these */
	places_follow(policer);
	if (policer->kubernetes)
		probe_all(policer);
	else
		world_begin(policer);
	policer_mark(policer);
}

static int decide(struct policer *policer, struct err *err)
{
	static const char nothing[] = "the store has no objects: Flannel's etcd holds leases only";
	struct err why = ERR_INIT;
	int rc;

	if (strcmp(policer->agent->options.policy, "off") == 0) {
		turn_off(policer, "--policy is off");
		return 0;
	}
	if (!policer->objects && is_demanded(policer))
		return err_set(err, -EINVAL, "--policy: the value is \"on\", but %s; expected auto or off", nothing);
	if (!policer->objects) {
		log_info("policy: off: %s", nothing);
		turn_off(policer, nothing);
		return 0;
	}
	rc = open_parts(policer, &why);
	if (rc == 0) {
		begin(policer);
		return 0;
	}
	if (is_demanded(policer))
		return err_set(err, rc, "--policy: the value is \"on\": %s", err_text(&why));
	log_warning("policy: off: %s", err_text(&why));
	turn_off(policer, err_text(&why));
	return 0;
}

int policer_new(struct agent *agent, struct objects *objects, bool kubernetes, struct policer **ret, struct err *err)
{
	struct policer *policer = calloc(1, sizeof(*policer));
	int rc;

	if (!policer)
		return err_set(err, -ENOMEM, "out of memory");
	policer->agent = agent;
	policer->objects = objects;
	policer->kubernetes = kubernetes;
	for (int i = 0; i < WORLD_PART_COUNT; i++)
		policer->world[i] = (struct world){.policer = policer, .part = i};
	rc = decide(policer, err);
	if (rc < 0) {
		policer_free(policer);
		return rc;
	}
	*ret = policer;
	return 0;
}

void policer_free(struct policer *policer)
{
	if (!policer)
		return;
	for (int i = 0; i < WORLD_PART_COUNT; i++)
		objects_cancel(policer->probes[i]);
	let_go(policer);
	if (policer->endpoints)
		endpoint_pool_free(policer->endpoints);
	free(policer);
}
