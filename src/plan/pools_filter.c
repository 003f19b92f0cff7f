/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may send packets of tunnels (reference/calico.md 5.5, 7.9): to this node only other nodes, and no pod
 * to anybody. Judged before the kernel takes a packet apart. Of vxlan only our own network is meant: packets
 * of another VNI on the same port belong to somebody else. The guard at the uplink (struct wanted_guard)
 * looks inside as well; these rules stand also without it, and at every interface.
 */
#include "plan/pools_internal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PREFIXES_MAX 32

/* "udp dport 4789 @th,96,24 4096": UDP's header is 64 bits, then 8 of flags, 24 reserved, 24 of VNI. */
static void add_vxlan_match(const struct felix *felix, struct buf *buf)
{
	buf_printf(buf, "udp dport %u @th,96,24 %u", felix->vxlan_port, felix->vxlan_vni);
}

/* A tunnel's packets are one flow each, whatever is inside. */
static void add_untracked(const struct poolplan *plan, struct buf *buf)
{
	const struct felix *felix = plan->input->felix;

	buf_add_str(buf,
		"\tchain untracked {\n\t\ttype filter hook prerouting priority -300; policy accept;\n\t\t");
	add_vxlan_match(felix, buf);
	buf_add_str(buf, " fib daddr type local notrack\n\t}\n");
	buf_add_str(buf,
		"\tchain untracked_out {\n\t\ttype filter hook output priority -300; policy accept;\n\t\t");
	add_vxlan_match(felix, buf);
	buf_add_str(buf, " notrack\n\t}\n");
}

static void add_senders(const char *set, int f, struct buf *buf)
{
	const char *ip = poolplan_nft_word[f];
	char d = poolplan_nft_digit[f];

	buf_printf(buf, " %s saddr != @%s%c %s saddr != @" SET_EXTERNALS "%c drop", ip, set, d, ip, d);
}

static void add_senders_rules(const struct poolplan *plan, struct buf *buf)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!plan->vxlan[f])
			continue;
		buf_add_str(buf, "\t\t");
		add_vxlan_match(plan->input->felix, buf);
		add_senders(SET_VTEPS, f, buf);
		buf_add_str(buf, " comment \"vxlan from no node\"\n");
	}
	if (!plan->ipip)
		return;
	buf_add_str(buf, "\t\tip protocol 4");
	add_senders(SET_NODES, FAMILY_4, buf);
	buf_add_str(buf, " comment \"ipip from no node\"\n");
}

/* -- pods, by the names of their interfaces -- */

struct word {
	const char *text;
	size_t len;
};

static int by_text(const void *a, const void *b)
{
	const struct word *one = a, *other = b;
	int d = strncmp(one->text, other->text, one->len < other->len ? one->len : other->len);

	return d ? d : one->len < other->len ? -1 : one->len > other->len;
}

static int split_prefixes(struct poolplan *plan, struct word words[static PREFIXES_MAX], size_t *count)
{
	const char *rest = plan->input->felix->interface_prefix;
	int r = 0;

	words[(*count)++] = (struct word){"tul", 3};
	for (size_t len; *rest && r == 0; rest += len + (rest[len] == ',')) {
		len = strcspn(rest, ",");
		if (len == 0)
			continue;
		if (!poolplan_nft_is_name(rest, len) || *count == PREFIXES_MAX)
			r = poolplan_complain(plan, "FelixConfiguration", "",
				"interfacePrefix has \"%.*s\", expected the start of an interface's name",
				(int)len, rest);
		else
			words[(*count)++] = (struct word){rest, len};
	}
	return r;
}

static int add_pod_interfaces(struct poolplan *plan, struct buf *buf)
{
	struct word words[PREFIXES_MAX];
	const struct word *last = NULL;
	size_t count = 0;
	int r = split_prefixes(plan, words, &count);

	qsort(words, count, sizeof(*words), by_text);
	buf_add_str(buf, "\tset pod_interfaces {\n\t\ttype ifname\n\t\tflags interval\n\t\telements = { ");
	for (size_t i = 0; i < count; i++) {
		if (last && words[i].len >= last->len && strncmp(words[i].text, last->text, last->len) == 0)
			continue;
		buf_printf(buf, "%s\"%.*s*\"", last ? ", " : "", (int)words[i].len, words[i].text);
		last = &words[i];
	}
	buf_add_str(buf, " }\n\t}\n");
	return r;
}

/* Masqueraded to this node's address such a packet would be believed. After DNAT, hence not in prerouting. */
static void add_from_pods(const struct felix *felix, struct buf *buf)
{
	buf_add_str(buf, "\tchain from_pods {\n");
	if (!felix->vxlan_from_workloads)
		buf_printf(buf, "\t\tudp dport %u drop comment \"pods send no vxlan\"\n", felix->vxlan_port);
	if (!felix->ipip_from_workloads)
		buf_add_str(buf, "\t\tmeta l4proto 4 drop comment \"pods send no ipip\"\n");
	buf_add_str(buf, "\t}\n");
}

int poolplan_filter(struct poolplan *plan, struct buf *buf)
{
	const struct felix *felix = plan->input->felix;
	bool pods = !felix->vxlan_from_workloads || !felix->ipip_from_workloads;
	bool vxlan = plan->vxlan[FAMILY_4] || plan->vxlan[FAMILY_6];
	static const char jump[] = "\t\tiifname @pod_interfaces jump from_pods\n";
	int r = 0;

	if (vxlan)
		add_untracked(plan, buf);
	if (pods) {
		r = add_pod_interfaces(plan, buf);
		add_from_pods(felix, buf);
	}
	if (pods || vxlan || plan->ipip) {
		buf_add_str(
			buf, "\tchain input {\n\t\ttype filter hook input priority -10; policy accept;\n");
		buf_add_str(buf, pods ? jump : "");
		add_senders_rules(plan, buf);
		buf_add_str(buf, "\t}\n");
	}
	if (pods)
		buf_printf(buf,
			"\tchain forward {\n\t\ttype filter hook forward priority -10; policy "
			"accept;\n%s\t}\n",
			jump);
	return r;
}
