/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "agent/uplink.h"

#include "base/cleanup.h"
#include "plane/plane.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

struct chooser {
	const struct machine *machine;
	const struct options *options;
	const bool *families;
	const struct uplink *home; /* may be null */
};

static const struct plane_link *link_by_index(const struct machine *machine, uint32_t index)
{
	for (size_t i = 0; i < machine->link_count; i++)
		if (machine->links[i].index == index)
			return &machine->links[i];
	return NULL;
}

static bool addr_usable(const struct plane_addr *addr)
{
	return !(addr->flags & (IFA_F_DEPRECATED | IFA_F_DADFAILED)) && !addr_is_loopback(&addr->addr) &&
		!addr_is_multicast(&addr->addr);
}

/* Higher is better: global before link-local, permanent before dynamic, stable before temporary. */
static int addr_rank(const struct plane_addr *addr)
{
	int rank = 0;

	if (!addr_is_link_local(&addr->addr))
		rank += 4;
	if (addr->flags & IFA_F_PERMANENT)
		rank += 2;
	if (!(addr->flags & IFA_F_TEMPORARY))
		rank += 1;
	return rank;
}

static struct addr preferred_addr(const struct machine *machine, uint32_t index, int family)
{
	const struct plane_addr *best = NULL;

	for (size_t i = 0; i < machine->addr_count; i++) {
		const struct plane_addr *addr = &machine->addrs[i];

		if (addr->index != index || family_index(addr_family(&addr->addr)) != family || !addr_usable(addr))
			continue;
		if (!best || addr_rank(addr) > addr_rank(best))
			best = addr;
	}
	return best ? best->addr : (struct addr){0};
}

static bool addr_is_home(const struct chooser *chooser, const struct plane_link *link, int family)
{
	const struct uplink *home = chooser->home;

	if (!home || strcmp(home->name, link->name) != 0 || addr_is_link_local(&home->addr[family]))
		return false;
	for (size_t i = 0; i < chooser->machine->addr_count; i++) {
		const struct plane_addr *addr = &chooser->machine->addrs[i];

		if (addr->index == link->index && addr_usable(addr) && addr_equal(&addr->addr, &home->addr[family]))
			return true;
	}
	return false;
}

static const struct plane_addr *addr_owner(const struct machine *machine, const struct addr *wanted)
{
	for (size_t i = 0; i < machine->addr_count; i++)
		if (addr_equal(&machine->addrs[i].addr, wanted))
			return &machine->addrs[i];
	return NULL;
}

/* Takes the interface; addr: the addresses that the method itself fixed (may be unset). */
static int take(const struct chooser *chooser, uint32_t index, const struct addr addr[FAMILY_COUNT],
	struct uplink *ret, struct err *err)
{
	const struct plane_link *link = link_by_index(chooser->machine, index);
	struct uplink uplink = {0};

	if (!link)
		return err_set(err, -ENODEV, "there is no interface with index %u", index);
	memcpy(uplink.name, link->name, sizeof(uplink.name));
	uplink.index = index;
	uplink.mtu = link->mtu;
	if (!link->mtu)
		return err_set(err, -EINVAL, "interface %s has MTU 0", link->name);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr && addr_is_set(&addr[f]))
			uplink.addr[f] = addr[f];
		else if (addr_is_home(chooser, link, f))
			uplink.addr[f] = chooser->home->addr[f];
		else
			uplink.addr[f] = preferred_addr(chooser->machine, index, f);
		if (chooser->families[f] && !addr_is_set(&uplink.addr[f]))
			return err_set(err, -EADDRNOTAVAIL, "interface %s has no usable %s address", link->name,
				f == FAMILY_4 ? "IPv4" : "IPv6");
	}
	*ret = uplink;
	return 0;
}

static int by_owned_address(const struct chooser *chooser, const char *flag, const char *text, struct uplink *ret,
	struct err *err)
{
	struct addr fixed[FAMILY_COUNT] = {0};
	const struct plane_addr *owner;
	struct addr addr;

