/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses of pods, from the pools that their annotations or their namespace's ask for (reference/calico.md 3.8): got
 * while the ADD waits for admission, handed over when the pod is attached, released when it is gone.
 */
#include "agent/calico_internal.h"

#include "base/cleanup.h"
#include "base/hash.h"
#include "model/workload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#define UNUSED_MAX_MS 30000 /* the runtime has given up long ago */
#define TURN_S 5

/* What an ADD has asked for. */
struct asking {
	struct calico *calico;
	char *key;    /* container id / interface */
	char *handle;
	int64_t since_ms;
	struct asked {
		struct asking *asking;
		struct ipam_call *call;
		bool wanted, done;
		struct addr addr;
	} families[FAMILY_COUNT];
	int rc;       /* of what failed first */
	char text[400];
	UT_hash_handle hh;
};

/* What a pod no longer has, and the store does not know yet. */
struct release {
	struct calico *calico;
	struct release *prev, *next;
	struct ipam_call *call;
	char *handle;
	struct addr addrs[FAMILY_COUNT];
	size_t count;
};

struct pod_addresses {
	struct asking *asking;
	struct release *releases;
	struct event *turn;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* -- releases -- */

static void release_free(struct release *release)
{
	DL_DELETE(release->calico->pods->releases, release);
	ipam_cancel(release->call);
	free(release->handle);
	free(release);
}

static void on_released(void *ctx, const struct ipam_result *result)
{
	struct release *release = ctx;
	struct problems *problems = release->calico->agent->problems;

	release->call = NULL;
	if (result->rc < 0 && result->rc != -ESTALE) {
		problems_set(problems, "IPAM release", result->text);
		return; /* the next turn tries again */
	}
	problems_set(problems, "IPAM release", NULL);
	release_free(release);
}

static void release_send(struct release *release)
{
	struct ipam_claim claims[FAMILY_COUNT] = {0};

	if (release->call)
		return;
	for (size_t i = 0; i < release->count; i++)
		claims[i] = (struct ipam_claim){.addr = release->addrs[i], .handle = release->handle};
	release->call = allocator_release(release->calico->allocator, claims, release->count, on_released, release);
}

static void release_later(struct calico *calico, const char *handle, const struct addr addrs[FAMILY_COUNT])
{
	struct release *release = calloc(1, sizeof(*release));

	if (!release)
		return; /* repair finds them */
	release->calico = calico;
	release->handle = strdup(handle);
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (addr_is_set(&addrs[f]))
			release->addrs[release->count++] = addrs[f];
	DL_APPEND(calico->pods->releases, release);
	if (!release->handle || !release->count)
		release_free(release);
	else
		release_send(release);
}

/* -- what an ADD asks for -- */

static void asking_free(struct asking *asking)
{
	HASH_DEL(asking->calico->pods->asking, asking);
	for (int f = 0; f < FAMILY_COUNT; f++)
		ipam_cancel(asking->families[f].call);
	free(asking->key);
	free(asking->handle);
	free(asking);
}

/* Addresses that are there go back; of a call under way repair takes care. */
static void asking_give_up(struct asking *asking)
{
	struct addr addrs[FAMILY_COUNT];

	for (int f = 0; f < FAMILY_COUNT; f++)
		addrs[f] = asking->families[f].addr;
	release_later(asking->calico, asking->handle, addrs);
	asking_free(asking);
}

static void on_turn(evutil_socket_t fd, short what, void *ctx)
{
	struct calico *calico = ctx;
	struct asking *asking, *next;
	struct release *release;

	HASH_ITER (hh, calico->pods->asking, asking, next)
		if (now_ms() - asking->since_ms > UNUSED_MAX_MS)
			asking_give_up(asking);
	DL_FOREACH(calico->pods->releases, release)
		release_send(release);
}

static void on_assigned(void *ctx, const struct ipam_result *result)
{
	struct asked *asked = ctx;
	struct asking *asking = asked->asking;

	asked->call = NULL;
	asked->done = true;
	if (result->count)
		asked->addr = result->addrs[0];
	if (result->rc < 0 && !asking->rc) {
		asking->rc = result->rc;
		snprintf(asking->text, sizeof(asking->text), "%s", result->text);
	}
	if (asking->calico->agent->cni)
		cni_server_kick(asking->calico->agent->cni);
}

/* -- wishes -- */

struct wishes {
	const struct workload *pod, *namespace;
	struct addr addr[FAMILY_COUNT]; /* these very ones */
};

/* In Kubernetes both are there, or will be in a moment; elsewhere pods need not be objects of the store. */
static int find_wishes(const struct calico *calico, const struct attach_request *request, struct wishes *ret, struct err *err)
{
	bool named = request->pod_namespace && request->pod_namespace[0] && request->pod_name && request->pod_name[0];
	char key[400];

	*ret = (struct wishes){0};
	if (!named)
		return 0;
	snprintf(key, sizeof(key), "%s/%s", request->pod_namespace, request->pod_name);
	ret->pod = collection_find(calico_store_part(calico->store, CALICO_PODS), key);
	ret->namespace = collection_find(calico_store_part(calico->store, CALICO_NAMESPACES), request->pod_namespace);
	if (!calico->pools)
		return err_set(err, -EINPROGRESS, "the pools have not been read yet");
	if (calico->kube && (!ret->pod || !ret->namespace))
		return err_set(err, -EINPROGRESS, "pod %s: the API server has not shown %s yet", key,
			ret->pod ? "its namespace" : "it");
	if (ret->pod && ret->pod->wish.bad)
		return err_set(err, -EINVAL, "%s", ret->pod->wish.bad);
	if (ret->namespace && ret->namespace->wish.bad)
		return err_set(err, -EINVAL, "%s", ret->namespace->wish.bad);
	if (ret->pod)
		memcpy(ret->addr, ret->pod->wish.addr, sizeof(ret->addr));
	return 0;
}

static bool wants(const struct calico *calico, const struct wishes *wishes, int f)
{
	const struct workload *said = wishes->pod && wishes->pod->wish.says_families ? wishes->pod : wishes->namespace;

	if (!calico->families[f])
		return false;
	if (addr_is_set(&wishes->addr[f]))
		return true;
	return said && said->wish.says_families ? said->wish.families[f] : true;
}

/* The CIDRs of the pools that are asked for by name or CIDR; *ret is null when none are. */
static int find_pools(const struct calico *calico, const struct wishes *wishes, int f, struct prefix **ret, size_t *ret_count,
	struct err *err)
{
	const struct workload *said = wishes->pod && wishes->pod->wish.pools[f] ? wishes->pod : wishes->namespace;
	_cleanup_free_ struct prefix *found = NULL;
	size_t count;

