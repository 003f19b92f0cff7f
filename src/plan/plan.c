/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/plan_internal.h"

#include "base/cleanup.h"

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
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = complaints_add(&result->complaints, lease->key, fmt, ap);
	va_end(ap);
	return r;
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
		complaints_join(&result.complaints);
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
	complaints_done(&result->complaints);
	*result = (struct plan_result){0};
}
