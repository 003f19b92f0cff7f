/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Is a pod who it says it is: MAC, IPv4 and IPv6 source, ARP, neighbour discovery. And what no pod may be: a router, a DHCP
 * server, the end of a tunnel.
 */
#pragma once

#include "policy_maps.h"

#define ARP_ETHERNET 1
#define TUNNEL_IP6 41 /* IPv6 in IP */
#define DHCP4_SERVER 67
#define DHCP6_SERVER 547
#define HOPS_ON_LINK 255
#define OPTION_SOURCE_MAC 1
#define OPTION_TARGET_MAC 2
#define OPTIONS_MAX 8

struct arp {
	__be16 hardware, protocol;
	__u8 hardware_len, protocol_len;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender_ip[4];
	__u8 target_mac[6];
	__u8 target_ip[4];
};

static __always_inline int is_mac(const __u8 mac[6], const struct policy_endpoint *pod)
{
	__u8 differ = 0;

#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		differ |= mac[i] ^ pod->mac[i];
	return !differ;
}

static __always_inline int is_allowed_source(__u32 ifindex, const struct packet_addr *addr)
{
	struct policy_source key = {.len = 32 + 128, .ifindex = ifindex, .addr = *addr};

	return bpf_map_lookup_elem(&sources, &key) != NULL;
}

static __always_inline int is_own(const struct policy_endpoint *pod, const struct packet_addr *addr)
{
	return addr_equal(addr, &pod->addr[0]) || addr_equal(addr, &pod->addr[1]);
}

static __noinline int check_arp(struct __sk_buff *skb, const struct policy_endpoint *pod)
{
	struct packet_addr sender;
	struct arp arp;
	__be32 ip;

	if (load(skb, 0, &arp, sizeof(arp)))
		return POLICY_COUNT_SHORT;
	if (arp.hardware != bpf_htons(ARP_ETHERNET) || arp.protocol != bpf_htons(ETH_P_IP) || arp.hardware_len != 6 ||
		arp.protocol_len != 4 || !is_mac(arp.sender_mac, pod))
		return POLICY_COUNT_ARP;
	__builtin_memcpy(&ip, arp.sender_ip, sizeof(ip));
	sender = mapped(ip);
	if (!ip || addr_equal(&sender, &pod->addr[0]) || pod->flags & POLICY_ENDPOINT_FREE)
		return OK;
	return is_allowed_source(skb->ifindex, &sender) ? OK : POLICY_COUNT_ARP;
}

/* The address that IPv6 makes from the MAC. */
static __always_inline int is_own_link_local(const struct packet_addr *addr, const struct policy_endpoint *pod)
{
	const __u8 *mac = pod->mac;
	__u8 bytes[16] = {0xfe, 0x80, [8] = mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
	struct packet_addr own;

	__builtin_memcpy(&own, bytes, sizeof(own));
	return addr_equal(addr, &own);
}

/* Link-layer addresses that it tells must be the pod's. */
static __noinline int check_options_mac(struct __sk_buff *skb, __u32 offset, const struct policy_endpoint *pod)
{
	for (int i = 0; i < OPTIONS_MAX; i++) {
		__u8 option[8];

		if (load(skb, offset, option, sizeof(option)))
			return OK;
		if ((option[0] == OPTION_SOURCE_MAC || option[0] == OPTION_TARGET_MAC) && !is_mac(option + 2, pod))
			return POLICY_COUNT_NEIGHBOUR;
		if (!option[1])
			return POLICY_COUNT_NEIGHBOUR;
		offset += option[1] * 8;
	}
	return POLICY_COUNT_NEIGHBOUR;
}

static __noinline int check_neighbour(struct __sk_buff *skb, const struct packet *packet, const struct policy_endpoint *pod)
{
	struct packet_addr target;

	if (packet->type == ICMP6_ROUTER_ADVERT || packet->type == ICMP6_REDIRECT)
		return POLICY_COUNT_ROUTER;
	if (packet->type < ICMP6_ROUTER_SOLICIT || packet->type > ICMP6_REDIRECT)
		return OK;
	if (packet->hops != HOPS_ON_LINK || packet->split)
		return POLICY_COUNT_NEIGHBOUR;
	if (packet->type == ICMP6_ROUTER_SOLICIT)
		return check_options_mac(skb, packet->l4 + 8, pod);
	if (load(skb, packet->l4 + 8, &target, sizeof(target)))
		return POLICY_COUNT_SHORT;
	if (packet->type == ICMP6_NEIGHBOUR_ADVERT && (addr_unset(&target) || !is_own(pod, &target)) &&
		!is_own_link_local(&target, pod) && !is_allowed_source(skb->ifindex, &target))
		return POLICY_COUNT_NEIGHBOUR;
	return check_options_mac(skb, packet->l4 + 24, pod);
}

static __always_inline int is_source(const struct packet *packet, const struct policy_endpoint *pod, __u32 ifindex)
{
	const struct packet_addr *src = &packet->src;

	if (!packet->is6 && addr_equal(src, &pod->addr[0]))
		return 1;
	/* before it has an address: duplicate address detection, listeners' reports */
	if (packet->is6 && addr_unset(src))
		return packet->icmp == ICMP_LINK && is_link_multicast(&packet->dst);
	if (packet->is6 && addr_equal(src, &pod->addr[1]))
		return 1;
	if (packet->is6 && is_link_local(src))
		return is_link_local(&packet->dst) || is_link_multicast(&packet->dst);
	return pod->flags & POLICY_ENDPOINT_FREE || is_allowed_source(ifindex, src);
}

/* What most packets are: check_source would say OK. */
static __always_inline int is_plainly_own(const struct packet *packet, const struct policy_endpoint *pod)
{
	if (packet->protocol != IPPROTO_TCP)
		return 0;
	return addr_equal(&packet->src, packet->is6 ? &pod->addr[1] : &pod->addr[0]) && !addr_unset(&packet->src);
}

/* OK, or why the packet cannot be this pod's. */
int check_source(struct __sk_buff *skb, const struct packet *packet, const struct policy_endpoint *pod);
__noinline int check_source(struct __sk_buff *skb, const struct packet *packet, const struct policy_endpoint *pod)
{
	if (!packet || !pod)
		return POLICY_COUNT_UNKNOWN;
	if (!is_source(packet, pod, skb->ifindex))
		return POLICY_COUNT_SOURCE;
	if (packet->icmp == ICMP_LINK)
		return check_neighbour(skb, packet, pod);
	if (packet->protocol == IPPROTO_ICMP && !packet->is6 && packet->type == ICMP4_REDIRECT)
		return POLICY_COUNT_ROUTER;
	if (packet->protocol == IPPROTO_UDP && packet->sport == bpf_htons(packet->is6 ? DHCP6_SERVER : DHCP4_SERVER))
		return POLICY_COUNT_DHCP;
	if ((packet->protocol == IPPROTO_IPIP || packet->protocol == TUNNEL_IP6) && !(pod->flags & POLICY_ENDPOINT_TUNNELS))
		return POLICY_COUNT_TUNNEL;
	return OK;
}
