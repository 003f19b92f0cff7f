/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses, pairs and ports. A change is turned into images of what the maps are to get, all of them are known to fit
 * before the first is written, and each map gets its share in as few system calls as the kernel allows.
 */
#include "plane/policy_internal.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define PORT_LEN_LIST 64  /* struct policy_port.len: the whole list */
#define PORT_LEN_PORTS 80 /* protocol and the byte behind it */
#define MAPPED_LEN 96

_Static_assert((int)VERDICT_ADDRESS_OWN == (int)POLICY_ADDRESS_OWN && (int)VERDICT_ADDRESS_FINAL == (int)POLICY_ADDRESS_FINAL,
	"flags of addresses");
_Static_assert((int)VERDICT_ALLOW == (int)POLICY_VERDICT_ALLOW && (int)VERDICT_NEXT == (int)POLICY_VERDICT_NEXT &&
	(int)VERDICT_LOG == (int)POLICY_VERDICT_LOG && (int)VERDICT_ON == (int)POLICY_VERDICT_ON, "bits of verdicts");

/* -- entries -- */

/* What lies behind the length counts for nothing, but two spellings of one key would look like two entries. */
static struct policy_port port_key(const struct verdict_port *port)
{
	struct policy_port key = {.len = port->len, .list = {(uint32_t)port->list, (uint32_t)(port->list >> 32)}};
	unsigned bits = port->len > PORT_LEN_PORTS ? port->len - (unsigned)PORT_LEN_PORTS : 0U;

	if (port->len > PORT_LEN_LIST)
		key.protocol = port->protocol;
	key.port = htons((uint16_t)(port->port & (0xffffU << (16 - bits))));
	return key;
}

static struct verdict_port port_of(const struct policy_port *key, const struct policy_verdict *value)
{
	return (struct verdict_port){.list = key->list[0] | (uint64_t)key->list[1] << 32, .len = (uint8_t)key->len,
		.protocol = key->protocol, .port = ntohs(key->port), .bits = value->bits, .next = value->next};
}

static int add_port(struct image *image, const struct verdict_port *port)
{
	struct policy_port key = port_key(port);
	struct policy_verdict value = {.next = port->next, .bits = port->bits};

	return image_add(image, &key, &value);
}

static int add_pair(struct image *image, const struct verdict_pair *pair)
{
	struct policy_pair key = {.table = pair->table, .class = pair->class};

	return image_add(image, &key, &pair->list);
}

static int add_address(struct image *image, const struct verdict_address *address)
{
	struct prefix prefix = prefix_masked(&address->prefix);
	struct packet_prefix key = packet_prefix_of(&prefix);
	struct policy_address value = {.class = address->class, .flags = address->flags};

	return image_add(image, &key, &value);
}

static bool is_gone(const struct verdict_address *address)
{
	return !address->class && !address->flags;
}

static struct verdict_address address_of(const struct packet_prefix *key, const struct policy_address *value)
{
	struct verdict_address address = {.class = value->class, .flags = value->flags};

	memcpy(&address.prefix.addr, &key->addr, sizeof(address.prefix.addr));
	address.prefix.family = AF_INET6;
	address.prefix.len = (uint8_t)key->len;
	if (key->len >= MAPPED_LEN && addr_is_4(&address.prefix.addr)) {
		address.prefix.family = AF_INET;
		address.prefix.len = (uint8_t)(key->len - MAPPED_LEN);
	}
	return address;
}

/* -- images: in the order of what they are made from, which is the one to write them in -- */

static int ports_image(const struct verdict_port *ports, size_t count, struct image *ret)
{
	int r = 0;

	*ret = policy_maps_image(POLICY_MAP_PORTS);
	for (size_t i = 0; i < count && !r; i++)
		r = add_port(ret, &ports[i]);
	return r;
}

static int pairs_image(const struct verdict_pair *pairs, size_t count, struct image *ret)
{
	int r = 0;

	*ret = policy_maps_image(POLICY_MAP_PAIRS);
	for (size_t i = 0; i < count && !r; i++)
		r = add_pair(ret, &pairs[i]);
	return r;
}

static int addresses_image(const struct verdict_address *addresses, size_t count, bool gone, struct image *ret)
{
	int r = 0;

	*ret = policy_maps_image(POLICY_MAP_ADDRESSES);
	for (size_t i = 0; i < count && !r; i++)
		if (is_gone(&addresses[i]) == gone)
			r = add_address(ret, &addresses[i]);
	return r;
}

/* -- apply -- */

struct entries {
	struct image ports, pairs, addresses, gone;
};

static void entries_done(struct entries *entries)
{
	image_free(&entries->ports);
	image_free(&entries->pairs);
	image_free(&entries->addresses);
	image_free(&entries->gone);
}

