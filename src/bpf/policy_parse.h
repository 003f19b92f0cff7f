/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * From the bytes of a packet to what policy asks about it. Offsets are counted from the network header, so that devices with
 * and without a link-layer header are the same. What an end system would read otherwise than we do is refused here: headers
 * that are cut off or hidden in fragments, source routes, too many extension headers.
 */
#pragma once

#include "packet.h"

#include "policy_layout.h"

#define OK POLICY_COUNT_ALLOWED
#define HEADERS_MAX 6
#define NEXTHDR_HOP 0
#define NEXTHDR_ROUTING 43
#define NEXTHDR_AUTH 51
#define NEXTHDR_DEST 60
#define IP_OPTIONS_MAX 10 /* that are followed */
#define IP_OPTION_END 0
#define IP_OPTION_NOOP 1
#define IP_OPTION_LOOSE_ROUTE 131
#define IP_OPTION_STRICT_ROUTE 137
#define PROTOCOL_SCTP 132
#define PROTOCOL_UDPLITE 136
#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16
#define TCP_HEADER 20
#define TCP_FLAGS 13
#define L4_HEADER 8 /* of all others that have ports, and of ICMP */

enum fragment { FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER };
enum icmp_kind { ICMP_NONE, ICMP_ASK, ICMP_ANSWER, ICMP_ERROR, ICMP_LINK, ICMP_OTHER };

struct packet {
	struct packet_addr src, dst;
	__u32 l4;    /* where the header behind IP's begins */
	__u32 limit; /* where the packet ends, by its own word */
	__u32 id;    /* of fragments */
	__be16 sport, dport; /* as flows know them */
	__be16 port;         /* as policy judges it */
	__u8 is6, protocol;
	__u8 fragment, icmp; /* enum fragment, enum icmp_kind */
	__u8 type, tcp;      /* of ICMP; flags of TCP */
	__u8 hops, split;    /* hop limit; has an IPv6 fragment header, be it of a whole packet */
};

static __always_inline long load(struct __sk_buff *skb, __u32 offset, void *to, __u32 len)
{
	return bpf_skb_load_bytes_relative(skb, offset, to, len, BPF_HDR_START_NET);
}