	if (addr_parse(text, &addr) < 0)
		return err_set(err, -EINVAL, "%s: \"%s\" is no IP address", flag, text);
	owner = addr_owner(chooser->machine, &addr);
	if (!owner)
		return err_set(err, -EADDRNOTAVAIL, "%s: no interface of this node has the address %s", flag, text);
	fixed[family_index(addr_family(&addr))] = addr;
	return take(chooser, owner->index, fixed, ret, err);
}

static int by_name_or_address(const struct chooser *chooser, const char *value, struct uplink *ret, struct err *err)
{
	struct addr addr;

	if (addr_parse(value, &addr) == 0) {
		if (by_owned_address(chooser, "--iface", value, ret, err) < 0)
			return err->code;
		if (addr_is_4(&addr) && chooser->families[FAMILY_6] && chooser->options->public_ipv6[0]) {
			struct addr other;
			const struct plane_addr *owner;

			if (addr_parse(chooser->options->public_ipv6, &other) < 0)
				return 0; /* told where the published address is taken */
			owner = addr_owner(chooser->machine, &other);
			if (owner && owner->index != ret->index)
				return err_set(err, -EINVAL, "--iface %s is on %s, but --public-ipv6 %s is on another interface",
					value, ret->name, chooser->options->public_ipv6);
		}
		return 0;
	}
	for (size_t i = 0; i < chooser->machine->link_count; i++)
		if (strcmp(chooser->machine->links[i].name, value) == 0)
			return take(chooser, chooser->machine->links[i].index, NULL, ret, err);
	return err_set(err, -ENODEV, "--iface: there is no interface \"%s\"", value);
}

static bool regex_matches(pcre2_code *code, const char *text)
{
	pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
	int rc;

	if (!data)
		return false;
	rc = pcre2_match(code, (PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, 0, data, NULL);
	pcre2_match_data_free(data);
	return rc >= 0;
}

/* The first address of this interface and family that matches; unset when none does. */
static struct addr regex_addr(const struct machine *machine, pcre2_code *code, uint32_t index, int family)
{
	for (size_t i = 0; i < machine->addr_count; i++) {
		const struct plane_addr *addr = &machine->addrs[i];
		char text[ADDR_TEXT_MAX];

		if (addr->index == index && family_index(addr_family(&addr->addr)) == family && addr_usable(addr) &&
			regex_matches(code, addr_format(&addr->addr, text)))
			return addr->addr;
	}
	return (struct addr){0};
}

static int regex_take(const struct chooser *chooser, pcre2_code *code, struct uplink *ret)
{
	const struct machine *machine = chooser->machine;

	for (size_t i = 0; i < machine->link_count; i++) {
		struct addr found[FAMILY_COUNT];
		/* The tunnel's own address may match as well: after a restart, or while the uplink has none. */
		bool all = !plan_is_tunnel_name(machine->links[i].name);

		for (int f = 0; f < FAMILY_COUNT; f++) {
			found[f] = regex_addr(machine, code, machine->links[i].index, f);
			if (chooser->families[f] && !addr_is_set(&found[f]))
				all = false;
		}
		if (all && take(chooser, machine->links[i].index, found, ret, NULL) == 0)
			return 0;
	}
	for (size_t i = 0; i < machine->link_count; i++)
		if (!plan_is_tunnel_name(machine->links[i].name) && regex_matches(code, machine->links[i].name) &&
			take(chooser, machine->links[i].index, NULL, ret, NULL) == 0)
			return 0;
	return -ENODEV;
}

static void list_interfaces(const struct machine *machine, char *text, size_t size)
{
	size_t used = 0;

	text[0] = 0;
	for (size_t i = 0; i < machine->addr_count; i++) {
		const struct plane_link *link = link_by_index(machine, machine->addrs[i].index);
		char addr[ADDR_TEXT_MAX];
		int n = snprintf(text + used, size - used, "%s%s %s", used ? ", " : "", link ? link->name : "?",
			addr_format(&machine->addrs[i].addr, addr));

		if (n < 0 || (size_t)n >= size - used)
			return;
		used += (size_t)n;
	}
}

static int by_regex(const struct chooser *chooser, const char *pattern, struct uplink *ret, struct err *err)
{
	char interfaces[400];
	PCRE2_UCHAR message[120];
	PCRE2_SIZE offset;
	int problem;
	pcre2_code *code =
		pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_NEVER_BACKSLASH_C, &problem, &offset, NULL);
	int rc;

	if (!code) {
		pcre2_get_error_message(problem, message, sizeof(message));
		return err_set(err, -EINVAL, "--iface-regex \"%s\" is no regular expression: at character %zu: %s", pattern,
			offset, (const char *)message);
	}
	rc = regex_take(chooser, code, ret);
	pcre2_code_free(code);
	if (rc == 0)
		return 0;
	list_interfaces(chooser->machine, interfaces, sizeof(interfaces));
	return err_set(err, rc, "--iface-regex \"%s\" matches no interface; there are: %s", pattern, interfaces);
}

