/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/flannel_rules.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "plane/nftables.h"

#include <linux/netfilter.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define JUMPS_MAX 16 /* a flanneld that was restarted often may have left several */

/* One chain of flanneld's and the jump that leads into it. */
static const struct {
	const char *table, *from, *chain, *comment;
} chains[] = {
	{"nat", "POSTROUTING", "FLANNEL-POSTRTG", "flanneld masq"},
	{"filter", "FORWARD", "FLANNEL-FWD", "flanneld forward"},
};

static const struct program {
	const char *name;
	uint8_t family;
	const char *legacy; /* the kernel's list of loaded old tables; null: nftables */
} programs[] = {
	{"iptables-nft", NFPROTO_IPV4, NULL},
	{"ip6tables-nft", NFPROTO_IPV6, NULL},
	{"iptables-legacy", NFPROTO_IPV4, "/proc/net/ip_tables_names"},
	{"ip6tables-legacy", NFPROTO_IPV6, "/proc/net/ip6_tables_names"},
};

static const char *const tables[] = {"flannel-ipv4", "flannel-ipv6"};

static void say(struct buf *note, const char *what, const char *how)
{
	buf_printf(note, "%s%s by %s", note->len ? ", " : "", what, how);
}

static bool succeeds(struct children *children, const char *const *argv)
{
	_cleanup_(process_result_free) struct process_result result = {0};

	return children_run(children, argv, NULL, 0, &result, NULL) == 0 && result.status == 0;
}

static bool legacy_has_table(const char *path, const char *table)
{
	_cleanup_(buf_free) struct buf names = BUF_INIT(4096);
	char line[32];

	snprintf(line, sizeof(line), "%s\n", table);
	return file_read(path, &names, NULL) == 0 && strstr(buf_text(&names), line);
}

static bool chain_there(struct children *children, const struct program *program, size_t c, const struct nft_chain *list,
	size_t count)
{
	const char *argv[] = {program->name, "-w", "5", "-t", chains[c].table, "-S", chains[c].chain, NULL};

	if (program->legacy)
		return legacy_has_table(program->legacy, chains[c].table) && succeeds(children, argv);
	for (size_t i = 0; i < count; i++)
		if (list[i].family == program->family && strcmp(list[i].table, chains[c].table) == 0 &&
			strcmp(list[i].name, chains[c].chain) == 0)
			return true;
	return false;
}

static int chain_remove(struct children *children, const struct program *program, size_t c, struct buf *note,
	struct err *err)
{
	const char *jump[] = {program->name, "-w", "5", "-t", chains[c].table, "-D", chains[c].from, "-m", "comment",
		"--comment", chains[c].comment, "-j", chains[c].chain, NULL};
	const char *flush[] = {program->name, "-w", "5", "-t", chains[c].table, "-F", chains[c].chain, NULL};
	const char *delete[] = {program->name, "-w", "5", "-t", chains[c].table, "-X", chains[c].chain, NULL};

	for (int i = 0; i < JUMPS_MAX && succeeds(children, jump); i++)
		;
	if (!succeeds(children, flush) || !succeeds(children, delete))
		return err_set(err, -EIO, "flanneld's chain %s in table %s could not be removed by %s", chains[c].chain,
			chains[c].table, program->name);
	say(note, chains[c].chain, program->name);
	return 0;
}

static int table_remove(struct children *children, size_t t, const struct nft_chain *list, size_t count, struct buf *note,
	struct err *err)
{
	const char *argv[] = {"nft", "delete", "table", t == 0 ? "ip" : "ip6", tables[t], NULL};
	bool there = false;

	for (size_t i = 0; i < count; i++)
		there |= strcmp(list[i].table, tables[t]) == 0;
	if (!there)
		return 0;
	if (!succeeds(children, argv))
		return err_set(err, -EIO, "flanneld's table %s could not be removed by nft", tables[t]);
	say(note, tables[t], "nft");
	return 0;
}

int flannel_rules_remove(struct children *children, struct buf *note, struct err *err)
{
	_cleanup_free_ struct nft_chain *list = NULL;
	size_t count = 0;
	int r = nft_chains_list(&list, &count, err);

	for (size_t p = 0; p < ARRAY_SIZE(programs) && r == 0; p++)
		for (size_t c = 0; c < ARRAY_SIZE(chains) && r == 0; c++)
			if (chain_there(children, &programs[p], c, list, count))
				r = chain_remove(children, &programs[p], c, note, err);
	for (size_t t = 0; t < ARRAY_SIZE(tables) && r == 0; t++)
		r = table_remove(children, t, list, count, note, err);
	return r;
}
