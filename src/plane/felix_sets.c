/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets of Felix, by raw netlink: no program ipset is needed.
 */
#include "plane/felix.h"

#include "base/cleanup.h"
#include "plane/lookup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PROTOCOL 6u /* spoken since Linux 2.6.39 */
#define BUDGET_MS 60

struct names {
	char (*items)[IPSET_MAXNAMELEN];
	size_t count;
};

static bool is_felix(const char *name)
{
	static const char *const prefixes[] = {"cali40", "cali60", "cali4t", "cali6t"};

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static struct nlmsghdr *begin(struct nl *nl, uint8_t command, uint16_t flags)
{
	struct nlmsghdr *msg = nl_begin(nl, NFNL_SUBSYS_IPSET << 8 | command, flags);
	struct nfgenmsg *info = nl_extra(msg, sizeof(*info));

	info->nfgen_family = AF_INET;
	info->version = NFNETLINK_V0;
	mnl_attr_put_u8(msg, IPSET_ATTR_PROTOCOL, PROTOCOL);
	return msg;
}

static int collect(const struct nlmsghdr *msg, void *arg)
{
	const struct nlattr *attrs[IPSET_ATTR_CMD_MAX + 1];
	struct names *names = arg;
	char name[IPSET_MAXNAMELEN], (*bigger)[IPSET_MAXNAMELEN];

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(struct nfgenmsg))
		return 0;
	attrs_index(msg, sizeof(struct nfgenmsg), attrs, IPSET_ATTR_CMD_MAX);
	attr_text(attrs[IPSET_ATTR_SETNAME], name, sizeof(name));
	if (!is_felix(name))
		return 0;
	bigger = reallocarray(names->items, names->count + 1, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	names->items = bigger;
	memcpy(names->items[names->count++], name, sizeof(name));
	return 0;
}

static void list(struct nl *nl, struct names *ret)
{
	struct nlmsghdr *msg = begin(nl, IPSET_CMD_LIST, 0);

	mnl_attr_put_u32(msg, IPSET_ATTR_FLAGS | NLA_F_NET_BYTEORDER, htonl(IPSET_FLAG_LIST_SETNAME));
	nl_dump(nl, msg, collect, ret, NULL);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* False: it is in use. The kernel forgets rules of nftables a moment after they are gone. */
static bool destroy(struct nl *nl, const char *name)
{
	struct nlmsghdr *msg = begin(nl, IPSET_CMD_DESTROY, 0);
	int r;

	mnl_attr_put_strz(msg, IPSET_ATTR_SETNAME, name);
	r = nl_talk(nl, msg, NULL);
	return r == 0 || r == -ENOENT;
}

bool felix_sets_remove(size_t *gone)
{
	int64_t end = now_ms() + BUDGET_MS;
	struct names names = {0};
	struct nl *nl = NULL;
	size_t n = 0;

	if (nl_open_protocol(NETLINK_NETFILTER, &nl, NULL) < 0)
		return false;
	list(nl, &names);
	for (size_t i = 0; i < names.count && now_ms() < end; i++)
		n += destroy(nl, names.items[i]);
	free(names.items);
	nl_close(nl);
	*gone += n;
	return n < names.count;
}
