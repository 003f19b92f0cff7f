/* SPDX-License-Identifier: Apache-2.0 */
#include "scenario.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "flannel/flannel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

char *scenario_word(char **rest)
{
	char *text;

	while ((text = strsep(rest, " \t")))
		if (*text)
			return text;
	return NULL;
}

void *scenario_grow(void *array, size_t count, size_t size)
{
	array = reallocarray(array, count + 1, size);
	if (!array)
		abort();
	return array;
}

int scenario_bad_word(const char *what, const char *got, struct err *err)
{
	return err_set(err, -EINVAL, "\"%s\", expected %s", got ? got : "end of line", what);
}

/* Puts an address where its family belongs. */
static int read_addr(const char *text, struct addr addr[FAMILY_COUNT], struct err *err)
{
	struct addr one;

	if (!text || addr_parse(text, &one) < 0)
		return scenario_bad_word("an address", text, err);
	addr[family_index(addr_family(&one))] = one;
	return 0;
}

static int read_prefix(
	const char *text, struct prefix **list, const struct prefix **shown, size_t *count, struct err *err)
{
	struct prefix prefix;

	if (!text || prefix_parse(text, &prefix) < 0)
		return scenario_bad_word("a prefix", text, err);
	*list = scenario_grow(*list, *count, sizeof(**list));
	(*list)[(*count)++] = prefix;
	*shown = *list;
	return 0;
}

static int read_network(struct scenario *scenario, char *rest, struct err *err)
{
	scenario->input.network = &scenario->network;
	return flannel_network_parse(rest, strlen(rest), "network", &scenario->network, err);
}

static int read_own(struct scenario *scenario, char *rest, struct err *err)
{
	char *key = scenario_word(&rest);

	scenario->input.own = &scenario->own;
	return flannel_lease_parse(
		key ? key : "", rest ? rest : "", rest ? strlen(rest) : 0, &scenario->own, err);
}

static int read_peer(struct scenario *scenario, char *rest, struct err *err)
{
	struct lease *lease = calloc(1, sizeof(*lease));
	char *key = scenario_word(&rest);

	if (!lease)
		abort();
	scenario->peers = scenario_grow(scenario->peers, scenario->input.peer_count, sizeof(*scenario->peers));
	scenario->peers[scenario->input.peer_count++] = lease;
	scenario->input.peers = (const struct lease *const *)scenario->peers;
	return flannel_lease_parse(key ? key : "", rest ? rest : "", rest ? strlen(rest) : 0, lease, err);
}

static int read_uplink(struct scenario *scenario, char *rest, struct err *err)
{
	struct plan_uplink *uplink = &scenario->input.uplink;
	char *text = scenario_word(&rest);
	int r = 0;

	if (!text || strlen(text) >= sizeof(uplink->name))
		return scenario_bad_word("an interface name", text, err);
	strcpy(uplink->name, text);
	while (r == 0 && (text = scenario_word(&rest))) {
		char *value = scenario_word(&rest);

		if (strcmp(text, "mtu") == 0 && value)
			uplink->mtu = (uint32_t)atoi(value);
		else if (strcmp(text, "addr") == 0)
			r = read_addr(value, uplink->addr, err);
		else if (strcmp(text, "on-link") == 0)
			r = read_prefix(
				value, &scenario->on_link, &uplink->on_link, &uplink->on_link_count, err);
		else
			r = scenario_bad_word("mtu, addr or on-link", text, err);
	}
	memcpy(scenario->input.public_ip, uplink->addr, sizeof(uplink->addr));
	return r;
}

static int read_public_ip(struct scenario *scenario, char *rest, struct err *err)
{
	char *text;
	int r = 0;

	while (r == 0 && (text = scenario_word(&rest)))
		r = read_addr(text, scenario->input.public_ip, err);
	return r;
}

static int read_vtep_mac(struct scenario *scenario, char *rest, struct err *err)
{
	char *text;

	for (int f = 0; f < FAMILY_COUNT && (text = scenario_word(&rest)); f++)
		if (mac_parse(text, &scenario->input.vtep_mac[f]) < 0)
			return scenario_bad_word("a MAC address", text, err);
	return 0;
}

