/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * The guard: tc ingress of the uplink, before anything else of ours there. It looks into VXLAN (our port and VNI) and IPIP
 * packets before the kernel takes them apart: the kernel's devices would take them from anybody. What it takes no offence
 * at goes on as it came.
 *
 * Legitimate packets cost two look-ups. Only a packet that is to be dropped is asked whether it is for this node at all:
 * one that is merely forwarded (nodes of another cluster inside our pods, say) is none of our business. Asking the
 * routing table catches every address by which this node can be reached, multicast and broadcast too.
 */
#include "packet.h"

#include "guard_layout.h"

#define NOT_OURS (-1)
#define VXLAN_HAS_VNI 0x08000000
#define CHAIN_MAX 8 /* IPv6 extension headers; nobody sends so many */
#define VLAN_ID_MASK 0xfff

const volatile struct guard_config config = {};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GUARD_SOURCES_MAX);
	__type(key, struct packet_prefix);
	__type(value, struct guard_source);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GUARD_NODES_MAX);
	__type(key, struct packet_addr);
	__type(value, __u32);
} nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GUARD_EXTERNALS_MAX);
	__type(key, struct packet_prefix);
	__type(value, __u32);
} externals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GUARD_COUNT_MAX);
	__type(key, __u32);
	__type(value, struct packet_count);
} counts SEC(".maps");

struct vxlan_head {
	__be32 flags;
	__be32 vni; /* and 8 reserved bits */
};

/* -- is it for this node? -- */

/* AF_INET, AF_INET6 */
#define FAMILY_IP4 2
#define FAMILY_IP6 10

static __noinline int is_forwarded(struct __sk_buff *skb, const struct packet_addr *source, const struct packet_addr *dst,
	int family)
{
	struct bpf_fib_lookup fib = {.family = family, .ifindex = skb->ifindex};
	long r;

	if (family == FAMILY_IP4) {
		fib.ipv4_src = source->w[3];
		fib.ipv4_dst = dst->w[3];
	} else {
		*(struct packet_addr *)fib.ipv6_src = *source;
		*(struct packet_addr *)fib.ipv6_dst = *dst;
	}
	r = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return r == BPF_FIB_LKUP_RET_SUCCESS || r == BPF_FIB_LKUP_RET_NO_NEIGH || r == BPF_FIB_LKUP_RET_FRAG_NEEDED ||
		r == BPF_FIB_LKUP_RET_UNSUPP_LWT;
}

/* -- who may send what -- */

static __always_inline int is_node(const struct packet_addr *sender)
{
	struct packet_prefix key = {.len = 128, .addr = *sender};

	return bpf_map_lookup_elem(&nodes, sender) || bpf_map_lookup_elem(&externals, &key);
}

static __always_inline int judge_source(const struct packet_addr *source, const struct packet_addr *sender)
{
	struct packet_prefix key = {.len = 128, .addr = *source};
	struct guard_source *found = bpf_map_lookup_elem(&sources, &key);

	if (!found || addr_equal(&found->node, sender))
		return GUARD_COUNT_ACCEPTED;
	return addr_unset(&found->node) ? GUARD_COUNT_NOBODY : GUARD_COUNT_FOREIGN;
}

/* -- headers -- */

/* A place in a packet, behind IPv6's extension headers. */
struct chain {
	__u32 offset;
	__u8 next; /* protocol of what stands there */
	__u8 fragment, later; /* there was a fragment header; not of the first one */
};

