/* SPDX-License-Identifier: Apache-2.0
 *
 * A node reduced to its store, for tests: prints every event as one JSON line on stdout and takes commands on stdin:
 *   acquire PUBLIC-IP MAC [SUBNET]   find PUBLIC-IP   quit
 *   create KEY TTL   replace KEY REVISION   remove KEY REVISION (the transport's own, without the manager)
 * Usage: store_probe directory PATH TTL MARGIN
 *        store_probe etcd ENDPOINTS PREFIX TTL MARGIN [key=FILE] [cert=FILE] [ca=FILE] [user=NAME] [password=TEXT]
 */
#include "flannel/flannel.h"
#include "store/manager.h"

#include <event2/event.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct probe {
	struct event_base *base;
	struct store *store;
	struct buf input;
};

static void print(json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT);

	puts(text);
	fflush(stdout);
	free(text);
	json_decref(json);
}

static json_t *lease_json(const struct lease *lease)
{
	char text[ADDR_TEXT_MAX], six[ADDR_TEXT_MAX], mac[MAC_TEXT_MAX];

	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "key", lease->key, "ip",
		addr_format(&lease->public_ip[FAMILY_4], text), "ip6", addr_format(&lease->public_ip[FAMILY_6], six),
		"backend", lease->backend, "mac", mac_format(&lease->vtep_mac[FAMILY_4], mac), "expires",
		(json_int_t)lease->expires);
}

static void on_network(void *ctx, const struct network *network)
{
	char text[PREFIX_TEXT_MAX];

	print(json_pack("{s:s, s:s, s:s}", "event", "network", "network",
		prefix_format(&network->pool[FAMILY_4].cidr, text), "backend", network->backend));
}

static void on_acquired(void *ctx, const struct lease *own)
{
	print(json_pack("{s:s, s:o}", "event", "acquired", "lease", lease_json(own)));
}

static void on_lost(void *ctx)
{
	print(json_pack("{s:s}", "event", "lost"));
}

static void on_lease(void *ctx, const struct lease *lease)
{
	print(json_pack("{s:s, s:o}", "event", "lease", "lease", lease_json(lease)));
}

static void on_gone(void *ctx, const char *key)
{
	print(json_pack("{s:s, s:s}", "event", "gone", "key", key));
}

static void on_synced(void *ctx)
{
	print(json_pack("{s:s}", "event", "synced"));
}

static void on_problem(void *ctx, const char *key, const char *text)
{
	print(json_pack("{s:s, s:s, s:s}", "event", "problem", "key", key, "text", text));
}

static void on_found(void *ctx, const struct lease *own)
{
	print(json_pack("{s:s, s:o}", "event", "found", "lease", own ? lease_json(own) : json_null()));
}

static const struct store_events events = {
	.network = on_network,
	.acquired = on_acquired,
	.lost = on_lost,
	.lease = on_lease,
	.lease_gone = on_gone,
	.synced = on_synced,
	.problem = on_problem,
};

static void acquire(struct probe *probe, char *ip, char *mac, char *subnet)
{
	struct lease want = {.backend = "vxlan", .has_vni = true, .vni = 1};
	struct addr addr;

	if (addr_parse(ip, &addr) < 0 || mac_parse(mac, &want.vtep_mac[FAMILY_4]) < 0)
		exit(2);
	want.public_ip[addr_is_4(&addr) ? FAMILY_4 : FAMILY_6] = addr;
	if (subnet)
		prefix_parse(subnet, &want.subnet[FAMILY_4]);
	store_acquire(probe->store, &want);
}

static void on_done(void *ctx, const struct kv_result *result)
{
	print(json_pack("{s:s, s:i, s:I, s:s}", "event", "done", "rc", result->rc, "revision",
		(json_int_t)result->revision, "text", result->text));
}

static bool raw_write(struct probe *probe, const char *word, const char *key, const char *number)
{
	static const char value[] = "{\"PublicIP\":\"192.0.2.200\",\"PublicIPv6\":null}";
	struct kv *kv = ((struct manager *)probe->store)->kv;

	if (!key || !number)
		return false;
	if (strcmp(word, "create") == 0)
		kv->ops->create(kv, key, value, strlen(value), atoll(number), on_done);
	else if (strcmp(word, "replace") == 0)
		kv->ops->replace(kv, key, value, strlen(value), 60, (uint64_t)atoll(number), on_done);
	else if (strcmp(word, "remove") == 0)
		kv->ops->remove(kv, key, (uint64_t)atoll(number), on_done);
	else
		return false;
	return true;
}

static void command(struct probe *probe, char *line)
{
	char *rest = line, *word = strsep(&rest, " "), *one = strsep(&rest, " "), *two = strsep(&rest, " ");

	if (strcmp(word, "acquire") == 0 && one && two) {
		acquire(probe, one, two, strsep(&rest, " "));
	} else if (strcmp(word, "find") == 0 && one) {
		struct addr ip[FAMILY_COUNT] = {0}, addr;

		if (addr_parse(one, &addr) < 0)
			exit(2);
		ip[addr_is_4(&addr) ? FAMILY_4 : FAMILY_6] = addr;
		store_find_own(probe->store, ip, on_found, probe);
	} else if (!raw_write(probe, word, one, two)) {
		event_base_loopbreak(probe->base);
	}
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct probe *probe = arg;
	char chunk[1024];
	ssize_t n = read(fd, chunk, sizeof(chunk));
	char *end;

	if (n <= 0) {
		event_base_loopbreak(probe->base);
		return;
	}
	buf_add(&probe->input, chunk, (size_t)n);
	while (probe->input.len && (end = memchr(probe->input.data, '\n', probe->input.len))) {
		*end = 0;
		command(probe, probe->input.data);
		buf_consume(&probe->input, (size_t)(end - probe->input.data) + 1);
	}
}

static const char *option(int argc, char **argv, const char *name)
{
	size_t len = strlen(name);

	for (int i = 6; i < argc; i++)
		if (strncmp(argv[i], name, len) == 0 && argv[i][len] == '=')
			return argv[i] + len + 1;
	return NULL;
}

static int open_store(struct probe *probe, int argc, char **argv, struct err *err)
{
	if (strcmp(argv[1], "directory") == 0) {
		struct store_directory_options options = {argv[2], atoll(argv[3]), atoll(argv[4])};

		return store_directory_new(&options, probe->base, &events, probe, &probe->store, err);
	}
	struct store_etcd_options options = {
		.endpoints = argv[2],
		.prefix = argv[3],
		.ttl = atoll(argv[4]),
		.renew_margin = argc > 5 ? atoll(argv[5]) : 0,
		.keyfile = option(argc, argv, "key"),
		.certfile = option(argc, argv, "cert"),
		.cafile = option(argc, argv, "ca"),
		.username = option(argc, argv, "user"),
		.password = option(argc, argv, "password"),
	};

	return store_etcd_new(&options, probe->base, &events, probe, &probe->store, err);
}

int main(int argc, char **argv)
{
	struct probe probe = {.base = event_base_new(), .input = BUF_INIT(65536)};
	struct err err = ERR_INIT;
	struct event *input;

	if (argc < 5)
		return 2;
	if (open_store(&probe, argc, argv, &err) < 0) {
		print(json_pack("{s:s, s:s}", "event", "error", "text", err_text(&err)));
		return 1;
	}
	input = event_new(probe.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &probe);
	event_add(input, NULL);
	store_start(probe.store);
	event_base_dispatch(probe.base);
	store_free(probe.store);
	event_free(input);
	event_base_free(probe.base);
	buf_free(&probe.input);
	return 0;
}