static int by_route(const struct chooser *chooser, const char *text, struct uplink *ret, struct err *err)
{
	struct addr fixed[FAMILY_COUNT] = {0};
	struct plane_route route;
	struct addr to;

	if (addr_parse(text, &to) < 0)
		return err_set(err, -EINVAL, "--iface-can-reach: \"%s\" is no IP address", text);
	if (chooser->machine->route_get(&to, &route, err) < 0)
		return err_wrap(err, "--iface-can-reach %s", text);
	if (addr_is_set(&route.source))
		fixed[family_index(addr_family(&route.source))] = route.source;
	return take(chooser, route.index, fixed, ret, err);
}

static const struct plane_route *default_route(const struct machine *machine, int family)
{
	for (size_t i = 0; i < machine->route_count; i++) {
		const struct plane_route *route = &machine->routes[i];

		if (route->dst.len == 0 && family_index(route->dst.family) == family && route->type == RTN_UNICAST)
			return route;
	}
	return NULL;
}

static int by_default_route(const struct chooser *chooser, struct uplink *ret, struct err *err)
{
	uint32_t index = 0;

	for (int f = 0; f < FAMILY_COUNT; f++) {
		const struct plane_route *route;

		if (!chooser->families[f])
			continue;
		route = default_route(chooser->machine, f);
		if (!route)
			return err_set(err, -ENOENT,
				"no interface was named and there is no %s default route: use --iface, --iface-regex or "
				"--iface-can-reach", f == FAMILY_4 ? "IPv4" : "IPv6");
		if (!route->index)
			return err_set(err, -EINVAL, "the %s default route has several next hops: name one with --iface",
				f == FAMILY_4 ? "IPv4" : "IPv6");
		if (index && index != route->index)
			return err_set(err, -EINVAL,
				"the IPv4 and IPv6 default routes use different interfaces: name one with --iface");
		index = route->index;
	}
	return take(chooser, index, NULL, ret, err);
}

/* Section 6.1, step 2: each of the given ways in turn; the error is the last one's. */
static int by_given(const struct chooser *chooser, struct uplink *ret, struct err *err)
{
	const struct options *options = chooser->options;
	int rc = -ENODEV;

	for (size_t i = 0; i < options->iface.count; i++) {
		rc = by_name_or_address(chooser, options->iface.items[i], ret, err);
		if (rc == 0)
			return 0;
	}
	for (size_t i = 0; i < options->iface_regex.count; i++) {
		rc = by_regex(chooser, options->iface_regex.items[i], ret, err);
		if (rc == 0)
			return 0;
	}
	if (options->iface_can_reach[0])
		rc = by_route(chooser, options->iface_can_reach, ret, err);
	return rc;
}

static int choose_interface(const struct chooser *chooser, struct uplink *ret, struct err *err)
{
	const struct options *options = chooser->options;

	if (options->iface.count || options->iface_regex.count || options->iface_can_reach[0])
		return by_given(chooser, ret, err);
	if (options->public_ip[0])
		return by_owned_address(chooser, "--public-ip", options->public_ip, ret, err);
	if (options->public_ipv6[0])
		return by_owned_address(chooser, "--public-ipv6", options->public_ipv6, ret, err);
	return by_default_route(chooser, ret, err);
}

