/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/options.h"

#include "agent/options_file.h"
#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum option_type { OPTION_STRING, OPTION_LIST, OPTION_BOOL, OPTION_INT };

struct option_spec {
	const char *name;
	enum option_type type;
	size_t offset;
	const char *value;   /* default as text */
	long min, max;       /* OPTION_INT */
	const char *hint;    /* what stands for the value in --help */
	const char *meaning;
	bool no_effect;      /* taken so that Flannel's command lines work */
};

#define S(n, field, def, hint, text) {n, OPTION_STRING, offsetof(struct options, field), def, 0, 0, hint, text, false}
#define L(n, field, hint, text) {n, OPTION_LIST, offsetof(struct options, field), NULL, 0, 0, hint, text, false}
#define B(n, field, def, text) {n, OPTION_BOOL, offsetof(struct options, field), def, 0, 0, NULL, text, false}
#define I(n, field, def, min, max, hint, text) \
	{n, OPTION_INT, offsetof(struct options, field), def, min, max, hint, text, false}
#define NO_EFFECT(n, field, def, text) \
	{n, OPTION_STRING, offsetof(struct options, field), def, 0, 0, "TEXT", text, true}

static const struct option_spec specs[] = {
	S("config", config, "", "FILE", "YAML file with these flags as keys (express-path: disabled, or as Kubernetes spells, expressPath: Disabled)"),
	S("store", store, "", "KIND",
		"where the cluster's state lives: directory, etcd or kubernetes (default: kubernetes with --kube-subnet-mgr, etcd if an "
		"etcd flag is given, else directory)"),
	S("dialect", dialect, "auto", "NAME",
		"whose words the store speaks: flannel (net-conf.json, leases), calico (IPPool and the others), or auto: calico if there "
		"is any IPPool"),
	S("store-dir", store_dir, "/var/lib/tulle/store", "DIR", "directory store: net-conf.json and leases/"),
	S("node-name", node_name, "", "NAME", "this node's name (default: NODE_NAME; with Kubernetes that of our pod, POD_NAME and POD_NAMESPACE; else the host name)"),
	S("etcd-endpoints", etcd_endpoints, "http://127.0.0.1:4001,http://127.0.0.1:2379", "URLS",
		"comma-separated etcd endpoints"),
	S("etcd-prefix", etcd_prefix, "/coreos.com/network", "KEY", "etcd key prefix"),
	S("etcd-keyfile", etcd_keyfile, "", "FILE", "etcd client key"),
	S("etcd-certfile", etcd_certfile, "", "FILE", "etcd client certificate"),
	S("etcd-cafile", etcd_cafile, "", "FILE", "CA of the etcd servers (default: the system's)"),
	S("etcd-username", etcd_username, "", "NAME", "etcd user"),
	S("etcd-password", etcd_password, "", "TEXT", "its password (better given in FLANNELD_ETCD_PASSWORD)"),
	L("iface", iface, "NAME|IP", "interface for node-to-node traffic; may be repeated, first match wins"),
	L("iface-regex", iface_regex, "REGEX", "regular expression for address or name, tried after --iface; repeatable"),
	S("iface-can-reach", iface_can_reach, "", "IP", "use the interface that a route look-up to this address gives"),
	S("subnet-file", subnet_file, "/run/flannel/subnet.env", "FILE", "where subnet.env is written"),
	S("public-ip", public_ip, "", "IP", "IPv4 address published to peers"),
	S("public-ipv6", public_ipv6, "", "IP", "IPv6 address published to peers"),
	I("subnet-lease-renew-margin", renew_margin, "60", 1, 1439, "MINUTES", "lease renewal before expiry"),
	B("ip-masq", ip_masq, "false", "masquerade traffic that leaves the cluster network"),
	B("ip-masq-fully-random-disable", random_fully_disable, "false", "do not use fully-random source ports"),
	L("non-masquerade-cidr", non_masquerade_cidr, "CIDR", "destination that is never masqueraded; repeatable"),
	B("iptables-forward-rules", forward_rules, "true", "let pod traffic through the forward hook"),
	B("vxlan-guard", vxlan_guard, "false", "Flannel's vxlan: take packets from nodes' published addresses only, and each node's pods from "
		"that node only (needs nodes that send from the address that they publish)"),
	B("ip-blackhole-route", blackhole, "false", "keep a blackhole route for the own subnet also with backend alloc (others always have it)"),
	S("healthz-ip", healthz_ip, "0.0.0.0", "IP", "listen address of /healthz, /readyz and /metrics"),
	I("healthz-port", healthz_port, "0", 0, 65535, "PORT", "its port; 0 = none"),
	S("run-dir", run_dir, "/run/tulle", "DIR", "sockets cni.sock and ctl.sock"),
	S("state-dir", state_dir, "/var/lib/tulle", "DIR", "journal of addresses, spool of the plugin"),
	S("bpffs", bpffs, "/sys/fs/bpf/tulle", "DIR", "pins of eBPF programs and maps"),
	S("cni-conf-dir", cni_conf_dir, "", "DIR", "write the CNI configuration here once ready, e.g. /etc/cni/net.d"),
	S("cni-conf-name", cni_conf_name, "10-tulle.conflist", "FILE", "its file name"),
	S("cni-bin-dir", cni_bin_dir, "", "DIR", "install the plugin here before that, e.g. /opt/cni/bin"),
	S("bird", bird, "adopt", "HOW",
		"BGP by BIRD, where the store speaks Calico: adopt (one that others start on RUN-DIR/bird), start (we start it, and leave it running), off"),
	S("policy", policy, "auto", "HOW",
		"enforce NetworkPolicy and its kin: auto (where the store has objects and the kernel can), on (else refuse to start), off"),
	S("policy-established", policy_established, "cut", "HOW",
		"flows that stand when a policy comes to deny them: cut or keep"),
	S("policy-marks", policy_marks, "0x00300000", "MASK", "the two bits of the packet mark that policy uses"),
	S("express-path", express_path, "enabled", "HOW",
		"let packets between pods go round the host's network stack where that is safe: enabled or disabled; works where policy does"),
	S("express-mark", express_mark, "0x00400000", "MASK", "the bit of the packet mark that the express path uses"),
	S("host-local-dir", host_local_dir, "/var/lib/cni/networks", "DIR",
		"host-local's files: addresses in them count as taken"),
	S("flannel-data-dir", flannel_dir, "/var/lib/cni/flannel", "DIR", "state files of Flannel's CNI plugin"),
	I("lease-ttl", lease_ttl, "86400", 10, 86400 * 365, "SECONDS", "life of a lease between renewals"),
	I("address-rest", address_rest, "60", 0, 86400, "SECONDS", "how long a released pod address rests"),
	I("ipam-repair-period", ipam_repair_period, "300", 1, 86400, "SECONDS",
		"where the store speaks Calico: time between two searches for addresses that nobody gives back"),
	B("kube-subnet-mgr", kube_subnet_mgr, "false", "use the Kubernetes API as the store (as --store=kubernetes)"),
	S("kube-api-url", kube_api_url, "", "URLS",
		"Kubernetes API server; several with commas, the first that answers is used"),
	S("kubeconfig-file", kubeconfig_file, "", "FILE",
		"kubeconfig (default: the service account of the pod)"),
	S("kube-annotation-prefix", kube_annotation_prefix, "flannel.alpha.coreos.com", "PREFIX",
		"prefix of the node annotations"),
	S("net-config-path", net_config_path, "/etc/kube-flannel/net-conf.json", "FILE",
		"network configuration with --kube-subnet-mgr"),
	B("set-node-network-unavailable", set_node_network_unavailable, "true",
		"clear the node's NetworkUnavailable condition when ready"),
	S("owner-daemonset", owner_daemonset, "", "NAMESPACE/NAME",
		"this agent's DaemonSet: when it is deleted, the CNI configuration and the plugin go from the node"),
	I("iptables-resync", iptables_resync, "60", 1, 86400, "SECONDS",
		"longest time between two full checks of the kernel's state"),
	I("v", verbosity, "0", 0, 10, "LEVEL", "verbosity: 1 data path, 2 details, 4 netlink, 6 payloads"),
	NO_EFFECT("vmodule", vmodule, "", "taken and ignored"),
	NO_EFFECT("log_backtrace_at", log_backtrace_at, "", "taken and ignored"),
	B("version", version, "false", "print the version and exit"),
	B("help", help, "false", "print this and exit"),
};