static __always_inline int is_link_local(const struct packet_addr *addr)
{
	return (addr->w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* Multicast that no router forwards. */
static __always_inline int is_link_multicast(const struct packet_addr *addr)
{
	return (addr->w[0] & bpf_htonl(0xff0f0000)) == bpf_htonl(0xff020000);
}

/* -- behind the IP headers -- */

#define ICMP4_ANSWER 0
#define ICMP4_UNREACHABLE 3
#define ICMP4_REDIRECT 5
#define ICMP4_ASK 8
#define ICMP4_TIME 11
#define ICMP4_PARAMETER 12

static __always_inline __u8 kind4(__u8 type)
{
	if (type == ICMP4_ASK)
		return ICMP_ASK;
	if (type == ICMP4_ANSWER)
		return ICMP_ANSWER;
	if (type == ICMP4_UNREACHABLE || type == ICMP4_TIME || type == ICMP4_PARAMETER)
		return ICMP_ERROR;
	return ICMP_OTHER;
}

#define ICMP6_ERROR_FIRST 1
#define ICMP6_ERROR_LAST 4
#define ICMP6_ASK 128
#define ICMP6_ANSWER 129
/* Neighbour discovery, and multicast listeners' reports. */
#define ICMP6_LISTENER_QUERY 130
#define ICMP6_LISTENER_DONE 132
#define ICMP6_ROUTER_SOLICIT 133
#define ICMP6_ROUTER_ADVERT 134
#define ICMP6_NEIGHBOUR_SOLICIT 135
#define ICMP6_NEIGHBOUR_ADVERT 136
#define ICMP6_REDIRECT 137
#define ICMP6_LISTENER_REPORT2 143

static __always_inline __u8 kind6(__u8 type)
{
	if (type == ICMP6_ASK)
		return ICMP_ASK;
	if (type == ICMP6_ANSWER)
		return ICMP_ANSWER;
	if (type >= ICMP6_ERROR_FIRST && type <= ICMP6_ERROR_LAST)
		return ICMP_ERROR;
	if ((type >= ICMP6_LISTENER_QUERY && type <= ICMP6_REDIRECT) || type == ICMP6_LISTENER_REPORT2)
		return ICMP_LINK;
	return ICMP_OTHER;
}

static __always_inline int parse_icmp(struct __sk_buff *skb, struct packet *packet)
{
	struct {
		__u8 type, code;
		__be16 check, id, sequence;
	} icmp;

	if (packet->l4 + sizeof(icmp) > packet->limit || load(skb, packet->l4, &icmp, sizeof(icmp)))
		return POLICY_COUNT_SHORT;
	packet->type = icmp.type;
	packet->icmp = packet->is6 ? kind6(icmp.type) : kind4(icmp.type);
	packet->port = bpf_htons(icmp.type << 8 | icmp.code);
	if (packet->icmp == ICMP_ASK || packet->icmp == ICMP_ANSWER)
		packet->sport = packet->dport = icmp.id;
	return OK;
}

/* Flags are behind the ports, so a first fragment has to hold the whole header. Of a packet that an ICMP error quotes only
 * the beginning is there. */
static __always_inline int parse_ports(struct __sk_buff *skb, struct packet *packet, int quoted)
{
	const __u32 len = packet->protocol == IPPROTO_TCP && !quoted ? TCP_HEADER : L4_HEADER;
	__be16 pair[2];

	if (packet->l4 + len > packet->limit || load(skb, packet->l4, pair, sizeof(pair)))
		return POLICY_COUNT_SHORT;
	packet->sport = pair[0];
	packet->dport = packet->port = pair[1];
	if (packet->protocol == IPPROTO_TCP && !quoted && load(skb, packet->l4 + TCP_FLAGS, &packet->tcp, 1))
		return POLICY_COUNT_SHORT;
	return OK;
}

static __always_inline int has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == PROTOCOL_SCTP || protocol == PROTOCOL_UDPLITE;
}

static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *packet, int quoted)
{
	if (packet->fragment == FRAGMENT_LATER)
		return OK;
	if (has_ports(packet->protocol))
		return parse_ports(skb, packet, quoted);
	if (packet->protocol == (packet->is6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return parse_icmp(skb, packet);
	return OK;
}

/* -- IPv4 -- */

/* A source route hides where the packet goes to. */
static __noinline int check_options(struct __sk_buff *skb, __u32 offset, __u32 len)
{
	__u32 at = 0;

	for (int i = 0; i < IP_OPTIONS_MAX && at < len; i++) {
		__u8 option[2] = {};

		if (load(skb, offset + at, option, 1))
			return POLICY_COUNT_SHORT;
		if (option[0] == IP_OPTION_END)
			return OK;
		if (option[0] == IP_OPTION_LOOSE_ROUTE || option[0] == IP_OPTION_STRICT_ROUTE)
			return POLICY_COUNT_HEADERS;
		if (option[0] == IP_OPTION_NOOP) {
			at++;
			continue;
		}
		if (load(skb, offset + at + 1, option, 1) || option[0] < 2)
			return POLICY_COUNT_SHORT;
		at += option[0];
	}
	return at < len ? POLICY_COUNT_HEADERS : OK;
}

static __always_inline int parse4(struct __sk_buff *skb, __u32 offset, struct packet *packet, int quoted)
{
	struct iphdr ip;
	__u32 head, len, place;

	if (load(skb, offset, &ip, sizeof(ip)))
		return POLICY_COUNT_SHORT;
	head = ip.ihl * 4;
	len = bpf_ntohs(ip.tot_len);
	if (!len && !quoted)
		len = skb->len; /* a super-packet above 64 KiB states no length */
	if (ip.version != 4 || head < sizeof(ip) || len < head)
		return POLICY_COUNT_SHORT;
	packet->src = mapped(ip.saddr);
	packet->dst = mapped(ip.daddr);
	packet->protocol = ip.protocol;
	packet->hops = ip.ttl;
	packet->l4 = offset + head;
	packet->limit = offset + len;
	place = bpf_ntohs(ip.frag_off) & IP_OFFSET;
	if (place || ip.frag_off & bpf_htons(IP_MORE_OR_OFFSET)) {
		packet->fragment = place ? FRAGMENT_LATER : FRAGMENT_FIRST;
		packet->id = ip.id;
	}
	if (place == 1 && ip.protocol == IPPROTO_TCP)
		return POLICY_COUNT_SHORT;
	if (head > sizeof(ip) && !quoted) {
		int reason = check_options(skb, offset + sizeof(ip), head - sizeof(ip));

		if (reason != OK)
			return reason;
	}
	return parse_l4(skb, packet, quoted);
}

/* -- IPv6 -- */

static __always_inline int is_extension(__u8 next)
{
	return next == NEXTHDR_HOP || next == NEXTHDR_ROUTING || next == NEXTHDR_DEST || next == NEXTHDR_AUTH ||
		next == NEXTHDR_FRAGMENT;
}

static __always_inline void set_fragment(struct packet *packet, const __u8 head[8])
{
	int place = head[2] || head[3] & 0xf8;

	packet->split = 1;
	if (place)
		packet->fragment = FRAGMENT_LATER;
	else if (head[3] & 1)
		packet->fragment = FRAGMENT_FIRST;
	__builtin_memcpy(&packet->id, head + 4, sizeof(packet->id));
}

/* protocol and l4 go on behind the extension headers. Segments that are left in a routing header hide where the packet
 * goes to. */
static __noinline int walk_headers(struct __sk_buff *skb, struct packet *packet)
{
	for (int i = 0; i <= HEADERS_MAX; i++) {
		__u8 head[8];

		if (!is_extension(packet->protocol))
			return OK;
		if (i == HEADERS_MAX)
			break;
		if (packet->l4 + sizeof(head) > packet->limit || load(skb, packet->l4, head, sizeof(head)))
			return POLICY_COUNT_SHORT;
		if (packet->protocol == NEXTHDR_FRAGMENT) {
			if (packet->split)
				break;
			set_fragment(packet, head);
			packet->l4 += 8;
		} else {
			if (packet->protocol == NEXTHDR_ROUTING && head[3])
				break;
			packet->l4 += packet->protocol == NEXTHDR_AUTH ? (head[1] + 2) * 4 : (head[1] + 1) * 8;
		}
		packet->protocol = head[0];
		if (packet->fragment == FRAGMENT_LATER)
			return OK;
	}
	return POLICY_COUNT_HEADERS;
}

/* The maps would take it for an IPv4 address. */
static __always_inline int is_mapped(const struct packet_addr *addr)
{
	return !(addr->w[0] | addr->w[1]) && addr->w[2] == bpf_htonl(0xffff);
}

static __always_inline int parse6(struct __sk_buff *skb, __u32 offset, struct packet *packet, int quoted)
{
	struct ipv6hdr ip;
	__u32 len;
	int reason;

	if (load(skb, offset, &ip, sizeof(ip)))
		return POLICY_COUNT_SHORT;
	len = bpf_ntohs(ip.payload_len);
	if (!len && !quoted)
		len = skb->len; /* a super-packet */
	if (ip.version != 6)
		return POLICY_COUNT_SHORT;
	packet->is6 = 1;
	packet->src = addr6(&ip.saddr);
	packet->dst = addr6(&ip.daddr);
	packet->protocol = ip.nexthdr;
	packet->hops = ip.hop_limit;
	packet->l4 = offset + sizeof(ip);
	packet->limit = packet->l4 + len;
	if (is_mapped(&packet->src) || is_mapped(&packet->dst))
		return POLICY_COUNT_SOURCE;
	reason = walk_headers(skb, packet);
	return reason == OK ? parse_l4(skb, packet, quoted) : reason;
}

/* -- what nearly all packets are: IPv4 or IPv6 without options or extension headers, TCP or UDP, whole -- */

struct ports_at {
	__be16 sport, dport;
	__u8 sequence[8], length, flags; /* of TCP */
};

/* 0: it has to be looked at more closely. */
static __always_inline int parse_plain_l4(struct __sk_buff *skb, struct packet *packet, __u32 offset, __u32 len)
{
	const struct ports_at *at = start(skb) + offset;

	if (packet->protocol == IPPROTO_TCP) {
		if (len < TCP_HEADER || start(skb) + offset + TCP_HEADER > end(skb))
			return 0;
		packet->tcp = at->flags;
	} else if (packet->protocol != IPPROTO_UDP || len < L4_HEADER || start(skb) + offset + L4_HEADER > end(skb)) {
		return 0;
	}
	packet->sport = at->sport;
	packet->dport = packet->port = at->dport;
	return 1;
}

static __always_inline int parse_plain4(struct __sk_buff *skb, struct packet *packet)
{
	const __u32 l4 = ETH_HLEN + sizeof(struct iphdr);
	const struct iphdr *ip = start(skb) + ETH_HLEN;
	__u32 len;

	if (start(skb) + l4 > end(skb) || ip->version != 4 || ip->ihl != sizeof(*ip) / 4 ||
		ip->frag_off & bpf_htons(IP_MORE_OR_OFFSET))
		return 0;
	len = bpf_ntohs(ip->tot_len);
	packet->src = mapped(ip->saddr);
	packet->dst = mapped(ip->daddr);
	packet->protocol = ip->protocol;
	return len >= sizeof(*ip) && parse_plain_l4(skb, packet, l4, len - sizeof(*ip));
}

static __always_inline int parse_plain6(struct __sk_buff *skb, struct packet *packet)
{
	const __u32 l4 = ETH_HLEN + sizeof(struct ipv6hdr);
	const struct ipv6hdr *ip = start(skb) + ETH_HLEN;

	if (start(skb) + l4 > end(skb) || ip->version != 6)
		return 0;
	packet->is6 = 1;
	packet->src = addr6(&ip->saddr);
	packet->dst = addr6(&ip->daddr);
	packet->protocol = ip->nexthdr;
	return !is_mapped(&packet->src) && !is_mapped(&packet->dst) &&
		parse_plain_l4(skb, packet, l4, bpf_ntohs(ip->payload_len));
}

/* Behind an Ethernet header; packet is all zero. */
static __always_inline int parse_plain(struct __sk_buff *skb, struct packet *packet)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return parse_plain4(skb, packet);
	return skb->protocol == bpf_htons(ETH_P_IPV6) && parse_plain6(skb, packet);
}

/* Functions that are not static are verified once, not once for every way that leads to them; and the verifier wants their
 * pointers checked. */
int parse(struct __sk_buff *skb, struct packet *packet);
int parse_quoted(struct __sk_buff *skb, const struct packet *error, struct packet *packet);

/* OK, or why it cannot be told. */
__noinline int parse(struct __sk_buff *skb, struct packet *packet)
{
	if (!packet)
		return POLICY_COUNT_SHORT;
	*packet = (struct packet){};
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return parse4(skb, 0, packet, 0);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return parse6(skb, 0, packet, 0);
	return POLICY_COUNT_PROTOCOL;
}

/* The packet that an ICMP error quotes. */
__noinline int parse_quoted(struct __sk_buff *skb, const struct packet *error, struct packet *packet)
{
	__u32 offset;

	if (!error || !packet)
		return POLICY_COUNT_SHORT;
	offset = error->l4 + L4_HEADER;
	return error->is6 ? parse6(skb, offset, packet, 1) : parse4(skb, offset, packet, 1);
}