	*ret = NULL;
	*ret_count = 0;
	if (!said || !said->wish.pools[f])
		return 0;
	count = said->wish.pool_count[f];
	found = calloc(count, sizeof(*found));
	if (!found)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		const char *text = said->wish.pools[f][i];
		const struct ippool *pool = pools_find_name(calico->pools, text);

		if (pool)
			found[i] = pool->cidr;
		else if (prefix_parse(text, &found[i]) < 0)
			return err_set(err, -EINVAL, "annotation cni.projectcalico.org/ipv%dpools of %s: \"%.96s\" is neither the name of "
				"an IPPool nor a CIDR", f == FAMILY_4 ? 4 : 6, said->name, text);
	}
	*ret = TAKE_PTR(found);
	*ret_count = count;
	return 0;
}

/* -- asking -- */

static json_t *owner_attributes(const struct calico *calico, const struct attach_request *request)
{
	struct timespec now;
	char text[IPAM_TIME_MAX];
	json_t *attributes;

	clock_gettime(CLOCK_REALTIME, &now);
	attributes = json_pack("{s:s, s:s}", "node", calico->agent->options.node_name, "timestamp",
		ipam_timestamp((int64_t)now.tv_sec * 1000000000 + now.tv_nsec, text));
	if (attributes && request->pod_namespace && request->pod_namespace[0]) {
		json_object_set_new(attributes, "namespace", json_string(request->pod_namespace));
		json_object_set_new(attributes, "pod", json_string(request->pod_name ? request->pod_name : ""));
	}
	return attributes;
}