static int entries_of(const struct verdict_change *change, struct entries *ret)
{
	int r = ports_image(change->new_ports, change->new_port_count, &ret->ports);

	if (!r)
		r = pairs_image(change->new_pairs, change->new_pair_count, &ret->pairs);
	if (!r)
		r = addresses_image(change->addresses, change->address_count, false, &ret->addresses);
	return r ? r : addresses_image(change->addresses, change->address_count, true, &ret->gone);
}

/* Lists, then what names them, then what leads there. */
static int write_new(struct policy_maps *maps, const struct entries *entries, struct err *err)
{
	int r = policy_maps_check_room(maps, POLICY_MAP_PORTS, &entries->ports, err);

	if (!r)
		r = policy_maps_check_room(maps, POLICY_MAP_PAIRS, &entries->pairs, err);
	if (!r)
		r = policy_maps_check_room(maps, POLICY_MAP_ADDRESSES, &entries->addresses, err);
	if (!r)
		r = policy_maps_put(maps, POLICY_MAP_PORTS, &entries->ports, err);
	if (!r)
		r = policy_maps_put(maps, POLICY_MAP_PAIRS, &entries->pairs, err);
	if (!r)
		r = policy_maps_put(maps, POLICY_MAP_ADDRESSES, &entries->addresses, err);
	/* What was in a prefix that goes is in the narrower or wider ones that stand by now. */
	return r ? r : policy_maps_del(maps, POLICY_MAP_ADDRESSES, &entries->gone, err);
}

int policy_plane_apply_new(struct policy_plane *plane, const struct verdict_change *change, struct err *err)
{
	_cleanup_(entries_done) struct entries entries = {0};

	if (!change->new_port_count && !change->new_pair_count && !change->address_count)
		return 0;
	if (entries_of(change, &entries))
		return err_set(err, -ENOMEM, "no memory to write %zu ports, %zu pairs and %zu addresses of policy",
			change->new_port_count, change->new_pair_count, change->address_count);
	plane->changed = true;
	return write_new(&plane->maps, &entries, err);
}

static int del_stale(struct policy_plane *plane, const struct verdict_change *change, struct err *err)
{
	struct image pairs = {0}, ports = {0};
	int r = pairs_image(change->stale_pairs, change->stale_pair_count, &pairs);

	if (!r)
		r = ports_image(change->stale_ports, change->stale_port_count, &ports);
	if (r)
		r = err_set(err, r, "no memory to delete %zu pairs and %zu ports of policy", change->stale_pair_count,
			change->stale_port_count);
	if (!r)
		r = policy_maps_del(&plane->maps, POLICY_MAP_PAIRS, &pairs, err);
	if (!r)
		r = policy_maps_del(&plane->maps, POLICY_MAP_PORTS, &ports, err);
	image_free(&pairs);
	image_free(&ports);
	return r;
}

int policy_plane_apply_stale(struct policy_plane *plane, const struct verdict_change *change, struct err *err)
{
	bool is_real = plane->changed || change->endpoints || change->new_port_count || change->new_pair_count ||
		change->address_count || change->stale_pair_count || change->stale_port_count;
	int r = is_real ? policy_plane_raise_epoch(plane, err) : 0;

	if (!r)
		r = del_stale(plane, change, err);
	if (r || !plane->behind)
		return r;
	/* All that an earlier layout's programs knew is in ours by now. */
	r = policy_hooks_update_all(plane, err);
	if (r)
		return r;
	plane->behind = false;
	policy_maps_unpin_others(plane->dir, plane->maps_dir);
	return 0;
}

/* -- compare -- */

static size_t item_size(const struct image *image)
{
	return image->key_size + image->value_size;
}

/* Items of a that b has not, or (values) has with another value. */
static int subtract(const struct image *a, const struct image *b, bool values, struct image *ret)
{
	size_t item = item_size(a);
	int r = 0;

	*ret = IMAGE_INIT(a->key_size, a->value_size);
	for (size_t i = 0; i < a->count && !r; i++) {
		const uint8_t *mine = a->items + i * item;
		const void *theirs = image_find(b, mine);

		if (!theirs || (values && memcmp(mine, theirs, item)))
			r = image_add(ret, mine, mine + a->key_size);
	}
	return r;
}

struct difference {
	struct image put, del;
};

static void difference_done(struct difference *difference)
{
	image_free(&difference->put);
	image_free(&difference->del);
}

static int compare_map(struct policy_plane *plane, enum policy_map map, const struct image *wanted,
	struct difference *ret, struct err *err)
{
	struct image actual;
	int r = policy_maps_read(&plane->maps, map, &actual, err);

