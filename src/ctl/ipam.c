/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl ipam: who has which address, whether IPAM's objects agree, and the release of what nobody will release.
 */
#include "ctl/ctl.h"

#include "base/addr.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "ctl/client.h"
#include "ctl/table.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_S 120 /* the whole store is read, twice */
#define MANY 1000000000000000LL

static const char usage[] = "usage: tullectl ipam show [--show-blocks | --ip=ADDRESS], tullectl ipam check, or "
			    "tullectl ipam release --ip=ADDRESS|--handle=HANDLE [--force]";

struct flags {
	const char *ip, *handle; /* null: not given */
	bool blocks, force;
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* -- flags -- */

static bool take_value(const struct ctl *ctl, int *at, const char *flag, const char **ret)
{
	const char *word = ctl->argv[*at];
	size_t len = strlen(flag);

	if (strncmp(word, flag, len) != 0 || (word[len] && word[len] != '='))
		return false;
	*ret = word[len] ? word + len + 1 : *at + 1 < ctl->argc ? ctl->argv[++*at] : "";
	return true;
}

static int check_values(const struct flags *flags)
{
	struct addr addr;

	if (flags->ip && addr_parse(flags->ip, &addr) < 0)
		return ctl_fail(CTL_USAGE, "--ip: the value is \"%s\", expected an IPv4 or IPv6 address without length", flags->ip);
	if (flags->handle && !flags->handle[0])
		return ctl_fail(CTL_USAGE, "--handle: the value is \"\", expected a handle as tullectl ipam show --ip=ADDRESS tells it");
	return CTL_OK;
}

/* allowed: the flags of this verb, closed by null. */
static int parse(const struct ctl *ctl, const char *const *allowed, struct flags *ret)
{
	for (int i = 1; i < ctl->argc; i++) {
		const char *const *name = allowed;
		const char *word = ctl->argv[i];

		while (*name && strncmp(word, *name, strcspn(word, "=")) != 0)
			name++;
		if (!*name || strlen(*name) != strcspn(word, "="))
			return ctl_fail(CTL_USAGE, "ipam %s: \"%s\" is none of its flags; %s", ctl->argv[0], word, usage);
		if (take_value(ctl, &i, "--ip", &ret->ip) || take_value(ctl, &i, "--handle", &ret->handle))
			continue;
		if (strchr(word, '='))
			return ctl_fail(CTL_USAGE, "%s: the flag takes no value", word);
		ret->blocks |= strcmp(word, "--show-blocks") == 0;
		ret->force |= strcmp(word, "--force") == 0;
	}
	return check_values(ret);
}

/* -- asking -- */

static void add_encoded(struct buf *url, const char *text)
{
	for (const char *p = text; *p; p++)
		if (isalnum((unsigned char)*p) || strchr("-._~", *p))
			buf_add(url, p, 1);
		else
			buf_printf(url, "%%%02X", (unsigned char)*p);
}

/* Asks, prints JSON where that is wanted, else by print. */
static int ask(const struct ctl *ctl, const struct client_request *request, const struct flags *flags,
	int (*print)(const json_t *json, const struct flags *flags))
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	struct err err = ERR_INIT;

	if (client_ask(ctl->socket_path, request, &json, &err) < 0)
		return ctl_fail(CTL_FAILED, "%s", err_text(&err));
	if (!ctl->json)
		return print(json, flags);
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	return json_array_size(json_object_get(json, "problems")) ? CTL_FAILED : CTL_OK;
}

/* -- show -- */

/* Free addresses of an IPv6 pool are more than a number can say. */
static const char *count_of(long long n, char *text, size_t size)
{
	snprintf(text, size, n >= MANY ? "over 10^15" : "%lld", n);
	return text;
}

/* "5 (0%)" */
static const char *share_of(long long n, long long total, char *text, size_t size)
{
	char number[24];

	snprintf(text, size, "%s (%.0f%%)", count_of(n, number, sizeof(number)), total > 0 ? 100.0 * (double)n / (double)total : 0.0);
	return text;
}

struct row {
	struct prefix cidr;
	const json_t *json;
	bool shown;
};

static void add_row(struct text_table *table, const char *grouping, const json_t *json)
{
	char total[24], used[40], unused[40], batch[24], resting[24], borrowed[24];
	const char *cells[] = {grouping, text_of(json, "cidr"), total, used, unused, batch, resting, borrowed,
		text_of(json, "affinity")};
	long long all = number_of(json, "total");

	count_of(all, total, sizeof(total));
	share_of(number_of(json, "used"), all, used, sizeof(used));
	share_of(number_of(json, "free"), all, unused, sizeof(unused));
	count_of(number_of(json, "batch"), batch, sizeof(batch));
	count_of(number_of(json, "resting"), resting, sizeof(resting));
	count_of(number_of(json, "borrowed"), borrowed, sizeof(borrowed));
	text_table_row(table, cells);
}