_Static_assert(ARRAY_SIZE(specs) <= 64, "options.given has a bit for each option");

static const struct option_spec *spec_find(const char *name, size_t len)
{
	if (len == 1 && *name == 'h')
		return spec_find("help", 4);
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++)
		if (strlen(specs[i].name) == len && memcmp(specs[i].name, name, len) == 0)
			return &specs[i];
	return NULL;
}

static int list_add(struct string_list *list, const char *value)
{
	char **items = realloc(list->items, (list->count + 1) * sizeof(*items));

	if (!items)
		return -ENOMEM;
	list->items = items;
	items[list->count] = strdup(value);
	if (!items[list->count])
		return -ENOMEM;
	list->count++;
	return 0;
}

static int bool_parse(const char *text, bool *ret)
{
	static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
	static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcmp(text, yes[i]) == 0)
			return *ret = true, 0;
		if (strcmp(text, no[i]) == 0)
			return *ret = false, 0;
	}
	return -EINVAL;
}

static int int_set(const struct option_spec *spec, int *field, const char *value, struct err *err)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(value, &end, 10);
	if (errno || end == value || *end || n < spec->min || n > spec->max)
		return err_set(err, -EINVAL, "--%s: the value is \"%s\", expected a whole number from %ld to %ld",
			spec->name, value, spec->min, spec->max);
	*field = (int)n;
	return 0;
}

