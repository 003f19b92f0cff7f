/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/nftables.h"

#include "base/cleanup.h"
#include "plane/lookup.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

static int message_kind(const struct nlmsghdr *msg)
{
	if (msg->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || mnl_nlmsg_get_payload_len(msg) < sizeof(struct nfgenmsg))
		return -1;
	return msg->nlmsg_type & 0xff;
}

static bool is_hooked_forward(const struct nlattr *hook)
{
	const struct nlattr *attrs[NFTA_HOOK_HOOKNUM + 1];

	attrs_index_nested(hook, attrs, NFTA_HOOK_HOOKNUM);
	return attrs[NFTA_HOOK_HOOKNUM] && ntohl(attr_u32(attrs[NFTA_HOOK_HOOKNUM], 0)) == NF_INET_FORWARD;
}

/* Hook numbers of other families mean other things. */
static bool is_of_ip(const struct nft_chain *chain)
{
	return chain->family == NFPROTO_IPV4 || chain->family == NFPROTO_IPV6 || chain->family == NFPROTO_INET;
}

static void chain_parse(const struct nlmsghdr *msg, struct nft_chain *ret)
{
	const struct nfgenmsg *info = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attrs[NFTA_CHAIN_POLICY + 1];
	struct nft_chain chain = {.family = info->nfgen_family};

	attrs_index(msg, sizeof(*info), attrs, NFTA_CHAIN_POLICY);
	attr_text(attrs[NFTA_CHAIN_TABLE], chain.table, sizeof(chain.table));
	attr_text(attrs[NFTA_CHAIN_NAME], chain.name, sizeof(chain.name));
	chain.base = is_of_ip(&chain) && is_hooked_forward(attrs[NFTA_CHAIN_HOOK]);
	chain.drop = chain.base && ntohl(attr_u32(attrs[NFTA_CHAIN_POLICY], htonl(NF_ACCEPT))) == NF_DROP;
	*ret = chain;
}

/* Those that nft_chains_list keeps. */
static bool is_of_forward(const struct nft_chain *chain)
{
	return is_of_ip(chain) && (chain->base || strcmp(chain->name, "DOCKER-USER") == 0 ||
		strcmp(chain->name, "FORWARD") == 0 || strncmp(chain->name, "FLANNEL-", 8) == 0 ||
		strncmp(chain->table, "flannel-ipv", 11) == 0);
}

static void table_parse(const struct nlmsghdr *msg, struct nft_chain *ret)
{
	const struct nfgenmsg *info = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attrs[NFTA_TABLE_NAME + 1];

	*ret = (struct nft_chain){.family = info->nfgen_family};
	attrs_index(msg, sizeof(*info), attrs, NFTA_TABLE_NAME);
	attr_text(attrs[NFTA_TABLE_NAME], ret->table, sizeof(ret->table));
}

struct list {
	bool (*keep)(const struct nft_chain *);
	struct nft_chain *chains;
	size_t count;
};

static int collect(const struct nlmsghdr *msg, void *arg)
{
	struct list *list = arg;
	struct nft_chain chain, *bigger;

	switch (message_kind(msg)) {
	case NFT_MSG_NEWCHAIN:
		chain_parse(msg, &chain);
		break;
	case NFT_MSG_NEWTABLE:
		table_parse(msg, &chain);
		break;
	default:
		return 0;
	}
	if (!list->keep(&chain))
		return 0;
	bigger = reallocarray(list->chains, list->count + 1, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	list->chains = bigger;
	list->chains[list->count++] = chain;
	return 0;
}

static void close_nl(struct nl **nl)
{
	nl_close(*nl);
}

int nft_chains_list(struct nft_chain **ret, size_t *ret_count, struct err *err)
{
	return nft_chains_find(is_of_forward, ret, ret_count, err);
}

static int find(int request, struct list list, struct nft_chain **ret, size_t *ret_count, struct err *err)
{
	_cleanup_(close_nl) struct nl *nl = NULL;
	struct nlmsghdr *msg;
	struct nfgenmsg *info;
	int r = nl_open_protocol(NETLINK_NETFILTER, &nl, err);

	if (r == 0) {
		msg = nl_begin(nl, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | request), 0);
		info = nl_extra(msg, sizeof(*info));
		info->nfgen_family = NFPROTO_UNSPEC;
		r = nl_dump(nl, msg, collect, &list, err);
	}
	/* no netfilter netlink, or no nf_tables behind it */
	if (r == -EPROTONOSUPPORT || r == -EINVAL || r == -EOPNOTSUPP || r == -ENOENT)
		r = 0;
	if (r < 0) {
		free(list.chains);
		return err_wrap(err, "nftables"), r;
	}
	*ret = list.chains;
	*ret_count = list.count;
	return 0;
}