static int by_cidr(const void *a, const void *b)
{
	return prefix_compare(&((const struct row *)a)->cidr, &((const struct row *)b)->cidr);
}

/* Sorted; null without memory. */
static struct row *list_blocks(const json_t *list, size_t *ret_count)
{
	struct row *rows = calloc(json_array_size(list) + 1, sizeof(*rows));
	const json_t *block;
	size_t i;

	*ret_count = json_array_size(list);
	if (!rows)
		return NULL;
	json_array_foreach(list, i, block) {
		rows[i].json = block;
		if (prefix_parse(text_of(block, "cidr"), &rows[i].cidr) < 0)
			rows[i].cidr = (struct prefix){{{0}}, 0, 0};
	}
	qsort(rows, *ret_count, sizeof(*rows), by_cidr);
	return rows;
}

static void fill_table(struct text_table *table, const json_t *json, struct row *rows, size_t count)
{
	const json_t *pool;
	size_t i;

	json_array_foreach(json_object_get(json, "pools"), i, pool) {
		struct prefix cidr = {{{0}}, 0, 0};

		add_row(table, "IP Pool", pool);
		if (prefix_parse(text_of(pool, "cidr"), &cidr) < 0)
			continue;
		for (size_t j = 0; j < count; j++) {
			if (rows[j].shown || !prefix_contains_prefix(&cidr, &rows[j].cidr))
				continue;
			rows[j].shown = true;
			add_row(table, "Block", rows[j].json);
		}
	}
	for (size_t j = 0; j < count; j++)
		if (!rows[j].shown)
			add_row(table, "Block of no pool", rows[j].json);
}

static void tell_rest(const json_t *json)
{
	if (number_of(json, "outsideBlocks"))
		printf("%lld blocks lie in no pool, with %lld addresses in use.\n", number_of(json, "outsideBlocks"),
			number_of(json_object_get(json, "outside"), "used"));
	if (number_of(json, "damaged"))
		printf("%lld blocks are damaged and not counted; tullectl ipam check names them.\n", number_of(json, "damaged"));
}

static int print_pools(const json_t *json, const struct flags *flags)
{
	static const char *const headings[] = {"GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE", "BATCH", "RESTING",
		"BORROWED", "AFFINITY", NULL};
	size_t count = 0;
	_cleanup_free_ struct row *rows = list_blocks(json_object_get(json, "blocks"), &count);
	struct text_table *table = text_table_new(headings);

	if (!rows || !table) {
		text_table_free(table);
		return CTL_FAILED;
	}
	fill_table(table, json, rows, count);
	text_table_print(table);
	text_table_free(table);
	tell_rest(json);
	return CTL_OK;
}

/* Flannel's: this node's lease. */
static int print_lease(const json_t *json)
{
	static const char *const headings[] = {"BLOCK", "USED", "RESTING", "FREE", NULL};
	struct text_table *table = text_table_new(headings);
	const json_t *block;
	size_t i;

	if (!table)
		return CTL_FAILED;
	json_array_foreach(json_object_get(json, "blocks"), i, block) {
		char used[24], resting[24], unused[24];
		const char *cells[] = {text_of(block, "block"), count_of(number_of(block, "used"), used, sizeof(used)),
			count_of(number_of(block, "resting"), resting, sizeof(resting)),
			count_of(number_of(block, "free"), unused, sizeof(unused))};

		text_table_row(table, cells);
	}
	text_table_print(table);
	text_table_free(table);
	return CTL_OK;
}

static int print_address(const json_t *json)
{
	json_t *attributes = json_object_get(json, "attributes"), *value;
	const char *state = text_of(json, "state"), *key;

	printf("IP %s is %s\n", text_of(json, "ip"), strcmp(state, "in use") == 0 ? state :
		strcmp(state, "free") == 0 ? "not assigned" : state);
	if (text_of(json, "pool")[0])
		printf("Pool: %s\n", text_of(json, "pool"));
	if (text_of(json, "block")[0])
		printf("Block: %s%s%s\n", text_of(json, "block"), text_of(json, "affinity")[0] ? ", " : "", text_of(json, "affinity"));
	if (text_of(json, "owner")[0])
		printf("Owner: %s\n", text_of(json, "owner"));
	if (text_of(json, "handle")[0])
		printf("Handle: %s\n", text_of(json, "handle"));
	if (json_object_size(attributes))
		puts("Attributes:");
	json_object_foreach(attributes, key, value)
		printf("  %s: %s\n", key, json_is_string(value) ? json_string_value(value) : "");
	return CTL_OK;
}

static int print_show(const json_t *json, const struct flags *flags)
{
	if (flags->ip)
		return print_address(json);
	return json_is_array(json_object_get(json, "pools")) ? print_pools(json, flags) : print_lease(json);
}

