/* SPDX-License-Identifier: Apache-2.0
 *
 * Before all rules that mark, translate or route: prerouting at -310, ahead of "raw"; output at -150, with "mangle" and
 * ahead of translation. Behind all that translate, at 110: the packet has its last address and its last interface, and the
 * programs at tc egress come next.
 */
#include "plan/policy_nft.h"

#include "base/cleanup.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool policy_nft_can_name(const char *text)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(text);

	return len > 0 && len < IFNAMSIZ && strspn(text, good) == len;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "{ "a", "b" }", sorted, each once. False: none of them can be named, nothing is appended. */
static bool add_names(struct buf *nft, const char *before, const char *const *all, size_t all_count, const char *behind)
{
	_cleanup_free_ const char **names = calloc(all_count + 1, sizeof(*names));
	size_t count = 0;

	for (size_t i = 0; names && i < all_count; i++)
		if (policy_nft_can_name(all[i]))
			names[count++] = all[i];
	if (!names)
		nft->error = nft->error ? nft->error : -ENOMEM;
	if (!count)
		return false;
	qsort(names, count, sizeof(*names), by_name);
	buf_printf(nft, "%s{ \"%s\"", before, names[0]);
	for (size_t i = 1; i < count; i++)
		if (strcmp(names[i], names[i - 1]))
			buf_printf(nft, ", \"%s\"", names[i]);
	buf_printf(nft, " }%s", behind);
	return true;
}

/* Also what is sent to this node itself: translation may lead it to a pod later. */
static void add_output(struct buf *nft, const struct policy_nft_input *input)
{
	buf_printf(nft,
		"\tchain policy_output {\n\t\ttype filter hook output priority -150; policy accept;\n"
		"\t\tmeta mark set meta mark | 0x%08x comment \"sent by this node\"\n\t}\n",
		input->mark_host);
}

static void add_prerouting(struct buf *nft, const struct policy_nft_input *input)
{
	uint32_t both = input->mark_pending | input->mark_host;

	buf_printf(nft,
		"\tchain policy_prerouting {\n\t\ttype filter hook prerouting priority -310; policy accept;\n"
		"\t\tmeta mark & 0x%08x == 0x00000000 return\n", both);
	add_names(nft, "\t\tiifname ", input->hosts, input->host_count, " goto policy_raw_in\n");
	for (size_t i = 0; i < input->pod_count; i++)
		if (policy_nft_can_name(input->pods[i]))
			buf_printf(nft, "\t\tiifname \"%s*\" meta mark set meta mark & 0x%08x return\n", input->pods[i],
				~input->mark_host);
	buf_printf(nft, "\t\tmeta mark set meta mark & 0x%08x comment \"nobody else's business\"\n\t}\n", ~both);
}

/* Ahead of conntrack, which sees no other packet of such a flow. */
static void add_express(struct buf *nft, const struct policy_nft_input *input)
{
	buf_printf(nft,
		"\tchain express_prerouting {\n\t\ttype filter hook prerouting priority -310; policy accept;\n"
		"\t\tmeta mark & 0x%08x == 0x00000000 accept\n"
		"\t\tmeta mark set meta mark & 0x%08x notrack comment \"of a flow that conntrack does not know\"\n\t}\n",
		input->mark_express, ~input->mark_express);
}

static void add_exit(struct buf *nft, const struct policy_nft_input *input)
{
	buf_printf(nft,
		"\tchain policy_exit {\n\t\ttype filter hook postrouting priority 110; policy accept;\n"
		"\t\tmeta mark & 0x%08x == 0x00000000 accept\n", input->mark_pending);
	for (size_t i = 0; i < input->pod_count; i++)
		if (policy_nft_can_name(input->pods[i]))
			buf_printf(nft, "\t\toifname \"%s*\" accept\n", input->pods[i]);
	add_names(nft, "\t\toifname ", input->exits, input->exit_count, " accept\n");
	buf_add_str(nft, "\t\tcounter drop comment \"egress of a pod, which nobody judges at this interface\"\n\t}\n");
}

/* -- host endpoints: docs/policy-programs.md -- */

static void add_hosts(struct buf *nft, const struct policy_nft_input *input, const char *before, const char *behind)
{
	add_names(nft, before, input->hosts, input->host_count, behind);
}

static const char *protocol_name(uint8_t protocol)
{
	return protocol == IPPROTO_UDP ? "udp" : protocol == IPPROTO_SCTP ? "sctp" : "tcp";
}

/* What always passes. port, net: how the rule names the destination's port and the other end's address. */
static void add_failsafes(struct buf *nft, const struct failsafes *all, const char *port, const char *net, const char *verdict)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < all->count; i++) {
		const struct failsafe *one = &all->items[i];

		buf_printf(nft, "\t\tmeta l4proto %s ", protocol_name(one->protocol));
		if (prefix_is_set(&one->net))
			buf_printf(nft, "%s %s %s ", one->net.family == AF_INET ? "ip" : "ip6", net, prefix_format(&one->net, text));
		buf_printf(nft, "%s %u %s\n", port, one->port, verdict);
	}
}

/* Tunnels between nodes have guards of their own. */
static void add_tunnels(struct buf *nft, const struct policy_nft_input *input, const char *verdict)
{
	buf_printf(nft, "\t\tmeta l4proto 4 %s\n", verdict);
	if (input->tunnel_port)
		buf_printf(nft, "\t\tudp dport %u %s\n", input->tunnel_port, verdict);
}

