/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/forward.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "plane/nftables.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define COMMENT      "tulle forward"
#define CHECK_GAP_MS 1000
#define WORDS_MAX    32

/* One FORWARD chain: of a family, in the kernel's old or new tables. */
struct door {
	const char *program;
	int family;
	bool legacy;
	bool present, drop, docker; /* FORWARD exists, its policy is DROP, DOCKER-USER exists */
};

/* What one pass works with. */
struct pass {
	struct children *children;
	const struct prefix *prefixes; /* to be accepted */
	size_t count;
	struct nft_chain *chains;
	size_t chain_count;
	struct buf *note, *report; /* either may be null */
	bool dry;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void forward_init(struct forward *forward)
{
	*forward = (struct forward){.note = BUF_INIT(4096), .due = true};
}

void forward_done(struct forward *forward)
{
	buf_free(&forward->note);
	free(forward->prefixes);
}

static void say(struct buf *note, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct buf *note, const char *fmt, ...)
{
	va_list ap;

	if (!note)
		return;
	if (note->len)
		buf_add_str(note, "; ");
	va_start(ap, fmt);
	buf_vprintf(note, fmt, ap);
	va_end(ap);
}

static bool run(const struct pass *pass, const char *const *argv, struct process_result *ret, struct err *err)
{
	if (children_run(pass->children, argv, NULL, 0, ret, err) < 0)
		return false;
	if (ret->status != 0) {
		char text[256];

		err_set(err, -EINVAL, "%s %s %s: %s", argv[0], argv[3], argv[4],
			process_complaint(ret, text, sizeof(text)));
		process_result_free(ret);
		return false;
	}
	return true;
}

static bool list_chain(const struct pass *pass, const struct door *door, const char *chain, struct process_result *ret,
	struct err *err)
{
	const char *argv[] = {door->program, "-w", "5", "-S", chain, NULL};

	return run(pass, argv, ret, err);
}

/* -- words of a line of "iptables -S", quotes taken off -- */

struct words {
	char text[512];
	const char *word[WORDS_MAX + 1];
	unsigned count;
};

/* False for a line that is longer than any of ours. */
static bool words_split(const char *line, size_t len, struct words *ret)
{
	char *to = ret->text;
	bool quoted = false, inside = false;

	ret->count = 0;
	if (len >= sizeof(ret->text))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (line[i] == '"') {
			quoted = !quoted;
			continue;
		}
		if (line[i] == ' ' && !quoted) {
			*to++ = 0;
			inside = false;
			continue;
		}
		if (!inside && ret->count == WORDS_MAX)
			return false;
		if (!inside)
			ret->word[ret->count++] = to;
		inside = true;
		*to++ = line[i];
	}
	*to = 0;
	ret->word[ret->count] = NULL;
	return true;
}

static const char *word_after(const struct words *words, const char *option)
{
	for (unsigned i = 0; i + 1 < words->count; i++)
		if (strcmp(words->word[i], option) == 0)
			return words->word[i + 1];
	return "";
}

static bool is_ours(const struct words *words)
{
	return words->count && strcmp(words->word[0], "-A") == 0 &&
		strcmp(word_after(words, "--comment"), COMMENT) == 0;
}

/* -- taking back and adding -- */

static int rule_change(const struct pass *pass, const struct door *door, const char *const *rule, unsigned count,
	struct err *err)
{
	_cleanup_(process_result_free) struct process_result result = {0};
	const char *argv[WORDS_MAX + 4] = {door->program, "-w", "5"};

	memcpy(argv + 3, rule, count * sizeof(*rule));
	return run(pass, argv, &result, err) ? 0 : -EIO;
}

static int rule_add(const struct pass *pass, const struct door *door, const char *chain, bool source,
	const char *prefix, struct err *err)
{
	/* DOCKER-USER ends with a return: the first place. FORWARD: behind what the operator says himself. */
	const char *how = strcmp(chain, "FORWARD") == 0 ? "-A" : "-I";
	const char *rule[] = {how, chain, source ? "-s" : "-d", prefix, "-m", "comment", "--comment", COMMENT, "-j",
		"ACCEPT"};

	return rule_change(pass, door, rule, 10, err);
}

static int rule_delete(const struct pass *pass, const struct door *door, struct words *words, struct err *err)
{
	int r;

	words->word[0] = "-D";
	r = pass->dry ? 0 : rule_change(pass, door, words->word, words->count, err);
	if (r == 0 && pass->report)
		buf_printf(pass->report, "accept for %s%s from chain %s by %s\n", word_after(words, "-s"),
			word_after(words, "-d"), words->word[1], door->program);
	return r;
}

