/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/plan_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool plan_has(const struct plan_input *input, int f)
{
	return network_has(input->network, f) && prefix_is_set(&input->own->subnet[f]);
}

unsigned plan_outer_mtu(const struct plan_input *input)
{
	return input->network->mtu ? input->network->mtu : input->uplink.mtu;
}

bool plan_on_link(const struct plan_uplink *uplink, const struct addr *addr)
{
	for (size_t i = 0; i < uplink->on_link_count; i++)
		if (prefix_contains(&uplink->on_link[i], addr))
			return true;
	return false;
}

int plan_complain(struct plan_result *result, const struct lease *lease, const char *fmt, ...)
{
	struct plan_complaint *complaint;
	va_list ap;

	if (result->complaint_count == result->complaint_room) {
		size_t room = result->complaint_room ? result->complaint_room * 2 : 8;

		complaint = reallocarray(result->complaints, room, sizeof(*complaint));
		if (!complaint)
			return -ENOMEM;
		result->complaints = complaint;
		result->complaint_room = room;
	}
	complaint = &result->complaints[result->complaint_count++];
	memcpy(complaint->key, lease->key, sizeof(complaint->key));
	va_start(ap, fmt);
	vsnprintf(complaint->text, sizeof(complaint->text), fmt, ap);
	va_end(ap);
	return 0;
}

static int complaint_compare(const void *a, const void *b)
{
	const struct plan_complaint *one = a, *other = b;
	int d = strcmp(one->key, other->key);

	return d ? d : strcmp(one->text, other->text);
}

/* One complaint a lease: what it has in two families is joined. */
static void complaints_finish(struct plan_result *result)
{
	size_t n = 0;

	if (result->complaint_count == 0)
		return;
	qsort(result->complaints, result->complaint_count, sizeof(*result->complaints), complaint_compare);
	for (size_t i = 1; i < result->complaint_count; i++) {
		struct plan_complaint *last = &result->complaints[n];
		struct plan_complaint next = result->complaints[i];
		size_t len = strlen(last->text);

		if (strcmp(last->key, next.key) == 0)
			snprintf(last->text + len, sizeof(last->text) - len, "; %s", next.text);
		else
			result->complaints[++n] = next;
	}
	result->complaint_count = n + 1;
}

static int plan_peer_routes(const struct plan_input *input, struct plan_result *result)
{
	_cleanup_free_ struct plan_peer *peers = NULL;
	size_t count = 0;
	int r = plan_peers(input, result, &peers, &count);

	if (r < 0)
		return r;
	switch (input->network->encap) {
	case ENCAP_VXLAN:
		r = plan_vxlan(input, peers, count, result);
		return r == 0 ? plan_guard(input, peers, count, result) : r;
	case ENCAP_UDP:
		return plan_udp(input, peers, count, result);
	case ENCAP_NONE:
		return plan_routes(input, peers, count, result);
	}
	return 0;
}

int plan_build(const struct plan_input *input, struct plan_result *ret)
{
	struct plan_result result = {0};
	int r = 0;

	wanted_init(&result.wanted);
	if (input->own) {
		result.wanted.sweep = input->peers_complete;
		result.wanted.carrier.keep_stale = !input->peers_complete;
		if (input->network->routed)
			r = plan_peer_routes(input, &result);
		if (r == 0)
			r = plan_pods(input, &result);
		if (r == 0)
			r = plan_nft(input, &result);
		if (r == 0)
			r = wanted_finish(&result.wanted);
		complaints_finish(&result);
	}
	if (r < 0)
		plan_result_free(&result);
	else
		*ret = result;
	return r;
}

void plan_result_free(struct plan_result *result)
{
	wanted_free(&result->wanted);
	free(result->complaints);
	*result = (struct plan_result){0};
}
