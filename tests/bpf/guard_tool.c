/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard by hand, for the tests:
 *   guard_tool BPFFS apply UPLINK PORT VNI TUNNELS [node=ADDR] [source=DST=ADDR] [pool=CIDR] [external=CIDR] [stale]...
 *   guard_tool BPFFS stats | remove
 * TUNNELS: letters of "46i": VXLAN by outer family, IPIP. GUARD_CLSACT in the environment: by a filter instead of a link.
 */
#include "plane/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const struct err *err)
{
	fprintf(stderr, "%s\n", err_text(err));
	return 1;
}

static int add_word(char *word, struct wanted *wanted)
{
	char *value = strchr(word, '='), *peer;
	struct prefix prefix;
	struct addr addr;

	if (!value) {
		wanted->guard.keep_stale = true;
		return strcmp(word, "stale");
	}
	*value++ = 0;
	if (!strcmp(word, "node"))
		return addr_parse(value, &addr) || wanted_add_node(wanted, &addr);
	peer = strchr(value, '=');
	if (peer)
		*peer++ = 0;
	if (prefix_parse(value, &prefix))
		return -1;
	if (!strcmp(word, "pool"))
		return wanted_add_pool(wanted, &prefix);
	if (!strcmp(word, "external"))
		return wanted_add_external(wanted, &prefix);
	return strcmp(word, "source") || !peer || addr_parse(peer, &addr) || wanted_add_source(wanted, &prefix, &addr);
}

static int parse(char **args, int count, struct wanted *wanted)
{
	struct wanted_guard *guard = &wanted->guard;
	int r = 0;

	snprintf(guard->uplink, sizeof(guard->uplink), "%s", args[0]);
	guard->port = (uint16_t)atoi(args[1]);
	guard->vni = (uint32_t)atoi(args[2]);
	guard->vxlan[FAMILY_4] = strchr(args[3], '4');
	guard->vxlan[FAMILY_6] = strchr(args[3], '6');
	guard->ipip = strchr(args[3], 'i');
	for (int i = 4; i < count && !r; i++)
		r = add_word(args[i], wanted);
	return r ? r : wanted_finish(wanted);
}

static int stats(const struct guard *guard, struct err *err)
{
	struct guard_stat all[GUARD_STATS_MAX];
	size_t count;

	if (guard_get_stats(guard, all, &count, err))
		return fail(err);
	for (size_t i = 0; i < count; i++)
		printf("%s %llu %llu\n", all[i].name, (unsigned long long)all[i].packets, (unsigned long long)all[i].bytes);
	return 0;
}

static int run(struct guard *guard, int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct wanted wanted;
	int r = 0;

	if (!strcmp(argv[2], "stats"))
		return stats(guard, &err);
	wanted_init(&wanted);
	if (argc < 7 || parse(argv + 3, argc - 3, &wanted)) {
		fprintf(stderr, "bad arguments\n");
		r = 2;
	} else if (guard_apply(guard, &wanted.guard, &err)) {
		r = fail(&err);
	} else {
		puts(guard_check(guard, argv[3]) ? "attached" : "missing");
	}
	wanted_free(&wanted);
	return r;
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct guard *guard;
	int r;

	if (argc < 3)
		return 2;
	if (!strcmp(argv[2], "remove"))
		return guard_remove(argv[1], &err) ? fail(&err) : 0;
	if (guard_new(argv[1], &guard, &err))
		return fail(&err);
	if (getenv("GUARD_CLSACT"))
		guard_use_clsact(guard);
	r = run(guard, argc, argv);
	guard_free(guard);
	return r;
}
