/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * The least that carries a packet from pod to pod over a veth: a hash look-up, one hop less to live, the next hop's Ethernet addresses, a
 * redirect. No policy, no connections, no encapsulation. It is what the rest is measured against (bench/run express), nobody's data path.
 *
 * from_pod at tc ingress of the pod's veth, from_net at that of the uplink; "ways" is filled by hand: destination → what to do.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct way {
	__u32 ifindex; /* for from_pod the uplink, for from_net the pod's veth */
	__u8 to[ETH_ALEN];
	__u8 from[ETH_ALEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32); /* IPv4 destination, network order */
	__type(value, struct way);
} ways SEC(".maps");

static inline const struct way *forward(struct __sk_buff *skb)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct iphdr *ip = (void *)(eth + 1);
	const struct way *way;
	__u32 check;

	if ((void *)(ip + 1) > (void *)(long)skb->data_end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ttl <= 1)
		return NULL;
	way = bpf_map_lookup_elem(&ways, &ip->daddr);
	if (!way)
		return NULL;
	ip->ttl--;
	check = ip->check + bpf_htons(0x0100); /* RFC 1624 */
	ip->check = (__u16)(check + (check >= 0xffff));
	__builtin_memcpy(eth->h_dest, way->to, ETH_ALEN);
	__builtin_memcpy(eth->h_source, way->from, ETH_ALEN);
	return way;
}

SEC("classifier/from_pod")
int from_pod(struct __sk_buff *skb)
{
	const struct way *way = forward(skb);

	return way ? (int)bpf_redirect(way->ifindex, 0) : TC_ACT_OK;
}

SEC("classifier/from_net")
int from_net(struct __sk_buff *skb)
{
	const struct way *way = forward(skb);

	return way ? (int)bpf_redirect_peer(way->ifindex, 0) : TC_ACT_OK;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