/* The place of the prefix that this rule of ours accepts; -1: none of the wanted ones. */
static ssize_t place_of(const struct pass *pass, const struct door *door, const struct words *words, bool source)
{
	const char *text = word_after(words, source ? "-s" : "-d");
	char own[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < pass->count; i++)
		if (pass->prefixes[i].family == door->family && strcmp(prefix_format(&pass->prefixes[i], own), text) == 0)
			return (ssize_t)i;
	return -1;
}

/* have: of each prefix, bit 1 for its source accept and bit 0 for its destination accept. */
static int line_reconcile(const struct pass *pass, const struct door *door, struct words *words, bool wanted,
	uint8_t *have, struct err *err)
{
	bool source = word_after(words, "-s")[0] != 0;
	ssize_t place = wanted ? place_of(pass, door, words, source) : -1;

	if (place < 0 || have[place] & 1U << source)
		return rule_delete(pass, door, words, err);
	have[place] |= (uint8_t)(1U << source);
	return 0;
}

/* Leaves in chain just the two accepts for each prefix (not wanted: none of ours). */
static int chain_reconcile(const struct pass *pass, const struct door *door, const char *chain, bool wanted,
	struct err *err)
{
	_cleanup_(process_result_free) struct process_result listing = {0};
	_cleanup_free_ uint8_t *have = calloc(pass->count + 1, 1);
	struct words words;
	int r = 0;

	if (!have)
		return err_set(err, -ENOMEM, "forwarding: out of memory");
	if (!list_chain(pass, door, chain, &listing, err))
		return -EIO;
	for (const char *line = buf_text(&listing.out); *line && r == 0; line += line[0] == '\n') {
		size_t len = strcspn(line, "\n");

		if (words_split(line, len, &words) && is_ours(&words))
			r = line_reconcile(pass, door, &words, wanted, have, err);
		line += len;
	}
	for (size_t i = 0; wanted && r == 0 && i < pass->count; i++) {
		char text[PREFIX_TEXT_MAX];

		if (pass->prefixes[i].family != door->family)
			continue;
		prefix_format(&pass->prefixes[i], text);
		for (int source = 1; r == 0 && source >= 0; source--)
			if (!(have[i] & 1U << source))
				r = rule_add(pass, door, chain, source, text, err);
	}
	return r;
}

static bool has_family(const struct pass *pass, int family)
{
	for (size_t i = 0; i < pass->count; i++)
		if (pass->prefixes[i].family == family)
			return true;
	return false;
}

static void say_accepts(const struct pass *pass, const struct door *door)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < pass->count; i++)
		if (pass->prefixes[i].family == door->family)
			say(pass->note, "accepts for %s in chain %s by %s", prefix_format(&pass->prefixes[i], text),
				door->docker ? "DOCKER-USER" : "FORWARD", door->program);
}

static int door_reconcile(const struct pass *pass, const struct door *door, struct err *err)
{
	bool needed = has_family(pass, door->family) && (door->drop || door->docker);
	int r = chain_reconcile(pass, door, "FORWARD", needed && !door->docker, err);

	if (r == 0 && door->docker)
		r = chain_reconcile(pass, door, "DOCKER-USER", needed, err);
	if (r == 0 && needed)
		say_accepts(pass, door);
	return r;
}

/* -- which doors there are -- */

static void door_look_nft(const struct pass *pass, struct door *door)
{
	uint8_t family = door->family == AF_INET ? NFPROTO_IPV4 : NFPROTO_IPV6;

	for (size_t i = 0; i < pass->chain_count; i++) {
		const struct nft_chain *chain = &pass->chains[i];

		if (chain->family != family || strcmp(chain->table, "filter") != 0)
			continue;
		if (strcmp(chain->name, "FORWARD") == 0) {
			door->present = true;
			door->drop = chain->drop;
		}
		door->docker |= strcmp(chain->name, "DOCKER-USER") == 0;
	}
}

/* The old tables are loaded by looking at them: so look only if they are. */
static bool legacy_loaded(int family)
{
	_cleanup_(buf_free) struct buf names = BUF_INIT(4096);
	const char *path = family == AF_INET ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names";

	return file_read(path, &names, NULL) == 0 && strstr(buf_text(&names), "filter\n");
}

static void door_look_legacy(const struct pass *pass, struct door *door)
{
	const char *argv[] = {door->program, "-w", "5", "-S", NULL};
	_cleanup_(process_result_free) struct process_result result = {0};

	char text[256];

	if (!legacy_loaded(door->family) || children_run(pass->children, argv, NULL, 0, &result, NULL) < 0)
		return;
	if (result.status != 0) /* a container has not got this capability unless it is given */
		say(pass->note, "chain FORWARD of %s may drop, it cannot be looked at (that needs NET_RAW): %s", door->program,
			process_complaint(&result, text, sizeof(text)));
	door->present = result.status == 0;
	door->drop = strstr(buf_text(&result.out), "-P FORWARD DROP\n") != NULL;
	door->docker = strstr(buf_text(&result.out), "-N DOCKER-USER\n") != NULL;
}

