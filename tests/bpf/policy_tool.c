/* SPDX-License-Identifier: Apache-2.0
 *
 * The policy programs and their maps by hand, for the tests:
 *   policy_tool DIR load [noconntrack]   everything is pinned in DIR; marks as in MARK_*
 *   policy_tool DIR put WORD...
 *     pod=IFINDEX,SERIAL,IN,OUT,MAC,IP4,IP6   address=CIDR,CLASS,FLAGS   pair=TABLE,CLASS,LIST
 *     port=LIST,LEN,PROTOCOL,PORT,BITS   epoch=NUMBER
 *   policy_tool DIR counts | flows
 */
#include "base/addr.h"
#include "bpf/policy_layout.h"
#include "plane/pinned.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy.skel.h"

#define MARK_PENDING 0x00400000
#define MARK_HOST 0x00800000
#define FIELDS_MAX 8

static const char *dir;

static int open_map(const char *name)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = bpf_obj_get(path);
	if (fd < 0)
		fprintf(stderr, "%s: not there\n", path);
	return fd;
}

static int put(const char *map, const void *key, const void *value)
{
	int fd = open_map(map), r;

	if (fd < 0)
		return -1;
	r = bpf_map_update_elem(fd, key, value, BPF_ANY);
	close(fd);
	return r;
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 0);
}

static int put_pod(char **fields, size_t count)
{
	struct policy_endpoint pod = {0};
	uint32_t ifindex;
	int r;

	if (count != 7)
		return -1;
	ifindex = (uint32_t)number(fields[0]);
	pod.serial = (uint32_t)number(fields[1]);
	pod.table[0] = number(fields[2]);
	pod.table[1] = number(fields[3]);
	if (sscanf(fields[4], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &pod.mac[0], &pod.mac[1], &pod.mac[2], &pod.mac[3], &pod.mac[4],
		    &pod.mac[5]) != 6)
		return -1;
	for (int f = 0; f < 2; f++) {
		struct addr addr;

		if (addr_parse(fields[5 + f], &addr))
			return -1;
		pod.addr[f] = packet_addr_of(&addr);
		r = put("locals", &pod.addr[f], &ifindex);
		if (r)
			return r;
	}
	return put("endpoints", &ifindex, &pod);
}

static int put_address(char **fields, size_t count)
{
	struct policy_address value = {0};
	struct packet_prefix key;
	struct prefix prefix;

	if (count != 3 || prefix_parse(fields[0], &prefix))
		return -1;
	key = packet_prefix_of(&prefix);
	value.class = number(fields[1]);
	value.flags = (uint32_t)number(fields[2]);
	return put("addresses", &key, &value);
}

static int put_pair(char **fields, size_t count)
{
	struct policy_pair key;
	uint64_t list;

	if (count != 3)
		return -1;
	key = (struct policy_pair){number(fields[0]), number(fields[1])};
	list = number(fields[2]);
	return put("pairs", &key, &list);
}

static int put_port(char **fields, size_t count)
{
	struct policy_verdict value = {0};
	struct policy_port key = {0};
	uint64_t list;

	if (count != 5)
		return -1;
	list = number(fields[0]);
	key.len = (uint32_t)number(fields[1]);
	key.list[0] = (uint32_t)list;
	key.list[1] = (uint32_t)(list >> 32);
	key.protocol = (uint8_t)number(fields[2]);
	key.port = htons((uint16_t)number(fields[3]));
	value.bits = (uint32_t)number(fields[4]);
	return put("ports", &key, &value);
}

static int put_epoch(char **fields, size_t count)
{
	struct policy_state state = {.mark_pending = MARK_PENDING, .mark_host = MARK_HOST};

	if (count != 1)
		return -1;
	state.epoch = (uint32_t)number(fields[0]);
	return put("state", &(uint32_t){0}, &state);
}

static int put_word(char *word)
{
	static const struct {
		const char *name;
		int (*put)(char **fields, size_t count);
	} kinds[] = {{"pod", put_pod}, {"address", put_address}, {"pair", put_pair}, {"port", put_port}, {"epoch", put_epoch}};
	char *fields[FIELDS_MAX], *value = strchr(word, '='), *rest = NULL;
	size_t n = 0;

	if (!value)
		return -1;
	*value++ = 0;
	for (char *field = strtok_r(value, ",", &rest); field && n < FIELDS_MAX; field = strtok_r(NULL, ",", &rest))
		fields[n++] = field;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, word))
			return kinds[i].put(fields, n);
	return -1;
}

static int load(bool conntrack)
{
	struct policy_bpf *programs = policy_bpf__open();
	char one[] = "epoch=1";

	if (!programs)
		return 1;
	*(volatile uint32_t *)&programs->rodata->config.conntrack = conntrack;
	if (policy_bpf__load(programs) || bpf_object__pin(programs->obj, dir))
		return 1;
	policy_bpf__destroy(programs);
	return put_word(one) ? 1 : 0;
}

static int counts(void)
{
	static const char *const names[] = {
#define X(id, name, text) name,
		POLICY_COUNTS(X)
#undef X
	};
	int fd = open_map("counts");

	for (uint32_t i = 0; fd >= 0 && i < POLICY_COUNT_MAX; i++) {
		uint64_t packets = 0, bytes = 0;

		if (counter_sum(fd, i, &packets, &bytes))
			return 1;
		printf("%s %llu\n", names[i], (unsigned long long)packets);
	}
	return fd < 0;
}

static void print_addr(const struct packet_addr *addr)
{
	char text[INET6_ADDRSTRLEN];

	fputs(inet_ntop(AF_INET6, addr, text, sizeof(text)), stdout);
}

static int flows(void)
{
	struct policy_flow_key key;
	struct policy_flow flow;
	int fd = open_map("flows");

	if (fd < 0)
		return 1;
	for (void *last = NULL; bpf_map_get_next_key(fd, last, &key) == 0; last = &key) {
		if (bpf_map_lookup_elem(fd, &key, &flow))
			continue;
		printf("%u ", key.protocol);
		print_addr(&key.local);
		printf(" %u ", ntohs(key.local_port));
		print_addr(&key.remote);
		printf(" %u peer ", ntohs(key.remote_port));
		print_addr(&flow.peer);
		printf(" %u flags %u\n", ntohs(flow.peer_port), flow.flags);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	dir = argv[1];
	if (!strcmp(argv[2], "load"))
		return load(argc < 4);
	if (!strcmp(argv[2], "counts"))
		return counts();
	if (!strcmp(argv[2], "flows"))
		return flows();
	for (int i = 3; i < argc; i++)
		if (put_word(argv[i])) {
			fprintf(stderr, "bad: %s\n", argv[i]);
			return 1;
		}
	return strcmp(argv[2], "put") ? 2 : 0;
}
