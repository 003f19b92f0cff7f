/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods of this node: each attachment has the programs at its interface and an entry with its tables, or nothing passes.
 *
 * An attachment with a pod's name is that pod's. Where the store has no such object (in a directory, or etcd), the pod is known
 * by namespace and name, without labels: what applies to its whole namespace applies to it. Without a name nothing applies,
 * but it still sends from its own addresses only.
 */
#include "agent/policy/internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_named(const struct local_pod *local)
{
	return *local->namespace && *local->name;
}

static void make_key(const char *namespace, const char *name, char ret[static 400])
{
	snprintf(ret, 400, "%s/%s", namespace, name);
}

static const struct endpoint *object_of(const struct policer *policer, const struct local_pod *local)
{
	char key[400];

	make_key(local->namespace, local->name, key);
	return world_find(policer, WORLD_LOCAL_PODS, key);
}

static struct local_pod *find_named(const struct policer *policer, const char *namespace, const char *name, const struct local_pod *but)
{
	for (struct local_pod *local = policer->pods; local; local = local->hh.next)
		if (local != but && strcmp(local->name, name) == 0 && strcmp(local->namespace, namespace) == 0)
			return local;
	return NULL;
}

/* -- what stands for an object that is not there -- */

static void drop_made(struct policer *policer, struct local_pod *local)
{
	if (local->made)
		endpoint_free(policer->endpoints, &local->made);
}

static int stand_in(struct policer *policer, struct local_pod *local)
{
	struct endpoint_parts parts = {.namespace = local->namespace, .name = local->name, .service_account = "default",
		.node = policer->agent->options.node_name};
	struct endpoint *made;
	int rc;

	if (policer->kubernetes || !is_named(local) || object_of(policer, local))
		return 0;
	memcpy(parts.addr, local->pod.addr, sizeof(parts.addr));
	made = endpoint_new(policer->endpoints, &parts);
	if (!made)
		return -ENOMEM;
	rc = verdicts_put_endpoint(policer->verdicts, made);
	if (rc < 0) {
		endpoint_free(policer->endpoints, &made);
		return rc;
	}
	drop_made(policer, local);
	local->made = made;
	return 0;
}

void local_object(struct policer *policer, const char *namespace, const char *name, const struct endpoint *endpoint)
{
	for (struct local_pod *local = policer->pods; local; local = local->hh.next) {
		if (strcmp(local->name, name) != 0 || strcmp(local->namespace, namespace) != 0)
			continue;
		local->put = false; /* what it may send from is in the object */
		if (endpoint)
			drop_made(policer, local);
		else
			stand_in(policer, local);
	}
}

/* -- the list -- */

static void local_pod_free(struct policer *policer, struct local_pod *local)
{
	if (!local)
		return;
	drop_made(policer, local);
	free(local->namespace);
	free(local->name);
	free(local);
}

/* A pod may have several interfaces, or a new sandbox beside one that is going. */
static void leave(struct policer *policer, struct local_pod *local)
{
	struct local_pod *other = is_named(local) ? find_named(policer, local->namespace, local->name, local) : NULL;

	HASH_DEL(policer->pods, local);
	if (other) {
		verdicts_attach(policer->verdicts, other->namespace, other->name, other->pod.addr);
		if (local->made && stand_in(policer, other) < 0)
			verdicts_remove_endpoint(policer->verdicts, other->namespace, other->name);
	} else if (is_named(local)) {
		verdicts_detach(policer->verdicts, local->namespace, local->name);
		if (local->made)
			verdicts_remove_endpoint(policer->verdicts, local->namespace, local->name);
	}
	local_pod_free(policer, local);
	policer_mark(policer);
}

static struct local_pod *local_pod_new(const struct attachment *attachment, uint32_t index)
{
	struct local_pod *local = calloc(1, sizeof(*local));

	if (!local)
		return NULL;
	memcpy(local->host_ifname, attachment->host_ifname, IFNAMSIZ);
	local->pod.ifindex = index;
	local->pod.serial = (uint32_t)attachment->serial;
	local->pod.mac = attachment->mac;
	local->pod.flags = attachment->bandwidth.ingress_rate ? POLICY_ENDPOINT_SHAPED : 0;
	memcpy(local->pod.addr, attachment->addr, sizeof(local->pod.addr));
	local->namespace = strdup(attachment->pod_namespace);
	local->name = strdup(attachment->pod_name);
	if (local->namespace && local->name)
		return local;
	local_pod_free(NULL, local);
	return NULL;
}

static int enter(struct policer *policer, const struct attachment *attachment, uint32_t index, struct local_pod **ret)
{
	struct local_pod *local = local_pod_new(attachment, index);
	int rc = local ? stand_in(policer, local) : -ENOMEM;

	if (rc == 0 && is_named(local))
		rc = verdicts_attach(policer->verdicts, local->namespace, local->name, local->pod.addr);
	if (rc < 0) {
		local_pod_free(policer, local);
		return rc;
	}
	HASH_ADD_STR(policer->pods, host_ifname, local);
	*ret = local;
	return 0;
}

/* -- the kernel -- */

