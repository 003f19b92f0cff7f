/* SPDX-License-Identifier: Apache-2.0
 *
 * What is read of nftables by raw netlink: the base chains of the forward hook and their policies, and notifications.
 * Changes are made by nft and iptables only.
 */
#pragma once

#include "plane/netlink.h"

#include <stdbool.h>
#include <stddef.h>

#define NFT_TABLE "tulle"

/* A base chain of the forward hook, a chain named DOCKER-USER, or one of flanneld's; others are not kept. */
struct nft_chain {
	uint8_t family;   /* NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_INET ... */
	bool base, drop;  /* hooked into forward; policy drop */
	char table[64], name[64];
};

/* -ENOENT-like failures (no nf_tables in the kernel) give an empty list. */
int nft_chains_list(struct nft_chain **ret, size_t *ret_count, struct err *err);
/* The same with the chains of all families that keep says yes to; base and drop are told of ip, ip6 and inet. */
int nft_chains_find(bool (*keep)(const struct nft_chain *), struct nft_chain **ret, size_t *ret_count, struct err *err);
/* The same of tables, which may have no chain: name is "". */
int nft_tables_find(bool (*keep)(const struct nft_chain *), struct nft_chain **ret, size_t *ret_count, struct err *err);

/* Notifications come in transactions, closed by a "new generation" message that names the process. */
struct nft_watch {
	bool own, forward;  /* the transaction under way touches our table; a chain that may drop forwarded packets */
};
enum nft_event {
	NFT_EVENT_NONE,
	NFT_EVENT_OWN = 1,      /* bits: our table was changed */
	NFT_EVENT_FORWARD = 2,  /* foreign forward chains were changed */
};
/* Feeds one message; at the end of a transaction that none of the count processes made, says what it touched. */
unsigned nft_watch_message(struct nft_watch *watch, const struct nlmsghdr *msg, const pid_t *own, size_t count);
