/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "flannel/flannel.h"
#include "flannel/json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What differs between the two families in sections 2.2 and 2.3. */
static const struct family_rules {
	int family;
	const char *enable, *network, *len, *min, *max;
	unsigned len_max;     /* longest SubnetLen */
	unsigned network_max; /* longest network from which a SubnetLen can be derived */
	unsigned roomy;       /* networks up to this length get ... */
	unsigned len_default; /* ... this SubnetLen */
	const char *example;
} family_rules[FAMILY_COUNT] = {
	[FAMILY_4] = {AF_INET, "EnableIPv4", "Network", "SubnetLen", "SubnetMin", "SubnetMax", 30, 28, 22, 24,
		"10.244.0.0/16"},
	[FAMILY_6] = {AF_INET6, "EnableIPv6", "IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin",
		"IPv6SubnetMax", 126, 124, 62, 64, "fd00:42::/56"},
};

/* The keys of one family as they stand in the text. */
struct family_text {
	bool enabled;
	struct prefix cidr;
	int64_t len;
	struct addr min, max;
};

static int family_read(const json_t *conf, const char *where, const struct family_rules *rules,
	struct family_text *ret, struct err *err)
{
	int r;

	r = flannel_get_bool(conf, where, rules->enable, &ret->enabled, err);
	if (r >= 0)
		r = flannel_get_prefix(conf, where, rules->network, rules->family, &ret->cidr, err);
	if (r >= 0)
		r = flannel_get_int(conf, where, rules->len, 0, UINT32_MAX, &ret->len, err);
	if (r >= 0)
		r = flannel_get_addr(conf, where, rules->min, rules->family, false, &ret->min, err);
	if (r >= 0)
		r = flannel_get_addr(conf, where, rules->max, rules->family, false, &ret->max, err);
	return r < 0 ? r : 0;
}

static int check_cidr(
	const char *where, const struct family_rules *rules, const struct prefix *cidr, struct err *err)
{
	char text[PREFIX_TEXT_MAX];

	if (!prefix_is_set(cidr))
		return err_set(err, -EINVAL,
			"%s: key \"%s\" is missing, expected a CIDR such as \"%s\", or \"%s\": false", where,
			rules->network, rules->example, rules->enable);
	prefix_format(cidr, text);
	if (cidr->len == 0)
		return err_set(err, -EINVAL,
			"%s: key \"%s\" is %s, expected a part of the address space such as %s", where,
			rules->network, text, rules->example);
	if (addr_is_multicast(&cidr->addr) || addr_is_loopback(&cidr->addr))
		return err_set(err, -EINVAL, "%s: key \"%s\" is %s, expected unicast addresses such as %s",
			where, rules->network, text, rules->example);
	return 0;
}

static int choose_len(const char *where, const struct family_rules *rules, const struct family_text *in,
	uint8_t *ret, struct err *err)
{
	unsigned shortest = in->cidr.len + 2u;
	char text[PREFIX_TEXT_MAX];

	prefix_format(&in->cidr, text);
	if (in->len) {
		if (shortest > rules->len_max)
			return err_set(err, -EINVAL,
				"%s: key \"%s\" is %s, expected room for four subnets: at most /%u",
				where, rules->network, text, rules->len_max - 2);
		if (in->len < shortest || in->len > rules->len_max)
			return err_set(err, -ERANGE,
				"%s: key \"%s\" is %lld, expected %u to %u (at least four subnets in %s)",
				where, rules->len, (long long)in->len, shortest, rules->len_max, text);
		*ret = (uint8_t)in->len;
		return 0;
	}
	if (in->cidr.len > rules->network_max)
		return err_set(err, -EINVAL, "%s: key \"%s\" is %s, expected a length of at most %u", where,
			rules->network, text, rules->network_max);
	*ret = (uint8_t)(in->cidr.len <= rules->roomy ? rules->len_default : shortest);
	return 0;
}

static int check_bound(const char *where, const char *key, const struct addr *bound,
	const struct prefix *cidr, unsigned len, struct err *err)
{
	struct prefix block = prefix_make(bound, len);
	char text[ADDR_TEXT_MAX], other[PREFIX_TEXT_MAX];

	addr_format(bound, text);
	if (!prefix_contains(cidr, bound))
		return err_set(err, -EINVAL, "%s: key \"%s\" is %s, expected an address inside %s", where,
			key, text, prefix_format(cidr, other));
	if (!addr_equal(&block.addr, bound))
		return err_set(err, -EINVAL,
			"%s: key \"%s\" is %s, expected the first address of a /%u such as %s", where, key,
			text, len, addr_format(&block.addr, other));
	return 0;
}