/* Answers pass: whoever began was judged, and each packet of theirs is judged as the first one was, so that a connection is cut
 * when policy comes to deny it. To be expected are errors that belong to a connection. */
static void add_answers(struct buf *nft, bool standing, const char *verdict)
{
	if (standing) {
		buf_printf(nft, "\t\tct state established,related %s\n", verdict);
		return;
	}
	buf_printf(nft, "\t\tct state related %s\n", verdict);
	buf_printf(nft, "\t\tct direction reply %s\n", verdict);
}

/* The programs mark what doNotTrack policies allow. Failsafe ports are tracked, so that answers pass without a policy. */
static void add_raw_in(struct buf *nft, const struct policy_nft_input *input)
{
	buf_printf(nft,
		"\tchain policy_raw_in {\n\t\tmeta mark & 0x%08x != 0x%08x return\n\t\tmeta mark set meta mark & 0x%08x\n",
		input->mark_pending | input->mark_host, input->mark_host, ~input->mark_host);
	add_failsafes(nft, &input->failsafes[POLICY_INGRESS], "th dport", "saddr", "return");
	add_failsafes(nft, &input->failsafes[POLICY_EGRESS], "th sport", "saddr", "return");
	buf_add_str(nft, "\t\tnotrack\n\t}\n");
}

static void add_input(struct buf *nft, const struct policy_nft_input *input)
{
	buf_printf(nft,
		"\tchain policy_input {\n\t\ttype filter hook input priority -5; policy accept;\n"
		"\t\tmeta mark & 0x%08x == 0x00000000 accept\n", input->mark_pending);
	add_hosts(nft, input, "\t\tiifname != ", " accept\n");
	add_answers(nft, input->keep, "accept");
	add_failsafes(nft, &input->failsafes[POLICY_INGRESS], "th dport", "saddr", "accept");
	add_tunnels(nft, input, "accept");
	buf_add_str(nft, "\t\tcounter drop comment \"denied to this node by policy of a host endpoint\"\n\t}\n");
}

/* From here on the bits mean what they mean behind pods' interfaces: pending, judged where it leaves. */
static void add_forward(struct buf *nft, const struct policy_nft_input *input)
{
	uint32_t both = input->mark_pending | input->mark_host;
	bool standing = input->keep || !input->forwards;
	char clear[64], pass[64];

	snprintf(clear, sizeof(clear), "meta mark set meta mark & 0x%08x", ~input->mark_host);
	snprintf(pass, sizeof(pass), "meta mark set meta mark & 0x%08x return", ~both);
	buf_add_str(nft, "\tchain policy_forward_in {\n");
	add_answers(nft, input->keep, pass);
	add_failsafes(nft, &input->failsafes[POLICY_INGRESS], "ct original proto-dst", "saddr", clear);
	buf_printf(nft, "\t\tmeta mark & 0x%08x != 0x00000000 counter drop comment \"denied early by policy of a host endpoint\"\n",
		input->mark_host);
	if (standing && !input->keep)
		buf_printf(nft, "\t\tct state established %s\n", pass);
	buf_printf(nft, "\t\tmeta mark set meta mark & 0x%08x\n\t\tmeta mark set meta mark | 0x%08x\n\t}\n", ~both, input->mark_pending);
	buf_add_str(nft, "\tchain policy_forward {\n\t\ttype filter hook forward priority -5; policy accept;\n");
	add_hosts(nft, input, "\t\tiifname ", " jump policy_forward_in\n");
	add_answers(nft, standing, "accept");
	add_hosts(nft, input, "\t\toifname ", "");
	buf_printf(nft, " meta mark set meta mark | 0x%08x\n\t}\n", input->mark_pending);
}

/* What the node itself sends is judged where it leaves if it has both marks: without this table nobody is locked out. */
static void add_leave(struct buf *nft, const struct policy_nft_input *input)
{
	buf_printf(nft,
		"\tchain policy_leave {\n\t\ttype filter hook postrouting priority 105; policy accept;\n"
		"\t\tmeta mark & 0x%08x == 0x00000000 accept\n", input->mark_host);
	add_hosts(nft, input, "\t\toifname != ", " accept\n");
	add_answers(nft, input->keep, "accept");
	add_failsafes(nft, &input->failsafes[POLICY_EGRESS], "th dport", "daddr", "accept");
	add_tunnels(nft, input, "accept");
	buf_printf(nft, "\t\tmeta mark set meta mark | 0x%08x\n\t}\n", input->mark_pending);
}

static bool has_hosts(const struct policy_nft_input *input)
{
	for (size_t i = 0; i < input->host_count; i++)
		if (policy_nft_can_name(input->hosts[i]))
			return true;
	return false;
}

int policy_nft_add(struct buf *nft, const struct policy_nft_input *input)
{
	add_output(nft, input);
	add_prerouting(nft, input);
	add_exit(nft, input);
	if (input->mark_express)
		add_express(nft, input);
	if (has_hosts(input)) {
		add_raw_in(nft, input);
		if (input->untracked)
			buf_add_str(nft, input->untracked);
		add_input(nft, input);
		add_forward(nft, input);
		add_leave(nft, input);
	}
	return nft->error;
}
