/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/attach_record.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define FLAG_DEFAULT_ROUTE 1u
#define FLAG_FLANNEL 2u
#define FLAG_WISHED_4 4u
#define FLAG_WISHED_6 8u

static void put_text(struct buf *buf, const char *text)
{
	uint16_t len = (uint16_t)strlen(text);

	buf_add(buf, &len, sizeof(len));
	buf_add(buf, text, len);
}

static void put_route(struct buf *buf, const struct attach_route *route)
{
	uint32_t numbers[4] = {route->mtu, route->advmss, route->priority, route->table};

	buf_add(buf, route->dst.addr.b, sizeof(route->dst.addr.b));
	buf_add(buf, &route->dst.len, 1);
	buf_add(buf, &route->dst.family, 1);
	buf_add(buf, route->via.b, sizeof(route->via.b));
	buf_add(buf, numbers, sizeof(numbers));
}

static void put_attachment(struct buf *buf, const struct attachment *a)
{
	uint64_t netns[2] = {a->netns_dev, a->netns_ino};
	uint64_t bandwidth[4] = {a->bandwidth.ingress_rate, a->bandwidth.ingress_burst,
		a->bandwidth.egress_rate, a->bandwidth.egress_burst};
	uint8_t flags = (uint8_t)((a->default_route ? FLAG_DEFAULT_ROUTE : 0) | (a->flannel ? FLAG_FLANNEL : 0) |
				  (a->wished[FAMILY_4] ? FLAG_WISHED_4 : 0) | (a->wished[FAMILY_6] ? FLAG_WISHED_6 : 0));
	uint8_t small[2] = {flags, (uint8_t)a->route_count};

	put_text(buf, a->network);
	put_text(buf, a->container_id);
	put_text(buf, a->ifname);
	put_text(buf, a->host_ifname);
	put_text(buf, a->netns_path);
	buf_add(buf, netns, sizeof(netns));
	buf_add(buf, a->addr, sizeof(a->addr));
	buf_add(buf, a->mac.b, sizeof(a->mac.b));
	buf_add(buf, a->host_mac.b, sizeof(a->host_mac.b));
	buf_add(buf, &a->mtu, sizeof(a->mtu));
	buf_add(buf, bandwidth, sizeof(bandwidth));
	buf_add(buf, small, sizeof(small));
	for (size_t i = 0; i < a->route_count; i++)
		put_route(buf, &a->routes[i]);
	put_text(buf, a->pod_namespace);
	put_text(buf, a->pod_name);
}

int attach_record_encode(
	const struct attach_record *record, const struct attachment *attachment, struct buf *buf)
{
	uint8_t type = (uint8_t)record->type;

	buf_add(buf, &type, 1);
	buf_add(buf, &record->serial, sizeof(record->serial));
	if (record->type == RECORD_CLOSING || record->type == RECORD_RESTING)
		buf_add(buf, &record->since, sizeof(record->since));
	if (record->type == RECORD_RESTING)
		buf_add(buf, record->addr.b, sizeof(record->addr.b));
	if (record->type == RECORD_BEGUN)
		put_attachment(buf, attachment);
	return buf->error;
}

struct cursor {
	const char *at;
	size_t left;
	bool bad;
};

static void get(struct cursor *cursor, void *to, size_t len)
{
	if (cursor->bad || cursor->left < len) {
		cursor->bad = true;
		memset(to, 0, len);
		return;
	}
	memcpy(to, cursor->at, len);
	cursor->at += len;
	cursor->left -= len;
}

static void get_text(struct cursor *cursor, char *to, size_t room)
{
	uint16_t len;

	get(cursor, &len, sizeof(len));
	if (len >= room) {
		cursor->bad = true;
		len = 0;
	}
	get(cursor, to, len);
	to[len] = 0;
}

static void get_route(struct cursor *cursor, struct attach_route *route)
{
	uint32_t numbers[4];

	get(cursor, route->dst.addr.b, sizeof(route->dst.addr.b));
	get(cursor, &route->dst.len, 1);
	get(cursor, &route->dst.family, 1);
	get(cursor, route->via.b, sizeof(route->via.b));
	get(cursor, numbers, sizeof(numbers));
	route->mtu = numbers[0];
	route->advmss = numbers[1];
	route->priority = numbers[2];
	route->table = numbers[3];
}

static void get_attachment(struct cursor *cursor, struct attachment *a)
{
	uint64_t netns[2], bandwidth[4];
	uint8_t small[2];

	memset(a, 0, sizeof(*a));
	get_text(cursor, a->network, sizeof(a->network));
	get_text(cursor, a->container_id, sizeof(a->container_id));
	get_text(cursor, a->ifname, sizeof(a->ifname));
	get_text(cursor, a->host_ifname, sizeof(a->host_ifname));
	get_text(cursor, a->netns_path, sizeof(a->netns_path));
	get(cursor, netns, sizeof(netns));
	get(cursor, a->addr, sizeof(a->addr));
	get(cursor, a->mac.b, sizeof(a->mac.b));
	get(cursor, a->host_mac.b, sizeof(a->host_mac.b));
	get(cursor, &a->mtu, sizeof(a->mtu));
	get(cursor, bandwidth, sizeof(bandwidth));
	get(cursor, small, sizeof(small));
	a->netns_dev = netns[0];
	a->netns_ino = netns[1];
	a->bandwidth = (struct bandwidth){bandwidth[0], bandwidth[1], bandwidth[2], bandwidth[3]};
	a->default_route = small[0] & FLAG_DEFAULT_ROUTE;
	a->flannel = small[0] & FLAG_FLANNEL;
	a->wished[FAMILY_4] = small[0] & FLAG_WISHED_4;
	a->wished[FAMILY_6] = small[0] & FLAG_WISHED_6;
	if (small[1] > ARRAY_SIZE(a->routes))
		cursor->bad = true;
	for (size_t i = 0; i < small[1] && !cursor->bad; i++)
		get_route(cursor, &a->routes[i]);
	a->route_count = cursor->bad ? 0 : small[1];
	if (cursor->bad || cursor->left == 0)
		return; /* layout 1 */
	get_text(cursor, a->pod_namespace, sizeof(a->pod_namespace));
	get_text(cursor, a->pod_name, sizeof(a->pod_name));
}

int attach_record_decode(const void *data, size_t len, struct attach_record *ret,
	struct attachment *attachment, struct err *err)
{
	struct cursor cursor = {.at = data, .left = len};
	struct attach_record record = {0};
	uint8_t type;

	get(&cursor, &type, 1);
	get(&cursor, &record.serial, sizeof(record.serial));
	record.type = type;
	if (type == RECORD_CLOSING || type == RECORD_RESTING)
		get(&cursor, &record.since, sizeof(record.since));
	if (type == RECORD_RESTING)
		get(&cursor, record.addr.b, sizeof(record.addr.b));
	if (type == RECORD_BEGUN)
		get_attachment(&cursor, attachment);
	if (cursor.bad || cursor.left || type < RECORD_BEGUN || type > RECORD_RESTING)
		return err_set(err, -EINVAL,
			"a record of type %u and %zu bytes, expected a type from %d to %d of its length",
			type, len, RECORD_BEGUN, RECORD_RESTING);
	*ret = record;
	return 0;
}