static int string_set(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int spec_set(struct options *options, const struct option_spec *spec, const char *value, struct err *err)
{
	char *field = (char *)options + spec->offset;

	switch (spec->type) {
	case OPTION_STRING:
		return string_set((char **)(void *)field, value);
	case OPTION_LIST:
		return list_add((struct string_list *)(void *)field, value);
	case OPTION_INT:
		return int_set(spec, (int *)(void *)field, value, err);
	case OPTION_BOOL:
		if (bool_parse(value, (bool *)field) < 0)
			return err_set(err, -EINVAL, "--%s: the value is \"%s\", expected true or false", spec->name, value);
		return 0;
	}
	return -EINVAL;
}

static bool spec_given(const struct options *options, const struct option_spec *spec)
{
	return options->given >> (spec - specs) & 1;
}

bool options_given(const struct options *options, const char *name)
{
	const struct option_spec *spec = spec_find(name, strlen(name));

	return spec && spec_given(options, spec);
}

uint32_t options_policy_mark(const struct options *options, int which)
{
	uint32_t mask = (uint32_t)strtoul(options->policy_marks, NULL, 0);
	uint32_t low = mask & -mask;

	return which == 0 ? low : mask & ~low;
}

uint32_t options_express_mark(const struct options *options)
{
	return strcasecmp(options->express_path, "enabled") == 0 ? (uint32_t)strtoul(options->express_mark, NULL, 0) : 0;
}

void options_init(struct options *options)
{
	memset(options, 0, sizeof(*options));
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++)
		if (specs[i].value)
			spec_set(options, &specs[i], specs[i].value, NULL);
}

/* One word of the command line, Go style: -name, --name, --name=value, --name value (not for booleans).
 * Returns the number of words used. */
static int word_parse(struct options *options, int left, char *const *words, uint64_t *given, struct err *err)
{
	const char *word = words[0];
	const char *name = word + (word[0] == '-' && word[1] == '-' ? 2 : 1);
	const char *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const struct option_spec *spec;
	const char *value;
	int used = 1;

	if (word[0] != '-' || !len)
		return err_set(err, -EINVAL, "unexpected word \"%s\": flags start with a dash, and a true/false flag takes its "
			"value after \"=\"", word);
	spec = spec_find(name, len);
	if (!spec)
		return err_set(err, -EINVAL, "there is no flag --%.*s; tulled --help lists them", (int)len, name);
	if (equals) {
		value = equals + 1;
	} else if (spec->type == OPTION_BOOL) {
		value = "true";
	} else if (left < 2) {
		return err_set(err, -EINVAL, "--%s needs a value (%s)", spec->name, spec->hint);
	} else {
		value = words[1];
		used = 2;
	}
	*given |= 1ull << (spec - specs);
	return spec_set(options, spec, value, err) < 0 ? -EINVAL : used;
}

static int command_line_parse(struct options *options, int argc, char *const *argv, struct err *err)
{
	uint64_t given = 0;

	for (int i = 1; i < argc;) {
		int used = word_parse(options, argc - i, argv + i, &given, err);

		if (used < 0)
			return used;
		i += used;
	}
	options->given |= given;
	return 0;
}

