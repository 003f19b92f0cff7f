/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/policy.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int bad_protocol(const char *word)
{
	return ctl_fail(CTL_USAGE, "PROTOCOL[/PORT]: the value is \"%s\", expected TCP/80, UDP/53, SCTP/9, ICMP, ICMPv6/128 (a type) or "
				   "a number of a protocol", word);
}

bool policy_protocol_has_ports(const struct policy_protocol *protocol)
{
	return protocol->number == IPPROTO_TCP || protocol->number == IPPROTO_UDP || protocol->number == IPPROTO_SCTP ||
		protocol->number == IPPROTO_UDPLITE;
}

int policy_number(const char *text, unsigned max, unsigned *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value > max)
		return -EINVAL;
	*ret = (unsigned)value;
	return 0;
}

int policy_protocol_parse(const char *word, struct policy_protocol *ret)
{
	static const char *const names[] = {"TCP", "UDP", "SCTP", "UDPLite", "ICMP", "ICMPv6"};
	const char *slash = strchr(word, '/');
	size_t len = slash ? (size_t)(slash - word) : strlen(word);
	bool icmp, six;
	unsigned number;

	if (len >= sizeof(ret->name))
		return bad_protocol(word);
	memcpy(ret->name, word, len);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcasecmp(ret->name, names[i]) == 0)
			strcpy(ret->name, names[i]);
	if (netpol_protocol_parse(ret->name, &ret->number) < 0)
		return bad_protocol(word);
	six = ret->number == IPPROTO_ICMPV6;
	icmp = six || ret->number == IPPROTO_ICMP;
	number = six ? 128 : 8;
	if (slash && policy_number(slash + 1, icmp ? 255 : UINT16_MAX, &number) < 0)
		return bad_protocol(word);
	if (policy_protocol_has_ports(ret) ? !slash : slash && !icmp)
		return bad_protocol(word);
	ret->port = icmp ? (uint16_t)(number << 8) : slash ? (uint16_t)number : 0;
	return CTL_OK;
}
