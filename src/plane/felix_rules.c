/* SPDX-License-Identifier: Apache-2.0
 *
 * Chains of Felix: read by iptables-save, taken away by iptables-restore, all of a table in one transaction.
 */
#include "plane/felix.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "plane/nftables.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>

#define CHAIN "cali-"
#define MARK "cali:" /* begins the comment of each rule */
#define TABLE "calico"
#define TABLE_ARP "calico-arp"
#define WORD_MAX 512

static const char *const tables[] = {"raw", "mangle", "nat", "filter"};

static const struct program {
	const char *save, *restore, *name;
	uint8_t family;
	const char *legacy; /* the kernel's list of loaded old tables; null: nftables */
} programs[] = {
	{"iptables-nft-save", "iptables-nft-restore", "iptables-nft", NFPROTO_IPV4, NULL},
	{"ip6tables-nft-save", "ip6tables-nft-restore", "ip6tables-nft", NFPROTO_IPV6, NULL},
	{"iptables-legacy-save", "iptables-legacy-restore", "iptables-legacy", NFPROTO_IPV4, "/proc/net/ip_tables_names"},
	{"ip6tables-legacy-save", "ip6tables-legacy-restore", "ip6tables-legacy", NFPROTO_IPV6,
		"/proc/net/ip6_tables_names"},
};