static const char *environment_find(char *const *environment, const char *prefix, const struct option_spec *spec)
{
	size_t prefix_len = strlen(prefix);
	size_t len = strlen(spec->name);

	for (; *environment; environment++) {
		const char *name = *environment;
		size_t i = 0;

		if (strncmp(name, prefix, prefix_len) != 0)
			continue;
		name += prefix_len;
		for (; i < len; i++) {
			char c = spec->name[i];

			if (c == '-' || c == '.')
				c = '_';
			else if (c >= 'a' && c <= 'z')
				c = (char)(c - 'a' + 'A');
			if (name[i] != c)
				break;
		}
		if (i == len && name[len] == '=' && name[len + 1])
			return name + len + 1;
	}
	return NULL;
}

static void environment_parse(struct options *options, char *const *environment, struct buf *warnings)
{
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		const char *value = environment_find(environment, "FLANNELD_", &specs[i]);
		struct err err = ERR_INIT;

		if (!value)
			value = environment_find(environment, "TULLED_", &specs[i]);
		if (!value || spec_given(options, &specs[i]))
			continue;
		if (spec_set(options, &specs[i], value, &err) < 0)
			buf_printf(warnings, "environment: %s; ignored\n", err_text(&err));
		else
			options->given |= 1ull << i;
	}
}

struct file_reader {
	struct options *options;
	uint64_t given; /* by the file; a list may have several entries */
};

/* expressPath is express-path. */
static const struct option_spec *spec_find_key(const char *key)
{
	char name[64];
	size_t len = 0;

	for (; *key && len < sizeof(name) - 1; key++) {
		bool capital = *key >= 'A' && *key <= 'Z';

		if (capital && len)
			name[len++] = '-';
		name[len++] = capital ? (char)(*key - 'A' + 'a') : *key;
	}
	return *key ? NULL : spec_find(name, len);
}

static int file_entry(void *ctx, const char *name, const char *value, struct err *err)
{
	struct file_reader *reader = ctx;
	const struct option_spec *spec = spec_find_key(name);

	if (!spec || strcmp(name, "config") == 0 || strcmp(name, "help") == 0 || strcmp(name, "version") == 0)
		return err_set(err, -EINVAL, "key \"%s\" is no flag of tulled", name);
	if (spec_given(reader->options, spec))
		return 0;
	reader->given |= 1ull << (spec - specs);
	return spec_set(reader->options, spec, value, err);
}

static void warn_without_effect(const struct options *options, struct buf *warnings)
{
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++)
		if (specs[i].no_effect && spec_given(options, &specs[i]))
			buf_printf(warnings, "--%s has no effect in tulled\n", specs[i].name);
}

int options_parse(struct options *options, int argc, char *const *argv, char *const *environment, struct buf *warnings,
	struct err *err)
{
	struct file_reader reader = {.options = options};
	int rc = command_line_parse(options, argc, argv, err);

	if (rc < 0)
		return rc;
	environment_parse(options, environment, warnings);
	if (options->config[0]) {
		rc = options_file_read(options->config, file_entry, &reader, err);
		if (rc < 0)
			return rc;
		options->given |= reader.given;
	}
	warn_without_effect(options, warnings);
	return 0;
}

void options_free(struct options *options)
{
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		char *field = (char *)options + specs[i].offset;

		if (specs[i].type == OPTION_STRING) {
			free(*(char **)(void *)field);
		} else if (specs[i].type == OPTION_LIST) {
			struct string_list *list = (struct string_list *)(void *)field;

			for (size_t j = 0; j < list->count; j++)
				free(list->items[j]);
			free(list->items);
		}
	}
	memset(options, 0, sizeof(*options));
}

void options_help(struct buf *buf)
{
	buf_add_str(buf,
		"Usage: tulled [FLAG]...\n"
		"The agent of Tulle, container networking for Kubernetes: one on every node.\n\n"
		"Flags (one or two dashes; --flag=value or --flag value, true/false flags only with =).\n"
		"Each may also be given as environment variable FLANNELD_<FLAG> or as a key of --config.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		const struct option_spec *spec = &specs[i];
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", spec->name, spec->hint ? " " : "", spec->hint ? spec->hint : "");
		buf_printf(buf, "  %-34s %s", left, spec->meaning);
		if (spec->value && spec->value[0] && strcmp(spec->value, "false") != 0)
			buf_printf(buf, " (default %s)", spec->value);
		buf_add_str(buf, "\n");
	}
	buf_add_str(buf, "\nExit status: 0 clean stop, 1 start-up failed, 2 wrong usage. See tulled(8).\n");
}
