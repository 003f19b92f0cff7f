/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl drops: how many packets policy has dropped, by reason; with --follow each one as it happens, with the names of both
 * sides and the policy that decided.
 */
#include "ctl/ctl.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ctl/client.h"
#include "ctl/policy.h"
#include "ctl/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: tullectl drops [--reason=REASON], or tullectl drops --follow [-n COUNT] [--pod=NAMESPACE/NAME] "
			    "[--reason=REASON]";

struct wish {
	const struct ctl *ctl;
	const char *pod, *reason, *count;
	bool follow;
	long left; /* drops to show; -1: without an end */
};

static const char *member(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "";
}

/* -- one drop -- */

/* "shop/web (10.244.1.2:80)" */
static void print_end(const json_t *end)
{
	const char *kind = member(end, "kind"), *name = member(end, "name"), *ip = member(end, "ip");
	const json_t *port = json_object_get(end, "port");
	bool six = strchr(ip, ':');

	if (strcmp(kind, "pod") == 0)
		printf("%s", name);
	else if (strcmp(kind, "pod-address") == 0)
		printf("unknown pod");
	else
		printf("%s%s%s", kind, *name ? " " : "", name);
	if (!*ip)
		return;
	if (port)
		printf(" (%s%s%s:%lld)", six ? "[" : "", ip, six ? "]" : "", json_integer_value(port));
	else
		printf(" (%s)", ip);
}

static void print_why(const json_t *drop)
{
	const json_t *why = json_object_get(drop, "why");
	_cleanup_(buf_free) struct buf text = BUF_INIT((size_t)1 << 20);

	if (!json_is_object(why))
		buf_add_str(&text, member(drop, "means"));
	else if (strcmp(member(why, "reason"), "changed") == 0)
		buf_printf(&text, "%s; the policies have changed since", member(drop, "means"));
	else
		policy_words_side(why, &text);
	printf(": %s\n", buf_text(&text));
}

static void print_drop(const json_t *drop)
{
	const char *time = strchr(member(drop, "time"), 'T');

	if (json_object_get(drop, "notShown")) {
		printf("%lld more on this node not shown\n", json_integer_value(json_object_get(drop, "notShown")));
		return;
	}
	printf("%.12s %s ", time ? time + 1 : "", member(drop, "reason"));
	print_end(json_object_get(drop, "from"));
	fputs(" -> ", stdout);
	print_end(json_object_get(drop, "to"));
	if (*member(drop, "protocol"))
		printf(" %s", member(drop, "protocol"));
	if (json_object_get(drop, "type"))
		printf(" type %lld", json_integer_value(json_object_get(drop, "type")));
	print_why(drop);
}

static int on_line(void *ctx, const char *text, size_t len)
{
	struct wish *wish = ctx;
	_cleanup_(json_cleanup) json_t *drop = NULL;

	if (json_parse(text, len, "the agent's answer", &drop, NULL) < 0)
		return 1;
	if (wish->ctl->json)
		printf("%.*s\n", (int)len, text);
	else
		print_drop(drop);
	/* whoever reads a pipe wants each at once, and one that nobody reads any more is no reason to go on */
	if (fflush(stdout) != 0)
		return 0;
	if (wish->left > 0 && json_object_get(drop, "reason"))
		wish->left--;
	return wish->left != 0;
}

static int follow(struct wish *wish)
{
	_cleanup_(buf_free) struct buf path = BUF_INIT(8192);
	struct err err = ERR_INIT;

	buf_add_str(&path, "/v1/policy/drops/watch");
	if (wish->pod) {
		buf_add_str(&path, "?pod=");
		client_add_query(&path, wish->pod);
	}
	if (wish->reason) {
		buf_add_str(&path, wish->pod ? "&reason=" : "?reason=");
		client_add_query(&path, wish->reason);
	}
	if (path.error)
		return ctl_fail(CTL_USAGE, "--pod, --reason: expected a name");
	if (client_follow(wish->ctl->socket_path, buf_text(&path), on_line, wish, &err) < 0)
		return ctl_fail(CTL_FAILED, "%s", err_text(&err));
	return CTL_OK;
}