static int show(const struct ctl *ctl)
{
	static const char *const allowed[] = {"--show-blocks", "--ip", NULL};
	_cleanup_(buf_free) struct buf path = BUF_INIT(4096);
	struct client_request request = {.patience_s = PATIENCE_S};
	struct flags flags = {0};
	int status = parse(ctl, allowed, &flags);

	if (status != CTL_OK)
		return status;
	if (flags.ip && flags.blocks)
		return ctl_fail(CTL_USAGE, "ipam show: expected one of --ip and --show-blocks, got both");
	buf_printf(&path, "/v1/ipam%s", flags.ip ? "?ip=" : flags.blocks ? "?blocks=1" : "");
	if (flags.ip)
		add_encoded(&path, flags.ip);
	request.path = buf_text(&path);
	return ask(ctl, &request, &flags, print_show);
}

/* -- check -- */

static int print_check(const json_t *json, const struct flags *flags)
{
	static const char *const headings[] = {"PROBLEM", "OBJECT", "WHAT", NULL};
	const json_t *counts = json_object_get(json, "counts"), *problems = json_object_get(json, "problems"), *problem;
	struct text_table *table = text_table_new(headings);
	bool leaks = false;
	size_t i;

	if (!table)
		return CTL_FAILED;
	printf("%lld blocks, %lld affinities, %lld handles, %lld addresses in use, %lld nodes, %lld pods here", number_of(counts, "blocks"),
		number_of(counts, "affinities"), number_of(counts, "handles"), number_of(counts, "addresses"),
		number_of(counts, "nodes"), number_of(counts, "attachments"));
	if (number_of(counts, "pods"))
		printf(", %lld in the store", number_of(counts, "pods"));
	printf(": %zu problems\n", json_array_size(problems));
	json_array_foreach(problems, i, problem) {
		const char *cells[] = {text_of(problem, "kind"), text_of(problem, "object"), text_of(problem, "text")};

		leaks |= strcmp(cells[0], "leaked") == 0;
		text_table_row(table, cells);
	}
	if (json_array_size(problems)) {
		putchar('\n');
		text_table_print(table);
	}
	if (leaks)
		puts("\nA leaked address is given back by: tullectl ipam release --ip=ADDRESS");
	text_table_free(table);
	return json_array_size(problems) ? CTL_FAILED : CTL_OK;
}

static int check(const struct ctl *ctl)
{
	static const char *const allowed[] = {NULL};
	const struct client_request request = {.path = "/v1/ipam/check", .patience_s = PATIENCE_S};
	struct flags flags = {0};
	int status = parse(ctl, allowed, &flags);

	return status == CTL_OK ? ask(ctl, &request, &flags, print_check) : status;
}

/* -- release -- */

static int print_release(const json_t *json, const struct flags *flags)
{
	const json_t *list = json_object_get(json, "released"), *one;
	size_t i;

	json_array_foreach(list, i, one)
		printf("released %s: %s, handle %s\n", text_of(one, "ip"), text_of(one, "owner"), text_of(one, "handle"));
	if (!json_array_size(list) && flags->ip)
		printf("%s: nobody has it; nothing was done\n", flags->ip);
	else if (flags->handle)
		printf("removed handle %s%s\n", flags->handle, json_array_size(list) ? "" : ", which had no address");
	return CTL_OK;
}

static int release(const struct ctl *ctl)
{
	static const char *const allowed[] = {"--ip", "--handle", "--force", NULL};
	_cleanup_(buf_free) struct buf path = BUF_INIT(4096);
	struct client_request request = {.post = true, .patience_s = PATIENCE_S};
	struct flags flags = {0};
	int status = parse(ctl, allowed, &flags);

	if (status != CTL_OK)
		return status;
	if (!flags.ip == !flags.handle)
		return ctl_fail(CTL_USAGE, "ipam release: expected either --ip=ADDRESS or --handle=HANDLE");
	buf_printf(&path, "/v1/ipam/release?%s=", flags.ip ? "ip" : "handle");
	add_encoded(&path, flags.ip ? flags.ip : flags.handle);
	if (flags.force)
		buf_add_str(&path, "&force=1");
	if (path.error)
		return ctl_fail(CTL_USAGE, "--handle: the value is too long");
	request.path = buf_text(&path);
	return ask(ctl, &request, &flags, print_release);
}

int ctl_ipam(const struct ctl *ctl)
{
	const char *verb = ctl->argc ? ctl->argv[0] : "";

	if (strcmp(verb, "show") == 0)
		return show(ctl);
	if (strcmp(verb, "check") == 0)
		return check(ctl);
	if (strcmp(verb, "release") == 0)
		return release(ctl);
	return ctl_fail(CTL_USAGE, "%s", usage);
}