/* 0: too many headers, or the packet ends among them. */
static __noinline int walk(struct __sk_buff *skb, struct chain *chain)
{
	for (int i = 0; i < CHAIN_MAX; i++) {
		__u8 head[4];

		switch (chain->next) {
		case 0:   /* hop by hop */
		case 43:  /* routing */
		case 60:  /* destination */
		case 135: /* mobility */
		case 51:  /* authentication */
		case NEXTHDR_FRAGMENT:
			break;
		default:
			return 1;
		}
		if (bpf_skb_load_bytes(skb, chain->offset, head, sizeof(head)))
			return 0;
		if (chain->next == NEXTHDR_FRAGMENT) {
			chain->fragment = 1;
			chain->later = head[2] || head[3] & 0xf8;
			chain->offset += 8;
		} else {
			chain->offset += chain->next == 51 ? (head[1] + 2) * 4 : (head[1] + 1) * 8;
		}
		chain->next = head[0];
		if (chain->later)
			return 1;
	}
	return 0;
}

static __always_inline int is_vxlan_port(struct __sk_buff *skb, __u32 udp_offset)
{
	__be16 port;

	return !bpf_skb_load_bytes(skb, udp_offset + 2, &port, sizeof(port)) && port == config.port;
}

static __always_inline int is_our_vni(const struct vxlan_head *head)
{
	return bpf_ntohl(head->vni) >> 8 == config.vni;
}

/* A UDP packet whose outer headers are not such as a node makes: is it ours, as far as can be seen? */
static __noinline int odd_udp(struct __sk_buff *skb, __u32 offset, int reason)
{
	struct vxlan_head head;

	if (!is_vxlan_port(skb, offset))
		return NOT_OURS;
	if (!bpf_skb_load_bytes(skb, offset + sizeof(struct udphdr), &head, sizeof(head)) && !is_our_vni(&head))
		return NOT_OURS;
	return reason;
}

/* -- inner packets -- */

/* A tunnel packet to this node that came by a tunnel would be taken apart without another look. */
static __always_inline int is_nested(struct __sk_buff *skb, __u32 offset, __u8 protocol)
{
	if (protocol == IPPROTO_IPIP)
		return config.ipip;
	return protocol == IPPROTO_UDP && (config.vxlan[0] || config.vxlan[1]) && is_vxlan_port(skb, offset);
}

static __always_inline int is_source4(__be32 addr)
{
	__u32 first = bpf_ntohl(addr) >> 24;

	return first && first != 127 && first < 224;
}

static __noinline int inner4(struct __sk_buff *skb, __u32 offset, const struct packet_addr *sender)
{
	struct packet_addr source, dst;
	struct iphdr *ip;
	__u32 len, head;
	__u8 protocol;
	int later, r;

	if (!ensure(skb, offset + sizeof(*ip)) || start(skb) + offset + sizeof(*ip) > end(skb))
		return GUARD_COUNT_INNER;
	ip = start(skb) + offset;
	head = ip->ihl * 4;
	len = bpf_ntohs(ip->tot_len);
	/* a super-packet above 64 KiB states no length */
	if (!len && skb->gso_size)
		len = skb->len - offset;
	if (ip->version != 4 || head < sizeof(*ip) || len < head || offset + len > skb->len || !is_source4(ip->saddr))
		return GUARD_COUNT_INNER;
	source = mapped(ip->saddr);
	dst = mapped(ip->daddr);
	protocol = ip->protocol;
	later = ip->frag_off & bpf_htons(IP_OFFSET);
	r = judge_source(&source, sender);
	if (r != GUARD_COUNT_ACCEPTED || later || !is_nested(skb, offset + head, protocol))
		return r;
	return is_forwarded(skb, &source, &dst, FAMILY_IP4) ? GUARD_COUNT_ACCEPTED : GUARD_COUNT_NESTED;
}

static __always_inline int is_source6(const struct packet_addr *addr)
{
	if (!(addr->w[0] | addr->w[1] | addr->w[2]) && bpf_ntohl(addr->w[3]) <= 1) /* none, loopback */
		return 0;
	return (addr->w[0] & bpf_htonl(0xff000000)) != bpf_htonl(0xff000000) &&
		(addr->w[0] & bpf_htonl(0xffc00000)) != bpf_htonl(0xfe800000);
}