static int each_door(const struct pass *pass, struct err *err)
{
	struct door doors[] = {
		{.program = "iptables-nft", .family = AF_INET},
		{.program = "ip6tables-nft", .family = AF_INET6},
		{.program = "iptables-legacy", .family = AF_INET, .legacy = true},
		{.program = "ip6tables-legacy", .family = AF_INET6, .legacy = true},
	};
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(doors); i++) {
		struct door *door = &doors[i];
		struct err story = ERR_INIT;

		if (door->legacy)
			door_look_legacy(pass, door);
		else
			door_look_nft(pass, door);
		if (!door->present || door_reconcile(pass, door, &story) == 0)
			continue;
		/* a chain that does not drop is no harm, whatever its tool says */
		if (!door->drop && !door->docker)
			continue;
		say(pass->note, "chain FORWARD may drop: %s", err_text(&story));
		if (ret == 0)
			ret = err_set(err, story.code, "forwarding: %s", err_text(&story));
	}
	return ret;
}

/* Base chains that drop and are not iptables': nobody but their owner can open them. */
static void note_native(const struct pass *pass)
{
	for (size_t i = 0; i < pass->chain_count; i++) {
		const struct nft_chain *chain = &pass->chains[i];
		bool four = chain->family != NFPROTO_IPV6, six = chain->family != NFPROTO_IPV4;

		if (!chain->drop || (chain->family != NFPROTO_INET && strcmp(chain->table, "filter") == 0 &&
			strcmp(chain->name, "FORWARD") == 0))
			continue;
		if (chain->family == NFPROTO_INET && strcmp(chain->table, NFT_TABLE) == 0)
			continue;
		if (!(four && has_family(pass, AF_INET)) && !(six && has_family(pass, AF_INET6)))
			continue;
		say(pass->note, "chain %s of table %s %s drops what it does not accept, and Tulle cannot override it",
			chain->name, chain->family == NFPROTO_INET ? "inet" : six ? "ip6" : "ip", chain->table);
	}
}

static int check(struct forward *forward, struct children *children, struct err *err)
{
	_cleanup_free_ struct nft_chain *chains = NULL;
	struct pass pass = {.children = children, .prefixes = forward->prefixes, .count = forward->count,
		.note = &forward->note};
	int r = nft_chains_list(&chains, &pass.chain_count, err);

	if (r < 0)
		return r;
	pass.chains = chains;
	buf_reset(&forward->note);
	r = each_door(&pass, err);
	note_native(&pass);
	return r;
}

static bool same_prefixes(const struct forward *forward, const struct prefix *prefixes, size_t count)
{
	if (forward->count != count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (!prefix_equal(&forward->prefixes[i], &prefixes[i]))
			return false;
	return true;
}

static int remember(struct forward *forward, const struct prefix *prefixes, size_t count)
{
	struct prefix *copy = malloc((count + 1) * sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	if (count)
		memcpy(copy, prefixes, count * sizeof(*copy));
	free(forward->prefixes);
	forward->prefixes = copy;
	forward->count = count;
	return 0;
}

int forward_apply(struct forward *forward, const struct prefix *prefixes, size_t count, struct children *children,
	int *ret_wait_ms, struct err *err)
{
	bool same = same_prefixes(forward, prefixes, count);
	int64_t now = now_ms();
	int r;

	*ret_wait_ms = 0;
	if (same && !forward->due && forward->checked_ms)
		return 0;
	if (same && forward->checked_ms && now - forward->checked_ms < CHECK_GAP_MS) {
		*ret_wait_ms = (int)(CHECK_GAP_MS - (now - forward->checked_ms));
		return 0;
	}
	if (remember(forward, prefixes, count) < 0)
		return err_set(err, -ENOMEM, "forwarding: out of memory");
	r = check(forward, children, err);
	/* a failure is tried again with the next look, not at once: it costs several processes */
	forward->checked_ms = now_ms();
	forward->due = false;
	return r;
}

int forward_remove(struct children *children, bool dry, struct buf *report, struct err *err)
{
	_cleanup_free_ struct nft_chain *chains = NULL;
	struct pass pass = {.children = children, .report = report, .dry = dry};
	int r = nft_chains_list(&chains, &pass.chain_count, err);

	pass.chains = chains;
	return r < 0 ? r : each_door(&pass, err);
}