static struct addr second_block(const struct prefix *cidr, unsigned len)
{
	struct prefix first = prefix_make(&cidr->addr, len);
	struct addr last = prefix_last(&first);

	return addr_add(&last, 1);
}

static struct addr last_block(const struct prefix *cidr, unsigned len)
{
	struct addr last = prefix_last(cidr);

	return prefix_make(&last, len).addr;
}

static int pool_make(const char *where, const struct family_rules *rules, const struct family_text *in,
	struct pool *ret, struct err *err)
{
	struct pool pool = {.cidr = in->cidr};
	char text[ADDR_TEXT_MAX], other[ADDR_TEXT_MAX];
	int r;

	r = check_cidr(where, rules, &in->cidr, err);
	if (r == 0)
		r = choose_len(where, rules, in, &pool.block_len, err);
	if (r < 0)
		return r;
	pool.block_min = addr_is_set(&in->min) ? in->min : second_block(&in->cidr, pool.block_len);
	pool.block_max = addr_is_set(&in->max) ? in->max : last_block(&in->cidr, pool.block_len);
	r = check_bound(where, rules->min, &pool.block_min, &in->cidr, pool.block_len, err);
	if (r == 0)
		r = check_bound(where, rules->max, &pool.block_max, &in->cidr, pool.block_len, err);
	if (r < 0)
		return r;
	if (addr_compare(&pool.block_min, &pool.block_max) > 0)
		return err_set(err, -EINVAL, "%s: key \"%s\" is %s, expected at most \"%s\", which is %s",
			where, rules->min, addr_format(&pool.block_min, text), rules->max,
			addr_format(&pool.block_max, other));
	*ret = pool;
	return 0;
}

/* -- Backend -- */

static int read_port(const json_t *conf, const char *where, struct network *network, struct err *err)
{
	int64_t port = 0;
	int r = flannel_get_int(conf, where, "Port", 0, UINT16_MAX, &port, err);

	if (r > 0)
		network->port = (uint16_t)port;
	return r;
}

static int read_vxlan(const json_t *conf, const char *where, struct network *network, struct err *err)
{
	int64_t vni = 1;
	int r;

	r = flannel_get_int(conf, where, "VNI", 1, (1 << 24) - 1, &vni, err);
	if (r >= 0)
		r = read_port(conf, where, network, err);
	if (r >= 0)
		r = flannel_get_bool(conf, where, "GBP", &network->gbp, err);
	if (r >= 0)
		r = flannel_get_bool(conf, where, "Learning", &network->learning, err);
	if (r >= 0)
		r = flannel_get_bool(conf, where, "DirectRouting", &network->direct_routing, err);
	if (r >= 0)
		network->vni = (uint32_t)vni;
	return r;
}

static int read_nothing(const json_t *conf, const char *where, struct network *network, struct err *err)
{
	return 0;
}

struct backend {
	const char *name;
	enum encap encap;
	bool routed;
	int (*read)(const json_t *conf, const char *where, struct network *network, struct err *err);
};

static const struct backend backends[] = {
	{"vxlan", ENCAP_VXLAN, true, read_vxlan},
	{"host-gw", ENCAP_NONE, true, read_nothing},
	{"udp", ENCAP_UDP, true, read_port},
	{"alloc", ENCAP_NONE, false, read_nothing},
};

/* Flannel's others: told apart from typing errors. */
static const char *const missing_backends[] = {"wireguard", "ipip", "ipsec", "extension", "tencent-vpc"};

#define BACKENDS_TEXT "one of vxlan, host-gw, udp, alloc"

static const struct backend *find_backend(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++)
		if (strcasecmp(name, backends[i].name) == 0)
			return &backends[i];
	return NULL;
}

static int refuse_backend(const char *where, const char *name, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(missing_backends); i++)
		if (strcasecmp(name, missing_backends[i]) == 0)
			return err_set(err, -EOPNOTSUPP,
				"%s: key \"Type\" is \"%s\": Flannel has this backend, Tulle has not yet; "
				"expected " BACKENDS_TEXT,
				where, missing_backends[i]);
	return err_set(err, -EINVAL, "%s: key \"Type\" is \"%.60s\", expected " BACKENDS_TEXT, where, name);
}

