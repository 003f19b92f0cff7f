/* SPDX-License-Identifier: Apache-2.0
 *
 * Masquerade and forward rules (reference/flannel.md 5.1) as one table of our own. The text replaces the
 * whole table in one transaction: the kernel goes from the old rules to the new ones at once.
 */
#include "plan/plan_internal.h"

#include "base/cleanup.h"
#include "plan/policy_nft.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
	const char *word; /* of nft's address matches */
	const char *multicast;
} families[FAMILY_COUNT] = {
	[FAMILY_4] = {"ip", "224.0.0.0/4"},
	[FAMILY_6] = {"ip6", "ff00::/8"},
};

static int by_prefix(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

/* Destinations that are never masqueraded: an interval set, in which nothing may overlap. */
static int add_excluded(const struct plan_options *options, int f, struct buf *buf)
{
	_cleanup_free_ struct prefix *list = calloc(options->non_masquerade_count + 1, sizeof(*list));
	const struct prefix *last = NULL;
	char text[PREFIX_TEXT_MAX];
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < options->non_masquerade_count; i++)
		if (family_index(options->non_masquerade[i].family) == f)
			list[n++] = prefix_masked(&options->non_masquerade[i]);
	if (n == 0)
		return 0;
	qsort(list, n, sizeof(*list), by_prefix);
	buf_printf(buf, "\t\t%s daddr { ", families[f].word);
	for (size_t i = 0; i < n; i++) {
		if (last && prefix_contains_prefix(last, &list[i]))
			continue;
		buf_printf(buf, "%s%s", last ? ", " : "", prefix_format(&list[i], text));
		last = &list[i];
	}
	buf_add_str(buf, " } return comment \"excluded from masquerade\"\n");
	return 0;
}

static int add_masquerade(const struct plan_input *input, int f, struct buf *buf)
{
	const char *ip = families[f].word, *flags = input->options.random_fully ? " fully-random" : "";
	char n[PREFIX_TEXT_MAX], p[PREFIX_TEXT_MAX];
	int r;

	prefix_format(&input->network->pool[f].cidr, n);
	prefix_format(&input->own->subnet[f], p);
	r = add_excluded(&input->options, f, buf);
	buf_printf(
		buf, "\t\t%s saddr %s %s daddr %s return comment \"local pod to any pod\"\n", ip, p, ip, n);
	buf_printf(
		buf, "\t\t%s saddr %s %s daddr %s return comment \"any pod to local pod\"\n", ip, n, ip, p);
	buf_printf(buf, "\t\t%s saddr != %s %s daddr %s return comment \"outside to local pod\"\n", ip, n, ip,
		p);
	buf_printf(buf, "\t\t%s saddr %s %s daddr != %s masquerade%s comment \"pod to outside\"\n", ip, n, ip,
		families[f].multicast, flags);
	buf_printf(buf, "\t\t%s saddr != %s %s daddr %s masquerade%s comment \"host to remote pod\"\n", ip, n,
		ip, n, flags);
	return r;
}

static int add_postrouting(const struct plan_input *input, struct buf *buf)
{
	uint32_t mark = input->options.mark_mask;
	int r = 0;

	buf_add_str(
		buf, "\tchain postrouting {\n\t\ttype nat hook postrouting priority 100; policy accept;\n");
	if (mark)
		buf_printf(buf,
			"\t\tmeta mark & 0x%08x == 0x%08x return comment \"kube-proxy masquerades it\"\n",
			mark, mark);
	for (int f = 0; f < FAMILY_COUNT && r == 0; f++)
		if (plan_has(input, f))
			r = add_masquerade(input, f, buf);
	buf_add_str(buf, "\t}\n");
	return r;
}

static int add_forward(const struct plan_input *input, struct wanted *wanted)
{
	struct buf *buf = &wanted->nft;
	char n[PREFIX_TEXT_MAX];
	int r = 0;

	buf_add_str(buf, "\tchain forward {\n\t\ttype filter hook forward priority 0; policy accept;\n");
	for (int f = 0; f < FAMILY_COUNT && r == 0; f++) {
		if (!plan_has(input, f))
			continue;
		wanted->forward[f] = input->network->pool[f].cidr;
		r = wanted_add_forward(wanted, &wanted->forward[f]);
		prefix_format(&wanted->forward[f], n);
		buf_printf(buf, "\t\t%s saddr %s accept comment \"from pods\"\n", families[f].word, n);
		buf_printf(buf, "\t\t%s daddr %s accept comment \"to pods\"\n", families[f].word, n);
	}
	buf_add_str(buf, "\t}\n");
	return r;
}

int plan_nft(const struct plan_input *input, struct plan_result *result)
{
	struct buf *buf = &result->wanted.nft;
	int r = 0;

	if (!input->options.ip_masq && !input->options.forward_rules && !input->options.policy)
		return 0;
	buf_add_str(buf, "add table inet tulle\ndelete table inet tulle\ntable inet tulle {\n");
	if (input->options.ip_masq)
		r = add_postrouting(input, buf);
	if (r == 0 && input->options.forward_rules)
		r = add_forward(input, &result->wanted);
	if (r == 0 && input->options.policy)
		r = policy_nft_add(buf, input->options.policy);
	buf_add_str(buf, "}\n");
	return r < 0 ? r : buf->error;
}