/* -- the counters -- */

static bool is_wanted(const struct wish *wish, const json_t *count)
{
	if (wish->reason)
		return strcmp(member(count, "reason"), wish->reason) == 0;
	return wish->ctl->json || json_integer_value(json_object_get(count, "packets"));
}

static json_t *choose(const struct wish *wish, const json_t *answer)
{
	json_t *list = json_array(), *count;
	size_t i;

	json_array_foreach(json_object_get(answer, "drops"), i, count)
		if (is_wanted(wish, count))
			json_array_append(list, count);
	return list;
}

static void print_counts(const json_t *list)
{
	static const char *const headings[] = {"REASON", "PACKETS", "BYTES", "MEANING", NULL};
	struct text_table *table = text_table_new(headings);
	const json_t *count;
	size_t i;

	if (!table)
		return;
	json_array_foreach(list, i, count) {
		char packets[24], bytes[24];
		const char *cells[] = {member(count, "reason"), packets, bytes, member(count, "means")};

		snprintf(packets, sizeof(packets), "%lld", json_integer_value(json_object_get(count, "packets")));
		snprintf(bytes, sizeof(bytes), "%lld", json_integer_value(json_object_get(count, "bytes")));
		text_table_row(table, cells);
	}
	text_table_print(table);
	text_table_free(table);
}

static int show_counts(const struct wish *wish)
{
	_cleanup_(json_cleanup) json_t *answer = NULL, *list = NULL, *whole = NULL;
	const json_t *policy;
	struct err err = ERR_INIT;

	if (client_get(wish->ctl->socket_path, "/v1/policy/drops", &answer, &err) < 0)
		return ctl_fail(CTL_FAILED, "%s", err_text(&err));
	policy = json_object_get(answer, "policy");
	if (strcmp(member(policy, "state"), "off") == 0)
		return ctl_fail(CTL_FAILED, "policy is off, nothing is dropped: %s", member(policy, "why"));
	list = choose(wish, answer);
	if (wish->reason && json_array_size(list) == 0)
		return ctl_fail(CTL_USAGE, "--reason: there is no reason \"%s\"; tullectl -o json drops lists them", wish->reason);
	whole = json_pack("{s:O}", "drops", list);
	if (wish->ctl->json) {
		json_dumpf(whole, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (json_array_size(list) == 0) {
		puts("No packet of a pod has been dropped.");
	} else {
		print_counts(list);
	}
	return CTL_OK;
}

/* -- the wish -- */

static int check(struct wish *wish)
{
	char *end = NULL;

	wish->left = -1;
	if (wish->count)
		wish->left = strtol(wish->count, &end, 10);
	if (wish->count && (!*wish->count || *end || wish->left < 1))
		return ctl_fail(CTL_USAGE, "-n: the value is \"%s\", expected a number of drops, 1 or more", wish->count);
	if ((wish->count || wish->pod) && !wish->follow)
		return ctl_fail(CTL_USAGE, "drops: what has happened is counted by reason only; %s needs --follow", wish->count ? "-n" : "--pod");
	return CTL_OK;
}

int ctl_drops(const struct ctl *ctl)
{
	struct wish wish = {.ctl = ctl};
	int status;

	for (int i = 0; i < ctl->argc; i++) {
		if (strcmp(ctl->argv[i], "--follow") == 0 || strcmp(ctl->argv[i], "-f") == 0)
			wish.follow = true;
		else if (!policy_flag(ctl, &i, "--pod", &wish.pod) && !policy_flag(ctl, &i, "--reason", &wish.reason) &&
			!policy_flag(ctl, &i, "-n", &wish.count))
			return ctl_fail(CTL_USAGE, "drops: \"%s\" is none of its flags; %s", ctl->argv[i], usage);
	}
	status = check(&wish);
	if (status != CTL_OK)
		return status;
	return wish.follow ? follow(&wish) : show_counts(&wish);
}