static int read_pod(struct scenario *scenario, char *rest, struct err *err)
{
	char *name = scenario_word(&rest), *mac = scenario_word(&rest), *text;
	struct plan_pod pod = {0};
	int r = 0;

	if (!name || strlen(name) >= sizeof(pod.host_ifname))
		return scenario_bad_word("an interface name", name, err);
	strcpy(pod.host_ifname, name);
	if (!mac || mac_parse(mac, &pod.mac) < 0)
		return scenario_bad_word("a MAC address", mac, err);
	while (r == 0 && (text = scenario_word(&rest)))
		r = read_addr(text, pod.addr, err);
	scenario->pods = scenario_grow(scenario->pods, scenario->input.pod_count, sizeof(pod));
	scenario->pods[scenario->input.pod_count++] = pod;
	scenario->input.pods = scenario->pods;
	return r;
}

static int read_option(struct scenario *scenario, char *rest, struct err *err)
{
	struct plan_options *options = &scenario->input.options;
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{"ip-masq", &options->ip_masq},
		{"random-fully", &options->random_fully},
		{"forward-rules", &options->forward_rules},
		{"blackhole", &options->blackhole},
		{"vxlan-guard", &options->vxlan_guard},
	};
	char *name = scenario_word(&rest);

	for (size_t i = 0; name && i < ARRAY_SIZE(flags); i++) {
		if (strcmp(name, flags[i].name) == 0) {
			*flags[i].flag = true;
			return 0;
		}
	}
	if (name && strcmp(name, "mark") == 0) {
		options->mark_mask = (uint32_t)strtoul(rest ? rest : "", NULL, 0);
		return 0;
	}
	if (name && strcmp(name, "non-masquerade") == 0)
		return read_prefix(scenario_word(&rest), &scenario->excluded, &options->non_masquerade,
			&options->non_masquerade_count, err);
	return scenario_bad_word("an option", name, err);
}

static int read_complete(struct scenario *scenario, char *rest, struct err *err)
{
	scenario->input.peers_complete = true;
	return 0;
}

int scenario_read_line(struct scenario *scenario, char *line, struct err *err)
{
	static const struct {
		const char *name;
		int (*read)(struct scenario *scenario, char *rest, struct err *err);
	} lines[] = {
		{"network", read_network},
		{"own", read_own},
		{"peer", read_peer},
		{"uplink", read_uplink},
		{"public-ip", read_public_ip},
		{"vtep-mac", read_vtep_mac},
		{"pod", read_pod},
		{"option", read_option},
		{"complete", read_complete},
	};
	char *rest = line;
	char *name = scenario_word(&rest);

	if (!name || *name == '#')
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (strcmp(name, lines[i].name) == 0)
			return lines[i].read(scenario, rest, err);
	return scenario_bad_word("network, own, peer, ...", name, err);
}

int scenario_read_lines(const char *path, int (*read)(void *ctx, char *line, struct err *err), void *ctx, struct err *err)
{
	_cleanup_(buf_free) struct buf buf = {0};
	char *rest, *line;
	int number = 0;
	int r = file_read(path, &buf, err);

	if (r < 0)
		return r;
	rest = buf.data;
	while (r == 0 && (line = strsep(&rest, "\n"))) {
		number++;
		r = read(ctx, line, err);
	}
	return r < 0 ? err_wrap(err, "%s:%d", path, number), r : 0;
}

static int read_line(void *ctx, char *line, struct err *err)
{
	return scenario_read_line(ctx, line, err);
}

int scenario_read(const char *path, struct scenario *ret, struct err *err)
{
	int r;

	*ret = (struct scenario){0};
	r = scenario_read_lines(path, read_line, ret, err);
	if (r == 0 && !ret->input.network)
		r = err_set(err, -EINVAL, "%s: no network", path);
	if (r < 0)
		scenario_free(ret);
	return r;
}

void scenario_free(struct scenario *scenario)
{
	for (size_t i = 0; i < scenario->input.peer_count; i++)
		free(scenario->peers[i]);
	free(scenario->peers);
	free(scenario->pods);
	free(scenario->on_link);
	free(scenario->excluded);
	*scenario = (struct scenario){0};
}
