/* SPDX-License-Identifier: Apache-2.0 */
#include "model/failsafe.h"

#include <netinet/in.h>

#define TCP(number) {.protocol = IPPROTO_TCP, .port = (number)}
#define UDP(number) {.protocol = IPPROTO_UDP, .port = (number)}
#define CLUSTER TCP(179), TCP(2379), TCP(2380), TCP(5473), TCP(6443), TCP(6666), TCP(6667)

struct failsafes failsafes_default(enum policy_direction direction)
{
	static const struct failsafes ingress = {.items = {TCP(22), UDP(68), CLUSTER}, .count = 9};
	static const struct failsafes egress = {.items = {UDP(53), UDP(67), CLUSTER}, .count = 9};

	return direction == POLICY_INGRESS ? ingress : egress;
}

bool failsafes_hold(const struct failsafes *failsafes, uint8_t protocol, uint16_t port, const struct addr *remote)
{
	for (size_t i = 0; i < failsafes->count; i++) {
		const struct failsafe *one = &failsafes->items[i];

		if (one->protocol == protocol && one->port == port && (!prefix_is_set(&one->net) || prefix_contains(&one->net, remote)))
			return true;
	}
	return false;
}

bool failsafes_equal(const struct failsafes *a, const struct failsafes *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (a->items[i].protocol != b->items[i].protocol || a->items[i].port != b->items[i].port ||
			!prefix_equal(&a->items[i].net, &b->items[i].net))
			return false;
	return true;
}