/* 576: what every IPv4 host takes (RFC 791). 1280: what every IPv6 link must carry (RFC 8200), so the pods'
 * links must have it after the overhead. */
static int read_mtu(const json_t *conf, const char *where, struct network *network, struct err *err)
{
	int64_t least = network_has(network, FAMILY_6) ? 1280 + network_overhead(network, AF_INET6) : 576;
	int64_t mtu = 0;
	int r = flannel_get_int(conf, where, "MTU", 0, UINT32_MAX, &mtu, err);

	if (r <= 0)
		return r;
	if (mtu && (mtu < least || mtu > UINT16_MAX))
		return err_set(err, -ERANGE,
			"%s: key \"MTU\" is %lld, expected 0 (that of the interface) or %lld to %d", where,
			(long long)mtu, (long long)least, UINT16_MAX);
	network->mtu = (uint32_t)mtu;
	return 0;
}

static int read_type(const json_t *object, const char *where, const struct backend **ret, struct err *err)
{
	const char *type = NULL;
	int r = flannel_get_string(object, where, "Type", &type, err);

	if (r < 0)
		return r;
	if (r == 0 || !*type)
		return err_set(err, -EINVAL, "%s: key \"Type\" is %s, expected " BACKENDS_TEXT, where,
			r == 0 ? "missing" : "empty");
	*ret = find_backend(type);
	return *ret ? 0 : refuse_backend(where, type, err);
}

static int backend_read(const json_t *conf, const char *outer, struct network *network, struct err *err)
{
	const char *key = flannel_spelling(conf, "Backend");
	const struct backend *backend = find_backend("udp");
	json_t *object = NULL;
	char where[128];
	int r;

	snprintf(where, sizeof(where), "%.100s, Backend", outer);
	r = json_get_object(conf, outer, key, &object, err);
	if (r == 0 && flannel_has_null(conf, key))
		return err_set(err, -EINVAL,
			"%s: key \"%s\" is null, expected an object with \"Type\": " BACKENDS_TEXT, outer,
			key);
	if (r > 0)
		r = read_type(object, where, &backend, err);
	if (r < 0)
		return r;
	snprintf(network->backend, sizeof(network->backend), "%s", backend->name);
	network->encap = backend->encap;
	network->routed = backend->routed;
	if (!object)
		return 0;
	r = backend->read(object, where, network, err);
	if (r >= 0)
		r = read_mtu(object, where, network, err);
	return r < 0 ? r : 0;
}

static int network_parse(const char *text, size_t len, const char *where, bool own_blocks, struct network *ret,
	struct err *err)
{
	struct family_text families[FAMILY_COUNT] = {[FAMILY_4] = {.enabled = true}};
	_cleanup_(json_cleanup) json_t *conf = NULL;
	struct network network = {0};
	bool nftables;
	int r;

	r = flannel_object_parse(text, len, where, &conf, err);
	for (int f = 0; f < FAMILY_COUNT && r >= 0; f++)
		r = family_read(conf, where, &family_rules[f], &families[f], err);
	if (r >= 0) /* it makes no difference here: rules are always nftables; but its type counts */
		r = flannel_get_bool(conf, where, "EnableNFTables", &nftables, err);
	if (r < 0)
		return r;
	if (!families[FAMILY_4].enabled && !families[FAMILY_6].enabled)
		return err_set(err, -EINVAL,
			"%s: keys \"EnableIPv4\" and \"EnableIPv6\" are both false, expected one true",
			where);
	for (int f = 0; f < FAMILY_COUNT && r >= 0; f++)
		if (families[f].enabled && own_blocks)
			r = pool_make(where, &family_rules[f], &families[f], &network.pool[f], err);
		else if (families[f].enabled && (r = check_cidr(where, &family_rules[f], &families[f].cidr, err)) == 0)
			network.pool[f].cidr = families[f].cidr;
	if (r >= 0)
		r = backend_read(conf, where, &network, err);
	if (r < 0)
		return r;
	*ret = network;
	return 0;
}

int flannel_network_parse(
	const char *text, size_t len, const char *where, struct network *ret, struct err *err)
{
	return network_parse(text, len, where, true, ret, err);
}

int flannel_network_parse_pod_cidrs(
	const char *text, size_t len, const char *where, struct network *ret, struct err *err)
{
	return network_parse(text, len, where, false, ret, err);
}