static int publish(const struct chooser *chooser, struct uplink *uplink, struct err *err)
{
	const char *const values[] = {chooser->options->public_ip, chooser->options->public_ipv6};
	static const char *const flags[] = {"--public-ip", "--public-ipv6"};

	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!chooser->families[f])
			continue;
		uplink->public_ip[f] = uplink->source[f] = uplink->addr[f];
		if (!values[f][0])
			continue;
		if (addr_parse(values[f], &uplink->public_ip[f]) < 0 ||
			family_index(addr_family(&uplink->public_ip[f])) != f)
			return err_set(err, -EINVAL, "%s: \"%s\" is no %s address", flags[f], values[f],
				f == FAMILY_4 ? "IPv4" : "IPv6");
		/* The far side of a translation: the kernel sends nothing from an address that is not here. */
		if (addr_owner(chooser->machine, &uplink->public_ip[f]))
			uplink->source[f] = uplink->public_ip[f];
	}
	return 0;
}

static void on_link_add(struct uplink *uplink, const struct prefix *prefix)
{
	for (size_t i = 0; i < uplink->on_link_count; i++)
		if (prefix_equal(&uplink->on_link[i], prefix))
			return;
	if (uplink->on_link_count < ARRAY_SIZE(uplink->on_link))
		uplink->on_link[uplink->on_link_count++] = *prefix;
}

static void find_on_link(const struct machine *machine, struct uplink *uplink)
{
	for (size_t i = 0; i < machine->addr_count; i++) {
		const struct plane_addr *addr = &machine->addrs[i];
		struct prefix prefix = prefix_make(&addr->addr, addr->prefix_len);

		if (addr->index == uplink->index && prefix.len < prefix_max_len(&prefix))
			on_link_add(uplink, &prefix);
	}
	for (size_t i = 0; i < machine->route_count; i++) {
		const struct plane_route *route = &machine->routes[i];

		if (route->index == uplink->index && !addr_is_set(&route->via) && route->type == RTN_UNICAST &&
			route->protocol != ROUTE_PROTOCOL_TULLE)
			on_link_add(uplink, &route->dst);
	}
}

int uplink_choose_on(const struct machine *machine, const struct options *options, const bool families[FAMILY_COUNT],
	const struct uplink *home, struct uplink *ret, struct err *err)
{
	struct chooser chooser = {.machine = machine, .options = options, .families = families, .home = home};
	struct uplink uplink = {0};
	struct err local = ERR_INIT;
	int rc;

	if (!err)
		err = &local;
	rc = choose_interface(&chooser, &uplink, err);

	if (rc < 0)
		return err_wrap(err, "choice of the interface for node-to-node traffic");
	rc = publish(&chooser, &uplink, err);
	if (rc < 0)
		return rc;
	find_on_link(machine, &uplink);
	*ret = uplink;
	return 0;
}

int uplink_choose(const struct options *options, const bool families[FAMILY_COUNT], const struct uplink *home,
	struct uplink *ret, struct err *err)
{
	struct machine machine = {.route_get = plane_route_get};
	int rc = plane_list_links(&machine.links, &machine.link_count, err);

	if (rc == 0)
		rc = plane_list_addrs(&machine.addrs, &machine.addr_count, err);
	if (rc == 0)
		rc = plane_list_routes(&machine.routes, &machine.route_count, err);
	if (rc == 0)
		rc = uplink_choose_on(&machine, options, families, home, ret, err);
	free(machine.links);
	free(machine.addrs);
	free(machine.routes);
	return rc;
}

bool uplink_equal(const struct uplink *a, const struct uplink *b)
{
	if (strcmp(a->name, b->name) != 0 || a->index != b->index || a->mtu != b->mtu ||
		a->on_link_count != b->on_link_count)
		return false;
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (!addr_equal(&a->addr[f], &b->addr[f]) || !addr_equal(&a->public_ip[f], &b->public_ip[f]) ||
			!addr_equal(&a->source[f], &b->source[f]))
			return false;
	for (size_t i = 0; i < a->on_link_count; i++)
		if (!prefix_equal(&a->on_link[i], &b->on_link[i]))
			return false;
	return true;
}

void uplink_for_plan(const struct uplink *uplink, struct plan_uplink *ret)
{
	memcpy(ret->name, uplink->name, sizeof(ret->name));
	ret->mtu = uplink->mtu;
	memcpy(ret->addr, uplink->addr, sizeof(ret->addr));
	memcpy(ret->source, uplink->source, sizeof(ret->source));
	ret->on_link = uplink->on_link;
	ret->on_link_count = uplink->on_link_count;
}
