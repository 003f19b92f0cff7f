/* SPDX-License-Identifier: Apache-2.0
 *
 * The carrier by hand, for the tests:
 *   carrier_tool BPFFS apply|hold NAME UPLINK PORT LOCAL4|- LOCAL6|- OWN4|- OWN6|- [DST=PEER]...
 *   carrier_tool BPFFS stats | remove
 * PORT "ipip": IPIP instead of UDP.
 * hold: applies, prints "ready", then checks at each line of input and prints "yes" or "no", until end of file.
 * CARRIER_CLSACT in the environment: by filters instead of links.
 */
#include "plane/carrier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const struct err *err)
{
	fprintf(stderr, "%s\n", err_text(err));
	return 1;
}

static bool given(const char *text)
{
	return strcmp(text, "-") != 0;
}

static int parse(char **args, int count, struct wanted_carrier *wanted)
{
	int r = 0;

	snprintf(wanted->uplink, sizeof(wanted->uplink), "%s", args[0]);
	wanted->kind = strcmp(args[1], "ipip") ? CARRIER_UDP : CARRIER_IPIP;
	wanted->port = (uint16_t)atoi(args[1]);
	wanted->enabled = true;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (given(args[2 + f]))
			r |= addr_parse(args[2 + f], &wanted->local[f]);
		if (given(args[4 + f]))
			r |= prefix_parse(args[4 + f], &wanted->own[f]);
	}
	wanted->tunnels = calloc((size_t)count + 1, sizeof(*wanted->tunnels));
	for (int i = 6; i < count && wanted->tunnels; i++) {
		struct wanted_tunnel *tunnel = &wanted->tunnels[wanted->tunnel_count++];
		char *peer = strchr(args[i], '=');

		if (!peer)
			return -1;
		*peer++ = 0;
		r |= prefix_parse(args[i], &tunnel->dst) | addr_parse(peer, &tunnel->peer);
	}
	return wanted->tunnels ? r : -1;
}

static int stats(struct carrier *carrier, struct err *err)
{
	struct carrier_stat all[CARRIER_STATS_MAX];
	size_t count;

	if (carrier_get_stats(carrier, all, &count, err))
		return fail(err);
	for (size_t i = 0; i < count; i++)
		printf("%s %llu %llu\n", all[i].name, (unsigned long long)all[i].packets,
			(unsigned long long)all[i].bytes);
	return 0;
}

static void hold(struct carrier *carrier, const char *name, const char *uplink)
{
	char line[16];

	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		puts(carrier_check(carrier, name, uplink) ? "yes" : "no");
		fflush(stdout);
	}
}

static int run(struct carrier *carrier, int argc, char **argv)
{
	struct wanted_carrier wanted = {0};
	struct err err = ERR_INIT;
	int r = 0;

	if (!strcmp(argv[2], "stats"))
		return stats(carrier, &err);
	if (argc < 10 || parse(argv + 4, argc - 4, &wanted)) {
		fprintf(stderr, "bad arguments\n");
		r = 2;
	} else if (carrier_apply(carrier, argv[3], &wanted, &err)) {
		r = fail(&err);
	} else if (!strcmp(argv[2], "hold")) {
		hold(carrier, argv[3], wanted.uplink);
	}
	free(wanted.tunnels);
	return r;
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct carrier *carrier;
	int r;

	if (argc < 3)
		return 2;
	if (!strcmp(argv[2], "remove"))
		return carrier_remove(argv[1], &err) ? fail(&err) : 0;
	if (carrier_new(argv[1], &carrier, &err))
		return fail(&err);
	if (getenv("CARRIER_CLSACT"))
		carrier_use_clsact(carrier);
	r = run(carrier, argc, argv);
	carrier_free(carrier);
	return r;
}
