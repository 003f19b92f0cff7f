/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/express_slot.h"

#include "plane/pinned.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>

#define TTL_DEFAULT 64
#define PORT_MIN_DEFAULT 32768
#define PORT_MAX_DEFAULT 60999
#define VXLAN_HAS_VNI 0x08000000

struct header {
	uint8_t bytes[EXPRESS_HEADER];
	size_t length;
};

static void *grow(struct header *header, size_t size)
{
	void *at = header->bytes + header->length;

	header->length += size;
	return at;
}

static void put_ethernet(struct header *header, const struct mac *to, const struct mac *from)
{
	struct ethhdr ethernet = {.h_proto = htons(ETH_P_IP)};

	if (to)
		memcpy(ethernet.h_dest, to->b, ETH_ALEN);
	if (from)
		memcpy(ethernet.h_source, from->b, ETH_ALEN);
	memcpy(grow(header, sizeof(ethernet)), &ethernet, sizeof(ethernet));
}

/* The sum of the words as they are. */
static uint32_t put_ip(struct header *header, uint8_t protocol, uint8_t ttl, uint16_t fragment, uint32_t from, uint32_t to)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .protocol = protocol, .ttl = ttl, .frag_off = htons(fragment), .saddr = from, .daddr = to};
	uint16_t words[sizeof(ip) / 2];
	uint32_t sum = 0;

	memcpy(words, &ip, sizeof(ip));
	for (size_t i = 0; i < sizeof(ip) / 2; i++)
		sum += words[i];
	memcpy(grow(header, sizeof(ip)), &ip, sizeof(ip));
	return sum;
}

static void put_udp(struct header *header, uint16_t from, uint16_t to)
{
	struct udphdr udp = {.source = htons(from), .dest = htons(to)};

	memcpy(grow(header, sizeof(udp)), &udp, sizeof(udp));
}

static void put_vxlan(struct header *header, uint32_t vni)
{
	uint32_t words[2] = {htonl(VXLAN_HAS_VNI), htonl(vni << 8)};

	memcpy(grow(header, sizeof(words)), words, sizeof(words));
}

/* As the kernel chooses them for its own tunnels. */
static void set_ports(struct express_slot *slot)
{
	unsigned min = PORT_MIN_DEFAULT, max = PORT_MAX_DEFAULT;
	FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

	if (file && (fscanf(file, "%u %u", &min, &max) != 2 || min > max || max > UINT16_MAX)) {
		min = PORT_MIN_DEFAULT;
		max = PORT_MAX_DEFAULT;
	}
	if (file)
		fclose(file);
	slot->port_min = (uint16_t)min;
	slot->port_range = (uint16_t)(max - min);
}

static bool put_tunnel(const struct express_plan *plan, const struct express_block *block, const struct addr *source,
	struct header *header, struct express_slot *slot)
{
	uint32_t from = htonl(addr_to_4(source)), to = htonl(addr_to_4(&block->node));

	put_ethernet(header, NULL, NULL);
	switch (block->encap) {
	case EXPRESS_ENCAP_VXLAN:
		slot->kind = EXPRESS_VXLAN;
		slot->sum = put_ip(header, IPPROTO_UDP, TTL_DEFAULT, 0, from, to);
		put_udp(header, 0, plan->vxlan_port);
		put_vxlan(header, plan->vni);
		put_ethernet(header, &block->node_mac, &block->mac);
		set_ports(slot);
		return true;
	case EXPRESS_ENCAP_IPIP:
		slot->kind = EXPRESS_IPIP;
		slot->sum = put_ip(header, IPPROTO_IPIP, 0, 0, from, to);
		return true;
	case EXPRESS_ENCAP_UDP:
		slot->kind = EXPRESS_UDP;
		slot->sum = put_ip(header, IPPROTO_UDP, TTL_DEFAULT, IP_DF, from, to);
		put_udp(header, plan->udp_port, plan->udp_port);
		return true;
	case EXPRESS_ENCAP_NONE:
		break;
	}
	return false;
}

static void set_next(struct express_slot *slot, const struct express_underlay *underlay)
{
	struct packet_addr next = packet_addr_of(&underlay->next);

	slot->device = underlay->device;
	slot->next_family = (uint32_t)addr_family(&underlay->next);
	if (slot->next_family == AF_INET)
		slot->next[0] = next.w[3];
	else
		memcpy(slot->next, next.w, sizeof(slot->next));
}

bool express_slot_make(const struct express_plan *plan, const struct express_block *block, const struct express_underlay *underlay,
	struct express_slot *ret)
{
	const struct addr *source = addr_is_set(&block->local) ? &block->local : &underlay->source;
	struct express_slot slot = {.kind = EXPRESS_PLAIN, .node = packet_addr_of(&block->node)};
	struct header header = {0};
	uint32_t mtu = underlay->mtu;

	if (block->encap != EXPRESS_ENCAP_NONE) {
		if (addr_family(source) != AF_INET || addr_family(&block->node) != AF_INET ||
			!put_tunnel(plan, block, source, &header, &slot) || mtu < header.length)
			return false;
		mtu -= (uint32_t)(header.length - ETH_HLEN);
		mtu = block->mtu && block->mtu < mtu ? block->mtu : mtu;
		memcpy(slot.header, header.bytes, sizeof(slot.header));
	}
	slot.mtu = (uint16_t)(mtu > UINT16_MAX ? UINT16_MAX : mtu);
	set_next(&slot, underlay);
	*ret = slot;
	return true;
}

uint32_t express_slot_source(const struct express_slot *slot)
{
	uint32_t source;

	memcpy(&source, (const uint8_t *)slot->header + ETH_HLEN + offsetof(struct iphdr, saddr), sizeof(source));
	return source;
}

static uint32_t as_4(const struct addr *addr)
{
	return addr_is_set(addr) && addr_family(addr) == AF_INET ? htonl(addr_to_4(addr)) : 0;
}

void express_slot_config(const struct express_plan *plan, const struct addr *own, struct express_config *ret)
{
	*ret = (struct express_config){.vni = htonl(plan->vni << 8), .vxlan_port = htons(plan->vxlan_port), .udp_port = htons(plan->udp_port)};
	ret->local[EXPRESS_PLAIN] = as_4(own);
	if (plan->vxlan_port)
		ret->local[EXPRESS_VXLAN] = as_4(&plan->vxlan_local);
	if (plan->udp_port)
		ret->local[EXPRESS_UDP] = as_4(&plan->carrier_local);
}