int nft_chains_find(bool (*keep)(const struct nft_chain *), struct nft_chain **ret, size_t *ret_count, struct err *err)
{
	return find(NFT_MSG_GETCHAIN, (struct list){.keep = keep}, ret, ret_count, err);
}

int nft_tables_find(bool (*keep)(const struct nft_chain *), struct nft_chain **ret, size_t *ret_count, struct err *err)
{
	return find(NFT_MSG_GETTABLE, (struct list){.keep = keep}, ret, ret_count, err);
}

static bool text_is(const struct nlattr *attr, const char *text)
{
	return attr && mnl_attr_get_payload_len(attr) > strlen(text) && strcmp(mnl_attr_get_str(attr), text) == 0;
}

static void note_object(struct nft_watch *watch, int kind, const struct nlmsghdr *msg)
{
	const struct nfgenmsg *info = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attrs[NFTA_CHAIN_POLICY + 1];
	struct nft_chain chain;

	/* every object names its table in attribute 1, rules their chain in 2 */
	attrs_index(msg, sizeof(*info), attrs, NFTA_CHAIN_POLICY);
	if (info->nfgen_family == NFPROTO_INET && text_is(attrs[NFTA_CHAIN_TABLE], NFT_TABLE)) {
		watch->own = true;
		return;
	}
	if (kind == NFT_MSG_NEWCHAIN || kind == NFT_MSG_DELCHAIN) {
		chain_parse(msg, &chain);
		watch->forward |= is_of_forward(&chain);
	} else if (kind == NFT_MSG_NEWRULE || kind == NFT_MSG_DELRULE)
		watch->forward |= text_is(attrs[NFTA_RULE_CHAIN], "FORWARD") ||
			text_is(attrs[NFTA_RULE_CHAIN], "DOCKER-USER");
}

/* The kernel tells the process id as the first namespace sees it, and the socket's port, which is the id as we do. */
static bool made_by(const struct nlmsghdr *msg, const pid_t *own, size_t count)
{
	const struct nlattr *attrs[NFTA_GEN_PROC_PID + 1];
	uint32_t pid;

	attrs_index(msg, sizeof(struct nfgenmsg), attrs, NFTA_GEN_PROC_PID);
	pid = ntohl(attr_u32(attrs[NFTA_GEN_PROC_PID], 0));
	for (size_t i = 0; i < count; i++)
		if (own[i] && (pid == (uint32_t)own[i] || msg->nlmsg_pid == (uint32_t)own[i]))
			return true;
	return false;
}

unsigned nft_watch_message(struct nft_watch *watch, const struct nlmsghdr *msg, const pid_t *own, size_t count)
{
	int kind = message_kind(msg);
	unsigned event = NFT_EVENT_NONE;

	if (kind < 0)
		return NFT_EVENT_NONE;
	if (kind != NFT_MSG_NEWGEN) {
		note_object(watch, kind, msg);
		return NFT_EVENT_NONE;
	}
	if (!made_by(msg, own, count))
		event = (watch->own ? NFT_EVENT_OWN : 0) | (watch->forward ? NFT_EVENT_FORWARD : 0);
	*watch = (struct nft_watch){0};
	return event;
}
