/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses of pods: taken from the batch (ipam/reserve.h) while the ADD is being admitted, handed over when the pod is
 * attached, given back when it is gone. Nothing here waits for the store but an ADD for which there is nothing at hand.
 */
#include "agent/calico/internal.h"

#include "base/cleanup.h"
#include "base/hash.h"
#include "model/workload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UNUSED_MAX_MS 10000 /* no ADD waits that long */
#define TURN_S 5
/* An ADD that is not an attachment yet has an owner's number that no attachment ever has. */
#define ASKING 0x8000000000000000u

/* What an ADD has got until its pod is attached. */
struct asking {
	struct calico *calico;
	char *key; /* container id / interface */
	struct calico_owner owner;
	uint64_t number;
	int64_t since_us;
	bool wanted[FAMILY_COUNT], wished[FAMILY_COUNT];
	struct addr addr[FAMILY_COUNT];
	UT_hash_handle hh;
};

struct pod_addresses {
	struct asking *asking;
	uint64_t number; /* given last */
	struct event *turn;
};

/* -- what an ADD asks for -- */

static void asking_free(struct asking *asking)
{
	if (asking->key)
		HASH_DEL(asking->calico->pods->asking, asking);
	calico_owner_done(&asking->owner);
	free(asking->key);
	free(asking);
}

static void asking_give_up(struct asking *asking)
{
	struct reserve *reserve = asking->calico->reserve;

	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&asking->addr[f]) && asking->wished[f])
			reserve_return(reserve, &asking->addr[f], asking->number);
		else if (addr_is_set(&asking->addr[f]))
			reserve_drop(reserve, &asking->addr[f], asking->number);
	}
	asking_free(asking);
}

static void on_turn(evutil_socket_t fd, short what, void *ctx)
{
	struct calico *calico = ctx;
	struct asking *asking, *next;

	HASH_ITER (hh, calico->pods->asking, asking, next)
		if (agent_now_us() - asking->since_us > UNUSED_MAX_MS * INT64_C(1000))
			asking_give_up(asking);
}

static struct asking *asking_find(const struct calico *calico, const struct attach_request *request)
{
	char key[ATTACH_ID_MAX + IFNAMSIZ + 2];
	struct asking *asking;

	snprintf(key, sizeof(key), "%s/%s", request->container_id, request->ifname);
	HASH_FIND_STR(calico->pods->asking, key, asking);
	return asking;
}

static int asking_new(struct calico *calico, const struct attach_request *request, struct asking **ret, struct err *err)
{
	struct asking *asking = calloc(1, sizeof(*asking));
	int rc;

	if (!asking)
		return err_set(err, -ENOMEM, "out of memory");
	asking->calico = calico;
	asking->since_us = agent_now_us();
	asking->number = ASKING | ++calico->pods->number;
	rc = calico_owner_make(calico, request->network, request->container_id, request->pod_namespace, request->pod_name,
		&asking->owner, err);
	if (rc == 0 && asprintf(&asking->key, "%s/%s", request->container_id, request->ifname) < 0) {
		asking->key = NULL;
		rc = err_set(err, -ENOMEM, "out of memory");
	}
	if (rc < 0) {
		asking_free(asking);
		return rc;
	}
	HASH_ADD_KEYPTR(hh, calico->pods->asking, asking->key, strlen(asking->key), asking);
	*ret = asking;
	return 0;
}

static int draw(struct asking *asking, const struct calico_wishes *wishes, int f, struct err *err)
{
	struct calico *calico = asking->calico;
	struct ipam_owner owner = {asking->owner.handle, asking->owner.attributes};
	_cleanup_free_ struct prefix *pools = NULL;
	struct ipam_wish wish = {.family_index = f, .use = POOL_USE_WORKLOAD,
		.namespace_labels = wishes->namespace ? wishes->namespace->labels : NULL};
	int rc;

	asking->wished[f] = addr_is_set(&wishes->addr[f]);
	if (asking->wished[f]) {
		rc = reserve_take_wish(calico->reserve, &wishes->addr[f], POOL_USE_WORKLOAD, asking->number, &owner, err);
		if (rc == 0)
			asking->addr[f] = wishes->addr[f];
		return rc;
	}
	rc = calico_wishes_pools(calico, wishes, f, &pools, &wish.pool_count, err);
	if (rc < 0)
		return rc;
	wish.pools = pools;
	return reserve_take(calico->reserve, &wish, asking->number, &owner, &asking->addr[f], err);
}

int calico_admit(struct calico *calico, const struct attach_request *request, struct err *err)
{
	struct asking *asking = asking_find(calico, request);
	struct calico_wishes wishes;
	int rc;

	if (attach_find(calico->agent->attacher, request->container_id, request->ifname))
		return 0; /* attach_add says so */
	rc = calico_wishes_find(calico, request, &wishes, err);
	if (rc == 0 && !asking)
		rc = asking_new(calico, request, &asking, err);
	for (int f = 0; rc == 0 && f < FAMILY_COUNT; f++) {
		asking->wanted[f] = wishes.families[f];
		if (wishes.families[f] && !addr_is_set(&asking->addr[f]))
			rc = draw(asking, &wishes, f, err);
	}
	if (rc == -EAGAIN && err)
		err->code = -EINPROGRESS;
	if (rc == -EAGAIN)
		return -EINPROGRESS;
	if (rc < 0 && rc != -EINPROGRESS && asking)
		asking_give_up(asking);
	return rc;
}

/* -- attachment -- */

static bool serves(void *ctx, const struct attach_request *request, int f)
{
	struct asking *asking = asking_find(ctx, request);

	return asking && asking->wanted[f];
}

static int take(void *ctx, const struct attach_request *request, int f, const struct addr *wish, struct attachment *to,
	struct err *err)
{
	struct calico *calico = ctx;
	struct asking *asking = asking_find(calico, request);
	char text[ADDR_TEXT_MAX];
	bool left = false;

	if (!asking || !addr_is_set(&asking->addr[f]))
		return err_set(err, -EAGAIN, "container %s: it was given no address", request->container_id);
	if (wish && !addr_equal(wish, &asking->addr[f]))
		return err_set(err, -EINVAL, "requested address %s: IPAM gave another one", addr_format(wish, text));
	to->addr[f] = asking->addr[f];
	to->wished[f] = asking->wished[f];
	reserve_pass(calico->reserve, &to->addr[f], asking->number, to->serial);
	asking->addr[f] = (struct addr){{0}};
	for (int other = 0; other < FAMILY_COUNT; other++)
		left |= addr_is_set(&asking->addr[other]);
	if (!left)
		asking_free(asking);
	return 0;
}

static void give_back(void *ctx, const struct attachment *attachment, bool used)
{
	struct calico *calico = ctx;

	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!addr_is_set(&attachment->addr[f]))
			continue;
		if (attachment->wished[f])
			reserve_return(calico->reserve, &attachment->addr[f], attachment->serial);
		else if (used)
			reserve_rest(calico->reserve, &attachment->addr[f], attachment->serial);
		else
			reserve_drop(calico->reserve, &attachment->addr[f], attachment->serial);
		calico_batch_forget(calico, &attachment->addr[f]);
	}
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
	struct asking *asking, *next;

	if (!pods)
		return;
	HASH_ITER (hh, pods->asking, asking, next)
		asking_free(asking);
	if (pods->turn)
		event_free(pods->turn);
	free(pods);
	calico->pods = NULL;
}
