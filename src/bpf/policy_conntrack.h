/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * What the kernel's connection tracking knows about a packet: the addresses before anything was translated, and who began.
 * It answers for TCP and UDP. Only the fields that are read are declared here; their places come from the kernel's own type
 * information.
 */
#pragma once

#include "policy_maps.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
union nf_inet_addr {
	__u32 all[4];
};
union nf_conntrack_man_proto {
	__be16 all;
};
struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
	__u16 l3num;
};
struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
		} u;
	} dst;
};
struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};
struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
};
#pragma clang attribute pop

struct bpf_ct_opts {
	__s32 netns_id, error;
	__u8 l4proto, dir, reserved[2];
};

extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 tuple_size,
	struct bpf_ct_opts *opts, __u32 opts_size) __weak __ksym;
extern void bpf_ct_release(struct nf_conn *ct) __weak __ksym;

enum ct_direction { CT_ORIGINAL, CT_REPLY };

struct conntrack {
	/* Before and after translation: who began, whom it asked for, and who answers. */
	struct packet_addr src, dst, server;
	__be16 sport, dport, server_port;
	__u8 is_reply; /* the packet comes from whom was asked */
};

static __always_inline struct packet_addr conntrack_addr(const union nf_inet_addr *addr, int is6)
{
	if (!is6)
		return mapped(addr->all[0]);
	return (struct packet_addr){{addr->all[0], addr->all[1], addr->all[2], addr->all[3]}};
}

static __always_inline void conntrack_read(const struct nf_conn *ct, int is6, struct conntrack *ret)
{
	const struct nf_conntrack_tuple *original = &ct->tuplehash[CT_ORIGINAL].tuple, *reply = &ct->tuplehash[CT_REPLY].tuple;

	ret->src = conntrack_addr(&original->src.u3, is6);
	ret->dst = conntrack_addr(&original->dst.u3, is6);
	ret->server = conntrack_addr(&reply->src.u3, is6);
	ret->sport = original->src.u.all;
	ret->dport = original->dst.u.all;
	ret->server_port = reply->src.u.all;
}

static __always_inline void conntrack_tuple(struct bpf_sock_tuple *tuple, const struct packet_addr *src,
	const struct packet_addr *dst, __be16 sport, __be16 dport, int is6)
{
	if (!is6) {
		tuple->ipv4.saddr = src->w[3];
		tuple->ipv4.daddr = dst->w[3];
		tuple->ipv4.sport = sport;
		tuple->ipv4.dport = dport;
		return;
	}
	__builtin_memcpy(tuple->ipv6.saddr, src, sizeof(*src));
	__builtin_memcpy(tuple->ipv6.daddr, dst, sizeof(*dst));
	tuple->ipv6.sport = sport;
	tuple->ipv6.dport = dport;
}

/* translated: the packet has been through netfilter, so what conntrack expects in answer is its mirror; otherwise it is
 * still as its sender made it. 0: not known. */
int conntrack_find(struct __sk_buff *skb, const struct packet *packet, int translated, struct conntrack *ret);
__noinline int conntrack_find(struct __sk_buff *skb, const struct packet *packet, int translated, struct conntrack *ret)
{
	struct bpf_ct_opts opts = {.netns_id = BPF_F_CURRENT_NETNS};
	struct bpf_sock_tuple tuple = {};
	struct nf_conn *ct;

	if (!packet || !ret || !config.conntrack || (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP))
		return 0;
	opts.l4proto = packet->protocol;
	if (translated)
		conntrack_tuple(&tuple, &packet->dst, &packet->src, packet->dport, packet->sport, packet->is6);
	else
		conntrack_tuple(&tuple, &packet->src, &packet->dst, packet->sport, packet->dport, packet->is6);
	ct = packet->is6 ? bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv6), &opts, sizeof(opts))
			 : bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	if (!ct)
		return 0;
	conntrack_read(ct, packet->is6, ret);
	bpf_ct_release(ct);
	ret->is_reply = (opts.dir == CT_REPLY) != !!translated;
	return 1;
}