static void say(struct buf *note, const char *what, const char *how)
{
	buf_printf(note, "%s%s by %s", note->len ? ", " : "", what, how);
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* -- one rule of iptables-save -- */

/* The next word, without quotes; false at the end of the line. What is longer than WORD_MAX is cut. */
static bool next_word(const char **at, char word[WORD_MAX])
{
	bool quoted = false;
	size_t n = 0;

	*at += strspn(*at, " ");
	if (!**at)
		return false;
	for (; **at && (quoted || **at != ' '); (*at)++) {
		if (**at == '"') {
			quoted = !quoted;
			continue;
		}
		if (**at == '\\' && (*at)[1])
			(*at)++;
		if (n < WORD_MAX - 1)
			word[n++] = **at;
	}
	word[n] = 0;
	return true;
}

/* A rule in somebody else's chain: it leads into one of Felix', or has its mark. */
static bool is_felix_rule(const char *rule)
{
	char word[WORD_MAX], before[WORD_MAX] = "";

	while (next_word(&rule, word)) {
		bool jump = strcmp(before, "-j") == 0 || strcmp(before, "-g") == 0;

		if ((jump && begins(word, CHAIN)) || (strcmp(before, "--comment") == 0 && begins(word, MARK)))
			return true;
		memcpy(before, word, sizeof(before));
	}
	return false;
}

/* -- a table -- */

struct undo {
	struct buf *text;  /* for iptables-restore */
	struct buf chains; /* the lines that end it */
	size_t count;
};

static void undo_chain(struct undo *undo, const char *line)
{
	int len = (int)strcspn(line, " ");

	buf_printf(undo->text, "-F %.*s\n", len, line);
	buf_printf(&undo->chains, "-X %.*s\n", len, line);
	undo->count++;
}

static void undo_line(struct undo *undo, const char *line)
{
	if (line[0] == ':' && begins(line + 1, CHAIN)) {
		undo_chain(undo, line + 1);
	} else if (begins(line, "-A ") && !begins(line + 3, CHAIN) && is_felix_rule(line + 3)) {
		buf_printf(undo->text, "-D %s\n", line + 3);
		undo->count++;
	}
}

/* Rules of a table refer to chains that all come before them in the listing: the order of both does not matter here,
 * because a chain is emptied first and removed at the very end. */
static int undo_table(char *saved, const char *table, struct buf *text, size_t *count)
{
	struct undo undo = {.text = text, .chains = BUF_INIT(0)};
	char *rest = NULL;
	size_t before = text->len;

	buf_printf(text, "*%s\n", table);
	for (char *line = strtok_r(saved, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		undo_line(&undo, line);
	if (undo.count) {
		buf_add(text, undo.chains.data, undo.chains.len);
		buf_add_str(text, "COMMIT\n");
	} else {
		text->len = before;
	}
	*count += undo.count;
	text->error = text->error ? text->error : undo.chains.error;
	buf_free(&undo.chains);
	return text->error;
}

/* -- a program -- */

static bool there(const struct program *program, const char *table, const char *loaded, const struct nft_chain *list,
	size_t count)
{
	char line[32];

	snprintf(line, sizeof(line), "%s\n", table);
	if (program->legacy)
		return strstr(loaded, line) != NULL;
	for (size_t i = 0; i < count; i++)
		if (list[i].family == program->family && strcmp(list[i].table, table) == 0)
			return true;
	return false;
}

static int read_tables(struct children *children, const struct program *program, const struct nft_chain *list,
	size_t chain_count, struct buf *text, size_t *count, struct err *err)
{
	_cleanup_(buf_free) struct buf loaded = BUF_INIT(4096);
	int r = 0;

	/* a table that is not loaded stays so: looking would load it */
	if (program->legacy && file_read(program->legacy, &loaded, NULL) < 0)
		return 0;
	for (size_t t = 0; t < ARRAY_SIZE(tables) && r == 0; t++) {
		const char *argv[] = {program->save, "-t", tables[t], NULL};
		_cleanup_(process_result_free) struct process_result result = {0};

		if (!there(program, tables[t], buf_text(&loaded), list, chain_count))
			continue;
		r = children_run(children, argv, NULL, 0, &result, err);
		if (r == 0 && result.status != 0)
			r = err_set(err, -EIO, "Calico's rules: %s cannot list table %s", program->save, tables[t]);
		if (r == 0 && result.out.len && undo_table(result.out.data, tables[t], text, count) < 0)
			r = err_set(err, -ENOMEM, "Calico's rules: too many to be read");
	}
	return r;
}

static int program_remove(struct children *children, const struct program *program, const struct nft_chain *list,
	size_t chain_count, struct buf *note, struct err *err)
{
	const char *argv[] = {program->restore, "-w", "5", "--noflush", NULL};
	_cleanup_(process_result_free) struct process_result result = {0};
	_cleanup_(buf_free) struct buf text = BUF_INIT(0);
	char complaint[400];
	struct err story = ERR_INIT;
	size_t count = 0;
	int r = read_tables(children, program, list, chain_count, &text, &count, &story);

	if (r == -ENOENT && program->legacy) /* another program's tables: nobody put rules in by this one */
		return 0;
	if (r < 0)
		return err_set(err, r, "%s", err_text(&story));
	if (!count)
		return 0;
	r = children_run(children, argv, text.data, text.len, &result, err);
	if (r == 0 && result.status != 0)
		return err_set(err, -EIO, "Calico's rules could not be removed by %s: %s", program->restore,
			process_complaint(&result, complaint, sizeof(complaint)));
	if (r == 0)
		say(note, "chains cali-*", program->name);
	return r;
}

/* -- tables of nftables -- */

static const char *family_word(uint8_t family)
{
	switch (family) {
	case NFPROTO_IPV4:
		return "ip";
	case NFPROTO_IPV6:
		return "ip6";
	case NFPROTO_ARP:
		return "arp";
	default:
		return NULL;
	}
}

static bool is_felix_table(const struct nft_chain *table)
{
	return strcmp(table->table, TABLE) == 0 || strcmp(table->table, TABLE_ARP) == 0;
}

static int tables_remove(struct children *children, struct buf *note, struct err *err)
{
	_cleanup_(process_result_free) struct process_result result = {0};
	_cleanup_(buf_free) struct buf text = BUF_INIT(4096);
	_cleanup_free_ struct nft_chain *list = NULL;
	const char *argv[] = {"nft", "-f", "-", NULL};
	char complaint[400];
	size_t count = 0;
	int r = nft_tables_find(is_felix_table, &list, &count, err);

	for (size_t i = 0; i < count; i++)
		if (family_word(list[i].family))
			buf_printf(&text, "delete table %s %s\n", family_word(list[i].family), list[i].table);
	if (r < 0 || !text.len)
		return r;
	r = children_run(children, argv, text.data, text.len, &result, err);
	if (r == 0 && result.status != 0)
		return err_set(err, -EIO, "Calico's tables could not be removed by nft: %s",
			process_complaint(&result, complaint, sizeof(complaint)));
	if (r == 0)
		say(note, "tables " TABLE, "nft");
	return r;
}

static bool is_felix(const struct nft_chain *chain)
{
	return begins(chain->name, CHAIN) || is_felix_table(chain);
}

bool felix_rules_stand(void)
{
	_cleanup_free_ struct nft_chain *list = NULL;
	size_t count = 0;

	return nft_chains_find(is_felix, &list, &count, NULL) == 0 && count;
}

int felix_rules_remove(struct children *children, struct buf *note, struct err *err)
{
	_cleanup_free_ struct nft_chain *list = NULL;
	size_t count = 0;
	int r = nft_chains_find(is_felix, &list, &count, err);

	for (size_t p = 0; p < ARRAY_SIZE(programs) && r == 0; p++)
		r = program_remove(children, &programs[p], list, count, note, err);
	return r == 0 ? tables_remove(children, note, err) : r;
}