static __noinline int inner6(struct __sk_buff *skb, __u32 offset, const struct packet_addr *sender)
{
	struct packet_addr source, dst;
	struct chain chain = {};
	struct ipv6hdr *ip;
	__u32 len;
	int r;

	if (!ensure(skb, offset + sizeof(*ip)) || start(skb) + offset + sizeof(*ip) > end(skb))
		return GUARD_COUNT_INNER;
	ip = start(skb) + offset;
	len = bpf_ntohs(ip->payload_len);
	source = addr6(&ip->saddr);
	dst = addr6(&ip->daddr);
	chain.offset = offset + sizeof(*ip);
	chain.next = ip->nexthdr;
	if (ip->version != 6 || offset + sizeof(*ip) + len > skb->len || !is_source6(&source))
		return GUARD_COUNT_INNER;
	r = judge_source(&source, sender);
	if (r != GUARD_COUNT_ACCEPTED)
		return r;
	if (!walk(skb, &chain))
		return GUARD_COUNT_INNER;
	if (chain.later || !is_nested(skb, chain.offset, chain.next))
		return r;
	return is_forwarded(skb, &source, &dst, FAMILY_IP6) ? r : GUARD_COUNT_NESTED;
}

/* -- outer packets: a counter, or NOT_OURS -- */

/* udp: offset of the outer UDP header. Nodes know each other's MAC addresses from the store, so nothing but IP is ever
 * said in our tunnels: no ARP that could poison, no tags. */
static __always_inline int look_vxlan(struct __sk_buff *skb, __u32 udp, const struct packet_addr *sender)
{
	const __u32 inner = udp + sizeof(struct udphdr) + sizeof(struct vxlan_head);
	struct vxlan_head *head;
	struct ethhdr *eth;

	if (!ensure(skb, inner) || start(skb) + inner > end(skb))
		return GUARD_COUNT_OUTER;
	head = start(skb) + udp + sizeof(struct udphdr);
	if (!is_our_vni(head))
		return NOT_OURS;
	if (!(head->flags & bpf_htonl(VXLAN_HAS_VNI)))
		return GUARD_COUNT_OUTER;
	if (!is_node(sender))
		return GUARD_COUNT_NO_NODE;
	if (!ensure(skb, inner + sizeof(*eth)) || start(skb) + inner + sizeof(*eth) > end(skb))
		return GUARD_COUNT_INNER;
	eth = start(skb) + inner;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return inner4(skb, inner + sizeof(*eth), sender);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return inner6(skb, inner + sizeof(*eth), sender);
	return GUARD_COUNT_INNER;
}

/* head: length of the outer header; fragment: what of its field says so. */
static __always_inline int look_ipip(struct __sk_buff *skb, __u32 inner, const struct packet_addr *sender, __u32 head,
	__be16 fragment)
{
	if (!is_node(sender))
		return GUARD_COUNT_NO_NODE;
	if (fragment)
		return GUARD_COUNT_FRAGMENT;
	if (head != sizeof(struct iphdr))
		return GUARD_COUNT_OUTER;
	return inner4(skb, inner, sender);
}

static __always_inline int look4(struct __sk_buff *skb, struct packet_addr *ret_source, struct packet_addr *ret_dst)
{
	const __u32 offset = config.header, next = offset + sizeof(struct iphdr);
	__be16 fragment;
	struct iphdr *ip;
	__u32 head;

	if (!ensure(skb, next) || start(skb) + next > end(skb))
		return NOT_OURS;
	ip = start(skb) + offset;
	head = ip->ihl * 4;
	fragment = ip->frag_off & bpf_htons(IP_MORE_OR_OFFSET);
	if (ip->version != 4 || head < sizeof(*ip))
		return NOT_OURS;
	*ret_source = mapped(ip->saddr);
	*ret_dst = mapped(ip->daddr);
	if (ip->protocol == IPPROTO_IPIP)
		return config.ipip ? look_ipip(skb, next, ret_source, head, fragment) : NOT_OURS;
	if (ip->protocol != IPPROTO_UDP || !config.vxlan[0])
		return NOT_OURS;
	/* without its first fragment, which shows the port, nothing is ever put together */
	if (fragment & bpf_htons(IP_OFFSET))
		return NOT_OURS;
	if (fragment || head != sizeof(*ip))
		return odd_udp(skb, offset + head, fragment ? GUARD_COUNT_FRAGMENT : GUARD_COUNT_OUTER);
	return is_vxlan_port(skb, next) ? look_vxlan(skb, next, ret_source) : NOT_OURS;
}

