/* SPDX-License-Identifier: Apache-2.0
 *
 * BGPPeer (reference/calico.md 2.5), and the annotation tulle/bfd on it.
 */
#include "resources/read.h"

#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BFD_ANNOTATION "tulle/bfd"
#define BFD_INTERVAL_MAX 60000 /* milliseconds */
#define RESTART_TIME_MAX 4095  /* seconds, RFC 4724 section 3 */
#define KEEPALIVE_MAX 21845    /* seconds: a third of the longest hold time, RFC 4271 section 4.2 */

static const char *const members[] = {
	"node", "nodeSelector", "peerIP", "peerSelector", "localWorkloadSelector", "asNumber", "localASNumber",
	"keepOriginalNextHop", "nextHopMode", "password", "sourceAddress", "maxRestartTime", "keepaliveTime",
	"numAllowedLocalASNumbers", "ttlSecurity", "reachableBy", "filters", "reversePeering", NULL,
};

/* -- who peers with whom -- */

static int read_local(const struct calico_at *at, struct bgp_peer *peer)
{
	const char *text = json_string_value(json_object_get(at->json, "nodeSelector"));
	int rc = calico_copy(at, "node", &peer->node);

	if (rc == 1 && !calico_name_is_sane(peer->node))
		rc = calico_wrong(at, "node", "a node's name");
	if (rc >= 0 && (!text || *text))
		rc = calico_selector(at, "nodeSelector", &peer->node_selector);
	if (rc >= 0 && peer->node && peer->node_selector)
		rc = calico_wrong(at, "nodeSelector", "nothing, because spec.node is given: one of the two");
	return rc < 0 ? rc : 0;
}