static int put(struct policer *policer, struct local_pod *local, const uint64_t tables[static POLICY_DIRECTION_COUNT], struct err *err)
{
	const struct endpoint *object = is_named(local) ? object_of(policer, local) : NULL;
	struct policy_pod pod = local->pod;
	int rc;

	memcpy(pod.tables, tables, sizeof(pod.tables));
	if (object) {
		pod.allowed_sources = object->allowed_sources;
		pod.allowed_source_count = object->allowed_source_count;
	}
	rc = policy_plane_put_pod(policer->plane, &pod, err);
	if (rc < 0)
		return rc;
	memcpy(local->pod.tables, tables, sizeof(local->pod.tables));
	local->put = true;
	if (local->guarded)
		return 0;
	rc = policy_plane_guard_running_pod(policer->plane, local->pod.ifindex, err);
	local->guarded = rc == 0;
	return rc;
}

int local_put(struct policer *policer, bool all, struct err *err)
{
	for (struct local_pod *local = policer->pods; local; local = local->hh.next) {
		uint64_t tables[POLICY_DIRECTION_COUNT] = {0};
		int rc;

		if (is_named(local) && !verdicts_tables(policer->verdicts, local->namespace, local->name, tables))
			continue;
		if (!all && local->put && local->guarded && memcmp(tables, local->pod.tables, sizeof(tables)) == 0)
			continue;
		rc = put(policer, local, tables, err);
		if (rc == -ENODEV) /* gone without a DEL */
			continue;
		if (rc < 0)
			return err_wrap(err, "pod %s/%s, interface %s", local->namespace, local->name, local->host_ifname);
	}
	return 0;
}

int local_keep(struct policer *policer, struct err *err)
{
	size_t count = 0;
	_cleanup_free_ uint32_t *indexes = calloc(HASH_COUNT(policer->pods) + 1, sizeof(*indexes));

	if (!indexes)
		return err_set(err, -ENOMEM, "policy: out of memory");
	for (struct local_pod *local = policer->pods; local; local = local->hh.next)
		indexes[count++] = local->pod.ifindex;
	return policy_plane_keep_pods(policer->plane, indexes, count, err);
}

size_t local_check(struct policer *policer)
{
	char name[IF_NAMESIZE];
	size_t lost = 0;

	for (struct local_pod *local = policer->pods; local; local = local->hh.next)
		if (local->guarded && !policy_plane_check_pod(policer->plane, local->pod.ifindex) &&
			if_indextoname(local->pod.ifindex, name)) {
			local->guarded = false;
			lost++;
		}
	return lost;
}

/* -- attachments -- */

struct sync {
	struct policer *policer;
	bool failed;
};

static bool is_same(const struct local_pod *local, const struct attachment *attachment, uint32_t index)
{
	return local->pod.serial == (uint32_t)attachment->serial && local->pod.ifindex == index &&
		memcmp(local->pod.addr, attachment->addr, sizeof(local->pod.addr)) == 0 &&
		strcmp(local->name, attachment->pod_name) == 0;
}

static void sync_one(void *ctx, const struct attachment *attachment)
{
	struct sync *sync = ctx;
	uint32_t index = if_nametoindex(attachment->host_ifname);
	struct local_pod *local;

	HASH_FIND_STR(sync->policer->pods, attachment->host_ifname, local);
	if (local && !is_same(local, attachment, index)) {
		leave(sync->policer, local);
		local = NULL;
	}
	if (!local && index && enter(sync->policer, attachment, index, &local) < 0)
		sync->failed = true;
	if (local)
		local->seen = true;
}

void local_sync(struct policer *policer)
{
	struct sync sync = {.policer = policer};
	struct local_pod *local, *next;

	for (local = policer->pods; local; local = local->hh.next)
		local->seen = false;
	attach_each(policer->agent->attacher, sync_one, &sync);
	HASH_ITER (hh, policer->pods, local, next)
		if (!local->seen) {
			policy_plane_remove_pod(policer->plane, local->pod.ifindex, NULL);
			leave(policer, local);
		}
	policer->pods_due = sync.failed;
}

/* -- the gate -- */

static int on_made(void *ctx, const struct attachment *attachment, uint32_t index, struct err *err)
{
	struct policer *policer = ctx;

	if (!policer->in_force)
		return err_set(err, -EAGAIN, "policy: %s", policer->waiting);
	return policy_plane_guard_pod(policer->plane, index, err);
}

static int on_ready(void *ctx, const struct attachment *attachment, uint32_t index, struct err *err)
{
	struct policer *policer = ctx;
	struct local_pod *local;
	int rc;

	HASH_FIND_STR(policer->pods, attachment->host_ifname, local);
	if (local)
		leave(policer, local);
	rc = enter(policer, attachment, index, &local);
	if (rc < 0)
		return err_set(err, rc, "policy: out of memory");
	local->guarded = true;
	return policer_pass(policer, err);
}

static void on_gone(void *ctx, const char *host_ifname)
{
	struct policer *policer = ctx;
	uint32_t index = if_nametoindex(host_ifname);
	struct local_pod *local;

	HASH_FIND_STR(policer->pods, host_ifname, local);
	if (local)
		index = local->pod.ifindex;
	if (index)
		policy_plane_remove_pod(policer->plane, index, NULL);
	if (local)
		leave(policer, local);
}

const struct attach_gate local_gate = {.made = on_made, .ready = on_ready, .gone = on_gone};

void local_free(struct policer *policer)
{
	struct local_pod *local, *next;

	HASH_ITER (hh, policer->pods, local, next) {
		HASH_DEL(policer->pods, local);
		local_pod_free(policer, local);
	}
}