static int ask(struct asking *asking, int f, const struct wishes *wishes, json_t *attributes, struct err *err)
{
	struct calico *calico = asking->calico;
	struct asked *asked = &asking->families[f];
	_cleanup_free_ struct prefix *pools = NULL;
	struct ipam_assign assign = {
		.wish = {.family_index = f, .use = POOL_USE_WORKLOAD,
			.namespace_labels = wishes->namespace ? wishes->namespace->labels : NULL},
		.owner = {asking->handle, attributes},
		.count = 1,
	};
	int rc = find_pools(calico, wishes, f, &pools, &assign.wish.pool_count, err);

	if (rc < 0)
		return rc;
	assign.wish.pools = pools;
	asked->wanted = true;
	if (addr_is_set(&wishes->addr[f]))
		asked->call = allocator_assign_addr(calico->allocator, &wishes->addr[f], POOL_USE_WORKLOAD, &assign.owner,
			on_assigned, asked);
	else
		asked->call = allocator_assign(calico->allocator, &assign, on_assigned, asked);
	return asked->call ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int begin(struct calico *calico, const struct attach_request *request, const char *key, struct err *err)
{
	struct asking *asking = calloc(1, sizeof(*asking));
	_cleanup_(json_cleanup) json_t *attributes = NULL;
	char handle[IPAM_HANDLE_MAX];
	struct wishes wishes;
	int rc = find_wishes(calico, request, &wishes, err);

	if (rc == 0 && ipam_pod_handle(request->network, request->container_id, handle) < 0)
		rc = err_set(err, -EINVAL, "network %s: the name is too long for an IPAM handle", request->network);
	if (rc < 0 || !asking) {
		free(asking);
		return rc < 0 ? rc : err_set(err, -ENOMEM, "out of memory");
	}
	*asking = (struct asking){.calico = calico, .key = strdup(key), .handle = strdup(handle), .since_ms = now_ms()};
	attributes = owner_attributes(calico, request);
	if (!asking->key || !asking->handle || !attributes) {
		free(asking->key);
		free(asking->handle);
		free(asking);
		return err_set(err, -ENOMEM, "out of memory");
	}
	HASH_ADD_KEYPTR(hh, calico->pods->asking, asking->key, strlen(asking->key), asking);
	for (size_t i = 0; i < request->ip_count; i++)
		wishes.addr[family_index(addr_family(&request->ips[i]))] = request->ips[i];
	for (int f = 0; f < FAMILY_COUNT; f++)
		asking->families[f].asking = asking;
	for (int f = 0; rc == 0 && f < FAMILY_COUNT; f++)
		if (wants(calico, &wishes, f))
			rc = ask(asking, f, &wishes, attributes, err);
	if (rc < 0)
		asking_give_up(asking);
	return rc;
}

static struct asking *find(const struct calico *calico, const struct attach_request *request, char *key, size_t size)
{
	struct asking *asking;

	snprintf(key, size, "%s/%s", request->container_id, request->ifname);
	HASH_FIND_STR(calico->pods->asking, key, asking);
	return asking;
}

int calico_admit(struct calico *calico, const struct attach_request *request, struct err *err)
{
	char key[ATTACH_ID_MAX + IFNAMSIZ + 2];
	struct asking *asking = find(calico, request, key, sizeof(key));
	int rc = 0;

	if (attach_find(calico->agent->attacher, request->container_id, request->ifname))
		return 0; /* attach_add says so */
	if (!asking) {
		rc = begin(calico, request, key, err);
		return rc < 0 ? rc : err_set(err, -EINPROGRESS, "the store has not given an address yet");
	}
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (asking->families[f].wanted && !asking->families[f].done)
			return err_set(err, -EINPROGRESS, "the store has not given an address yet");
	if (asking->rc < 0) {
		rc = err_set(err, asking->rc, "%s", asking->text);
		asking_give_up(asking);
	}
	return rc;
}

/* -- attachment -- */

static bool serves(void *ctx, const struct attach_request *request, int f)
{
	char key[ATTACH_ID_MAX + IFNAMSIZ + 2];
	struct asking *asking = find(ctx, request, key, sizeof(key));

	return asking && asking->families[f].wanted;
}

static int take(void *ctx, const struct attach_request *request, int f, const struct addr *wish, struct addr *ret,
	struct err *err)
{
	char key[ATTACH_ID_MAX + IFNAMSIZ + 2], text[ADDR_TEXT_MAX];
	struct asking *asking = find(ctx, request, key, sizeof(key));
	bool left = false;

	if (!asking || !addr_is_set(&asking->families[f].addr))
		return err_set(err, -EAGAIN, "no address was got for %s", key);
	if (wish && !addr_equal(wish, &asking->families[f].addr))
		return err_set(err, -EINVAL, "requested address %s: IPAM gave another one", addr_format(wish, text));
	*ret = asking->families[f].addr;
	asking->families[f].addr = (struct addr){{0}};
	for (int other = 0; other < FAMILY_COUNT; other++)
		left |= addr_is_set(&asking->families[other].addr);
	if (!left)
		asking_free(asking);
	return 0;
}

static void give_back(void *ctx, const struct attachment *attachment, bool used)
{
	char handle[IPAM_HANDLE_MAX];

	if (ipam_pod_handle(attachment->network, attachment->container_id, handle) == 0)
		release_later(ctx, handle, attachment->addr);
}

const struct attach_source calico_pods_source = {.serves = serves, .take = take, .give_back = give_back};

/* -- life -- */

int calico_pods_init(struct calico *calico)
{
	const struct timeval every = {.tv_sec = TURN_S};

	calico->pods = calloc(1, sizeof(*calico->pods));
	if (!calico->pods)
		return -ENOMEM;
	calico->pods->turn = event_new(calico->agent->base, -1, EV_PERSIST, on_turn, calico);
	return calico->pods->turn && event_add(calico->pods->turn, &every) == 0 ? 0 : -ENOMEM;
}

void calico_pods_free(struct calico *calico)
{
	struct pod_addresses *pods = calico->pods;
	struct release *release, *next_release;
	struct asking *asking, *next;

	if (!pods)
		return;
	HASH_ITER (hh, pods->asking, asking, next)
		asking_free(asking);
	DL_FOREACH_SAFE(pods->releases, release, next_release)
		release_free(release);
	if (pods->turn)
		event_free(pods->turn);
	free(pods);
	calico->pods = NULL;
}