/* "192.0.2.1", "192.0.2.1:179", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:179" */
static bool parse_peer_ip(const char *text, struct addr *ret, uint16_t *ret_port)
{
	const char *colon = strrchr(text, ':'), *host = text;
	char copy[ADDR_TEXT_MAX + 2];
	size_t len = strlen(text);
	unsigned port = 0;
	char rest;

	if (addr_parse(text, ret) == 0)
		return true;
	if (colon && (text[0] != '[' || (colon > text && colon[-1] == ']'))) {
		if (strlen(colon + 1) > 5 || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
			sscanf(colon + 1, "%5u%c", &port, &rest) != 1 || !port || port > UINT16_MAX)
			return false;
		len = (size_t)(colon - text);
	}
	if (text[0] == '[') {
		if (len < 2 || text[len - 1] != ']')
			return false;
		host++;
		len -= 2;
	}
	if (len >= sizeof(copy))
		return false;
	memcpy(copy, host, len);
	copy[len] = 0;
	/* with a port, IPv6 needs its brackets */
	if (addr_parse(copy, ret) < 0 || (text[0] == '[') != (addr_family(ret) == AF_INET6))
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

static int read_peer_ip(const struct calico_at *at, struct bgp_peer *peer)
{
	const char *text = "";
	struct addr addr = {0};
	int rc = calico_text(at, "peerIP", &text);

	if (rc < 0 || !*text)
		return rc < 0 ? rc : 0;
	if (!parse_peer_ip(text, &addr, &peer->peer_port) || addr_is_multicast(&addr))
		return calico_wrong(at, "peerIP", "an address, with a port or without: 192.0.2.1, 192.0.2.1:179, [2001:db8::1]:179");
	peer->peer_ip = addr;
	return 0;
}

static int read_remote(const struct calico_at *at, struct bgp_peer *peer)
{
	const char *selector = json_string_value(json_object_get(at->json, "peerSelector"));
	const json_t *workloads = json_object_get(at->json, "localWorkloadSelector");
	int rc = read_peer_ip(at, peer);

	if (rc >= 0 && (!selector || *selector))
		rc = calico_selector(at, "peerSelector", &peer->peer_selector);
	if (rc < 0)
		return rc;
	if (workloads && !json_is_null(workloads) && !(json_is_string(workloads) && !json_string_length(workloads)))
		return calico_wrong(at, "localWorkloadSelector", "nothing: Tulle has no BGP sessions to local pods");
	if (addr_is_set(&peer->peer_ip) && peer->peer_selector)
		return calico_wrong(at, "peerSelector", "nothing, because spec.peerIP is given: one of the two");
	if (!addr_is_set(&peer->peer_ip) && !peer->peer_selector)
		return calico_wrong(at, "peerIP", "an address, or spec.peerSelector instead");
	return 0;
}

/* Zero is how Go writes a number that nobody gave. */
static int read_number(const struct calico_at *at, const char *key, uint32_t *ret)
{
	const json_t *number = json_object_get(at->json, key);

	return json_is_integer(number) && json_integer_value(number) == 0 ? 0 : calico_as_number(at, key, ret);
}

static int read_numbers(const struct calico_at *at, struct bgp_peer *peer)
{
	int rc = read_number(at, "asNumber", &peer->as_number);

	if (rc >= 0 && !peer->as_number && !peer->peer_selector)
		rc = calico_wrong(at, "asNumber", "the AS number of spec.peerIP, 1 to 4294967295");
	if (rc >= 0 && peer->as_number && peer->peer_selector) {
		calico_remark(at, "spec.asNumber has no effect beside spec.peerSelector: nodes have their own");
		peer->as_number = 0;
	}
	if (rc >= 0)
		rc = read_number(at, "localASNumber", &peer->local_as_number);
	return rc < 0 ? rc : 0;
}

/* -- how -- */

static int read_next_hop(const struct calico_at *at, struct bgp_peer *peer)
{
	static const char *const modes[] = {
		[NEXT_HOP_AUTO] = "Auto", [NEXT_HOP_SELF] = "Self", [NEXT_HOP_KEEP] = "Keep", NULL,
	};
	int mode = NEXT_HOP_AUTO, rc = calico_choice(at, "nextHopMode", modes, &mode);
	bool said = rc == 1;

	if (rc >= 0)
		rc = calico_bool(at, "keepOriginalNextHop", &peer->keep_original_next_hop);
	if (rc >= 0 && said && peer->keep_original_next_hop) {
		calico_remark(at, "spec.keepOriginalNextHop has no effect beside spec.nextHopMode");
		peer->keep_original_next_hop = false;
	}
	peer->next_hop = (enum next_hop_mode)mode;
	return rc < 0 ? rc : 0;
}

static int read_session(const struct calico_at *at, struct bgp_peer *peer)
{
	static const char *const sources[] = {"None", "UseNodeIP", NULL}, *const reverse[] = {"Manual", "Auto", NULL};
	int source = 1, automatic = 1, rc = calico_secret(at, "password", &peer->password);
	uint32_t hops = 0;

	if (rc >= 0)
		rc = calico_choice(at, "sourceAddress", sources, &source);
	if (rc >= 0)
		rc = calico_seconds(at, "maxRestartTime", 1, RESTART_TIME_MAX, &peer->restart_time);
	if (rc >= 0)
		rc = calico_seconds(at, "keepaliveTime", 1, KEEPALIVE_MAX, &peer->keepalive_time);
	if (rc >= 0)
		rc = calico_u32(at, "numAllowedLocalASNumbers", 0, 255, &peer->allowed_local_as);
	if (rc >= 0)
		rc = calico_u32(at, "ttlSecurity", 0, 255, &hops);
	if (rc >= 0)
		rc = calico_choice(at, "reversePeering", reverse, &automatic);
	peer->source_node_ip = source;
	peer->ttl_security = (uint8_t)hops;
	peer->reverse_peering = automatic;
	return rc < 0 ? rc : 0;
}

static int read_gateway(const struct calico_at *at, struct bgp_peer *peer)
{
	int rc = calico_addr(at, "reachableBy", &peer->reachable_by);

	if (rc <= 0)
		return rc;
	if (peer->peer_selector) {
		calico_remark(at, "spec.reachableBy has no effect beside spec.peerSelector");
		peer->reachable_by = (struct addr){0};
		return 0;
	}
	if (addr_family(&peer->reachable_by) != addr_family(&peer->peer_ip))
		return calico_wrong(at, "reachableBy", "an address of the same family as spec.peerIP");
	return 0;
}

static int read_filters(const struct calico_at *at, struct bgp_peer *peer)
{
	const json_t *list = NULL, *entry;
	int rc = calico_list(at, "filters", &list);
	size_t i;

	if (rc <= 0)
		return rc;
	peer->filters = calloc(json_array_size(list) + 1, sizeof(*peer->filters));
	if (!peer->filters)
		return calico_no_memory(at);
	json_array_foreach((json_t *)list, i, entry) {
		struct calico_at item;
		const char *name = "";

		calico_item(at, "filters", i, entry, &item);
		rc = calico_text(&item, NULL, &name);
		if (rc >= 0 && !calico_name_is_sane(name))
			rc = calico_wrong(&item, NULL, "the name of a BGPFilter");
		if (rc < 0)
			return rc;
		peer->filters[i] = strdup(name);
		if (!peer->filters[i])
			return calico_no_memory(at);
		peer->filter_count++;
	}
	return 0;
}

/* -- BFD -- */

static int read_bfd_members(const struct calico_at *at, struct bgp_peer *peer)
{
	uint32_t tx = 0, rx = 0, multiplier = 0;
	int rc = calico_u32(at, "minTxMs", 1, BFD_INTERVAL_MAX, &tx);

	if (rc >= 0)
		rc = calico_u32(at, "minRxMs", 1, BFD_INTERVAL_MAX, &rx);
	if (rc >= 0)
		rc = calico_u32(at, "multiplier", 1, 255, &multiplier);
	if (rc < 0)
		return rc;
	peer->bfd = true;
	peer->bfd_min_tx_ms = tx;
	peer->bfd_min_rx_ms = rx;
	peer->bfd_multiplier = (uint8_t)multiplier;
	return 0;
}

static void read_bfd(const struct calico_at *at, const json_t *object, struct bgp_peer *peer)
{
	const char *text = calico_annotation(object, BFD_ANNOTATION);
	_cleanup_(json_cleanup) json_t *json = NULL;
	struct calico_at place = *at;
	struct err err = ERR_INIT;

	if (!text || strcmp(text, "false") == 0)
		return;
	if (strcmp(text, "true") == 0) {
		peer->bfd = true;
		return;
	}
	snprintf(place.path, sizeof(place.path), "annotation " BFD_ANNOTATION);
	place.err = &err;
	json = json_loads(text, JSON_DECODE_ANY, NULL);
	place.json = json;
	if (!json_is_object(json))
		calico_remark(at, "annotation " BFD_ANNOTATION " is neither true nor false nor an object with minTxMs, minRxMs, "
			"multiplier; ignored");
	else if (read_bfd_members(&place, peer) < 0)
		calico_remark_ignored(at, &err);
}

/* -- the whole -- */

static int read_peer(const struct calico_at *at, struct bgp_peer *peer)
{
	int (*const steps[])(const struct calico_at *, struct bgp_peer *) = {
		read_local, read_remote, read_numbers, read_next_hop, read_session, read_gateway, read_filters,
	};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int rc = steps[i](at, peer);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int calico_bgp_peer_parse(const json_t *object, const struct calico_remarks *remarks, struct bgp_peer **ret,
	struct err *err)
{
	_cleanup_(bgp_peer_free) struct bgp_peer *peer = calloc(1, sizeof(*peer));
	struct calico_at at;
	int rc = calico_begin(object, "BGPPeer", remarks, err, &at);

	if (rc < 0)
		return rc;
	if (!peer || !(peer->name = strdup(calico_name(object))))
		return calico_no_memory(&at);
	rc = read_peer(&at, peer);
	if (rc < 0)
		return rc;
	calico_remark_unknown(&at, members);
	read_bfd(&at, object, peer);
	*ret = TAKE_PTR(peer);
	return 0;
}