	if (r)
		return r;
	r = subtract(wanted, &actual, true, &ret->put);
	if (!r)
		r = subtract(&actual, wanted, false, &ret->del);
	image_free(&actual);
	return r ? err_set(err, r, "no memory to compare %zu entries of policy map %s", wanted->count,
			   policy_map_name(map)) : 0;
}

static struct verdict_port *ports_of(const struct image *image)
{
	struct verdict_port *ports = calloc(image->count + 1, sizeof(*ports));

	for (size_t i = 0; ports && i < image->count; i++)
		ports[i] = port_of((const void *)(image->items + i * item_size(image)), image_value(image, i));
	return ports;
}

static struct verdict_pair *pairs_of(const struct image *image)
{
	struct verdict_pair *pairs = calloc(image->count + 1, sizeof(*pairs));

	for (size_t i = 0; pairs && i < image->count; i++) {
		struct policy_pair key;

		memcpy(&key, image->items + i * item_size(image), sizeof(key));
		pairs[i] = (struct verdict_pair){.table = key.table, .class = key.class};
		memcpy(&pairs[i].list, image_value(image, i), sizeof(pairs[i].list));
	}
	return pairs;
}

/* Images are sorted by length first, the shortest first: so are those to go; those to come the other way round (plan/verdict.h). */
static struct verdict_address *addresses_of(const struct difference *difference)
{
	size_t put = difference->put.count, del = difference->del.count;
	struct verdict_address *addresses = calloc(put + del + 1, sizeof(*addresses));

	for (size_t i = 0; addresses && i < put + del; i++) {
		const struct image *image = i < put ? &difference->put : &difference->del;
		const struct policy_address none = {0};
		struct policy_address value;
		struct packet_prefix key;
		size_t at = i < put ? put - 1 - i : i - put;

		memcpy(&key, image->items + at * item_size(image), sizeof(key));
		memcpy(&value, i < put ? image_value(image, at) : &none, sizeof(value));
		addresses[i] = address_of(&key, &value);
	}
	return addresses;
}

struct differences {
	struct difference ports, pairs, addresses;
};

static void differences_done(struct differences *all)
{
	difference_done(&all->ports);
	difference_done(&all->pairs);
	difference_done(&all->addresses);
}

static int change_of(const struct differences *all, struct verdict_change *ret)
{
	struct verdict_change change = {
		.new_ports = ports_of(&all->ports.put), .new_port_count = all->ports.put.count,
		.new_pairs = pairs_of(&all->pairs.put), .new_pair_count = all->pairs.put.count,
		.addresses = addresses_of(&all->addresses),
		.address_count = all->addresses.put.count + all->addresses.del.count,
		.endpoints = true, /* what their entries say is compared as they are put */
		.stale_pairs = pairs_of(&all->pairs.del), .stale_pair_count = all->pairs.del.count,
		.stale_ports = ports_of(&all->ports.del), .stale_port_count = all->ports.del.count,
	};

	if (!change.new_ports || !change.new_pairs || !change.addresses || !change.stale_pairs || !change.stale_ports) {
		policy_plane_change_done(&change);
		return -ENOMEM;
	}
	*ret = change;
	return 0;
}

int policy_plane_compare(struct policy_plane *plane, const struct verdict_tables *tables, struct verdict_change *ret,
	struct err *err)
{
	_cleanup_(differences_done) struct differences all = {0};
	_cleanup_(entries_done) struct entries wanted = {0};
	int r = ports_image(tables->ports, tables->port_count, &wanted.ports);

	if (!r)
		r = pairs_image(tables->pairs, tables->pair_count, &wanted.pairs);
	if (!r)
		r = addresses_image(tables->addresses, tables->address_count, false, &wanted.addresses);
	if (r)
		return err_set(err, r, "no memory to compare policy's tables");
	image_finish(&wanted.ports);
	image_finish(&wanted.pairs);
	image_finish(&wanted.addresses);
	r = compare_map(plane, POLICY_MAP_PORTS, &wanted.ports, &all.ports, err);
	if (!r)
		r = compare_map(plane, POLICY_MAP_PAIRS, &wanted.pairs, &all.pairs, err);
	if (!r)
		r = compare_map(plane, POLICY_MAP_ADDRESSES, &wanted.addresses, &all.addresses, err);
	if (r)
		return r;
	r = change_of(&all, ret);
	return r ? err_set(err, r, "no memory for what policy's tables differ in") : 0;
}

void policy_plane_change_done(struct verdict_change *change)
{
	free((void *)change->new_ports);
	free((void *)change->new_pairs);
	free((void *)change->addresses);
	free((void *)change->stale_pairs);
	free((void *)change->stale_ports);
	*change = (struct verdict_change){0};
}
