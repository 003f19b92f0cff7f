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
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool is_name(const char *text)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(text);

	return len > 0 && len < IFNAMSIZ && strspn(text, good) == len;
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
	for (size_t i = 0; i < input->pod_count; i++)
		if (is_name(input->pods[i]))
			buf_printf(nft, "\t\tiifname \"%s*\" meta mark set meta mark & 0x%08x return\n", input->pods[i],
				~input->mark_host);
	buf_printf(nft, "\t\tmeta mark set meta mark & 0x%08x comment \"nobody else's business\"\n\t}\n", ~both);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_exits(struct buf *nft, const struct policy_nft_input *input)
{
	_cleanup_free_ const char **names = calloc(input->exit_count + 1, sizeof(*names));
	size_t count = 0;

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < input->exit_count; i++)
		if (is_name(input->exits[i]))
			names[count++] = input->exits[i];
	if (!count)
		return 0;
	qsort(names, count, sizeof(*names), by_name);
	buf_printf(nft, "\t\toifname { \"%s\"", names[0]);
	for (size_t i = 1; i < count; i++)
		if (strcmp(names[i], names[i - 1]))
			buf_printf(nft, ", \"%s\"", names[i]);
	buf_add_str(nft, " } accept\n");
	return 0;
}

static int add_exit(struct buf *nft, const struct policy_nft_input *input)
{
	int r;

	buf_printf(nft,
		"\tchain policy_exit {\n\t\ttype filter hook postrouting priority 110; policy accept;\n"
		"\t\tmeta mark & 0x%08x == 0x00000000 accept\n", input->mark_pending);
	for (size_t i = 0; i < input->pod_count; i++)
		if (is_name(input->pods[i]))
			buf_printf(nft, "\t\toifname \"%s*\" accept\n", input->pods[i]);
	r = add_exits(nft, input);
	buf_add_str(nft, "\t\tcounter drop comment \"egress of a pod, which nobody judges at this interface\"\n\t}\n");
	return r;
}

int policy_nft_add(struct buf *nft, const struct policy_nft_input *input)
{
	add_output(nft, input);
	add_prerouting(nft, input);
	return add_exit(nft, input) ? -ENOMEM : nft->error;
}
