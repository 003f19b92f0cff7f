/* SPDX-License-Identifier: Apache-2.0
 *
 * Which addresses a pod gets: from this node's block by ipam.h, or from a source that the agent has set (Calico's pools).
 * ipam.h knows all addresses in use either way, so that none is ever given to two pods of this node.
 */
#include "attach/attach_internal.h"

#include "attach/attach_link.h"
#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

int attach_set_pools(struct attacher *attacher, const struct attach_pools *pools)
{
	struct prefix *cidrs = calloc(pools->cidr_count + 1, sizeof(*cidrs));
	struct err err = ERR_INIT;

	if (!cidrs)
		return -ENOMEM;
	for (size_t i = 0; i < pools->cidr_count; i++)
		cidrs[i] = pools->cidrs[i];
	free(attacher->pools);
	attacher->pools = cidrs;
	attacher->pool_count = pools->cidr_count;
	attacher->source = pools->source;
	attacher->mtu = pools->mtu;
	memcpy(attacher->families, pools->families, sizeof(attacher->families));
	attacher->ready = true;
	if (podlink_forwarding(attacher->families[FAMILY_4], attacher->families[FAMILY_6], &err) < 0)
		attach_report(attacher, "%s", err_text(&err));
	return 0;
}

static int from_block(struct attacher *attacher, int f, const struct addr *wish, uint64_t serial, struct addr *ret,
	struct err *err)
{
	int rc = wish ? ipam_take_wish(attacher->ipam, wish, serial, attach_now(), err)
		      : ipam_take(attacher->ipam, f, serial, attach_now(), ret, err);

	if (rc == 0 && wish)
		*ret = *wish;
	return rc;
}

/* On failure what was taken stays in to: it is given back with the rest. */
static int from_source(struct attacher *attacher, const struct attach_request *request, int f, const struct addr *wish,
	struct attachment *to, struct err *err)
{
	struct attach_source *source = &attacher->source;
	const struct addr *addr = &to->addr[f];
	char text[ADDR_TEXT_MAX];
	uint64_t before;
	int rc = source->take(source->ctx, request, f, wish, to, err);

	if (rc < 0)
		return rc;
	before = ipam_hold(attacher->ipam, addr, to->serial, &rc);
	if (before) { /* the journal knows better than whoever gave it */
		ipam_hold(attacher->ipam, addr, before, &rc);
		return err_set(err, -EAGAIN, "address %s: another pod of this node has it", addr_format(addr, text));
	}
	return rc < 0 ? err_set(err, rc, "no memory for an attachment") : 0;
}

static int take(struct attacher *attacher, struct attachment *to, const struct attach_request *request, int f,
	const struct addr *wish, uint64_t serial, struct err *err)
{
	if (attacher->source.take)
		return from_source(attacher, request, f, wish, to, err);
	return from_block(attacher, f, wish, serial, &to->addr[f], err);
}

static bool serves(struct attacher *attacher, const struct attach_request *request, int f)
{
	if (attacher->source.take)
		return attacher->families[f] && attacher->source.serves(attacher->source.ctx, request, f);
	return ipam_has_block(attacher->ipam, f);
}

static int take_wishes(struct attacher *attacher, struct attachment *to, const struct attach_request *request,
	uint64_t serial, struct err *err)
{
	for (size_t i = 0; i < request->ip_count && i < ARRAY_SIZE(request->ips); i++) {
		const struct addr *wish = &request->ips[i];
		int f = family_index(addr_family(wish)), rc;
		char text[ADDR_TEXT_MAX];

		if (addr_is_set(&to->addr[f]))
			return err_set(err, -EINVAL,
				"requested address %s: a second one of its family, expected at most one",
				addr_format(wish, text));
		rc = take(attacher, to, request, f, wish, serial, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int attach_take_addresses(struct attacher *attacher, struct attachment *to, const struct attach_request *request,
	uint64_t serial, struct err *err)
{
	int rc = take_wishes(attacher, to, request, serial, err);

	for (int f = 0; rc == 0 && f < FAMILY_COUNT; f++) {
		if (serves(attacher, request, f) && !addr_is_set(&to->addr[f]))
			rc = take(attacher, to, request, f, NULL, serial, err);
	}
	if (rc < 0)
		attach_drop_addresses(attacher, to, serial);
	return rc;
}

/* -- questions -- */

struct each_resting {
	void (*each)(void *ctx, const struct addr *addr, int64_t until);
	void *ctx;
	int64_t rest_ms;
};

static int tell_resting(void *ctx, const struct addr *addr, int64_t since)
{
	const struct each_resting *tell = ctx;

	tell->each(tell->ctx, addr, since + tell->rest_ms);
	return 0;
}

void attach_each_resting(struct attacher *attacher,
	void (*each)(void *ctx, const struct addr *addr, int64_t until), void *ctx)
{
	struct each_resting tell = {each, ctx, (int64_t)attacher->options.cooldown_s * 1000};

	ipam_each_resting(attacher->ipam, attach_now(), tell_resting, &tell);
}

bool attach_lives_at(struct attacher *attacher, const struct addr *addr)
{
	int f = family_index(addr_family(addr));
	struct attach_pod *pod, *next;

	HASH_ITER(hh, attacher->pods, pod, next)
	{
		if (addr_equal(&pod->addr[f], addr))
			return true;
	}
	return podlink_owns(attacher->nl, addr);
}

/* -- giving back -- */

static void give_back(struct attacher *attacher, const struct attachment *attachment, bool used)
{
	bool any = addr_is_set(&attachment->addr[FAMILY_4]) || addr_is_set(&attachment->addr[FAMILY_6]);

	if (any && attacher->source.give_back)
		attacher->source.give_back(attacher->source.ctx, attachment, used);
}

void attach_drop_addresses(struct attacher *attacher, const struct attachment *attachment, uint64_t serial)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&attachment->addr[f]))
			ipam_drop(attacher->ipam, &attachment->addr[f], serial);
	}
	give_back(attacher, attachment, false);
}

void attach_rest_addresses(struct attacher *attacher, const struct attach_pod *pod, int64_t now)
{
	struct attachment attachment;

	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&pod->addr[f]))
			ipam_rest(attacher->ipam, &pod->addr[f], pod->serial, now);
	}
	attach_bridge_pod(attacher, pod->addr, false);
	if (!attacher->source.give_back)
		return;
	attach_pod_read(pod, &attachment);
	give_back(attacher, &attachment, true);
}