static __noinline int odd6(struct __sk_buff *skb, struct chain *chain)
{
	if (!walk(skb, chain))
		return GUARD_COUNT_OUTER;
	if (chain->next != IPPROTO_UDP || chain->later)
		return NOT_OURS;
	return odd_udp(skb, chain->offset, chain->fragment ? GUARD_COUNT_FRAGMENT : GUARD_COUNT_OUTER);
}

static __always_inline int look6(struct __sk_buff *skb, struct packet_addr *ret_source, struct packet_addr *ret_dst)
{
	const __u32 offset = config.header, next = offset + sizeof(struct ipv6hdr);
	struct chain chain = {.offset = next};
	struct ipv6hdr *ip;

	if (!config.vxlan[1] || !ensure(skb, next) || start(skb) + next > end(skb))
		return NOT_OURS;
	ip = start(skb) + offset;
	if (ip->version != 6)
		return NOT_OURS;
	*ret_source = addr6(&ip->saddr);
	*ret_dst = addr6(&ip->daddr);
	chain.next = ip->nexthdr;
	if (chain.next == IPPROTO_UDP)
		return is_vxlan_port(skb, next) ? look_vxlan(skb, next, ret_source) : NOT_OURS;
	if (chain.next == IPPROTO_TCP)
		return NOT_OURS;
	return odd6(skb, &chain);
}

/* -- tags: a frame of VLAN 0 is an ordinary one that has a priority, and the stack takes it as such; one of another VLAN
 * belongs to a device above. -- */

enum tag { TAG_NONE, TAG_OTHER, TAG_TWICE };

static __always_inline enum tag tag_of(struct __sk_buff *skb)
{
	__be16 tci;

	if (!skb->vlan_present)
		return TAG_NONE;
	if (skb->vlan_tci & VLAN_ID_MASK)
		return TAG_OTHER;
	if (skb->protocol != bpf_htons(ETH_P_8021Q) && skb->protocol != bpf_htons(ETH_P_8021AD))
		return TAG_NONE;
	if (bpf_skb_load_bytes(skb, config.header, &tci, sizeof(tci)) || tci & bpf_htons(VLAN_ID_MASK))
		return TAG_OTHER;
	return TAG_TWICE;
}

static __always_inline int drop(struct __sk_buff *skb, __u32 reason)
{
	count_in(&counts, skb, reason);
	return TC_ACT_SHOT;
}

SEC("tc")
int guard(struct __sk_buff *skb)
{
	struct packet_addr source = {}, dst = {};
	int reason = NOT_OURS, family = FAMILY_IP4;
	enum tag tag;

	if (skb->pkt_type == PACKET_OTHERHOST)
		return PASS;
	tag = tag_of(skb);
	/* The stack takes off a second tag of VLAN 0 as well, out of our sight: nobody sends such frames in earnest. */
	if (tag != TAG_NONE)
		return tag == TAG_TWICE ? drop(skb, GUARD_COUNT_OUTER) : PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		reason = look4(skb, &source, &dst);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		reason = look6(skb, &source, &dst);
		family = FAMILY_IP6;
	}
	if (reason == NOT_OURS)
		return PASS;
	if (reason != GUARD_COUNT_ACCEPTED)
		return is_forwarded(skb, &source, &dst, family) ? PASS : drop(skb, (__u32)reason);
	count_in(&counts, skb, GUARD_COUNT_ACCEPTED);
	return PASS;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
