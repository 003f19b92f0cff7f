/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/ctl.h"

#include "base/cleanup.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/tulle/ctl.sock"

static const struct ctl_verb verbs[] = {
	{"status", "", "this node at a glance: readiness, lease, uplink, what is wrong", ctl_status},
	{"leases", "", "all nodes' leases, and why one is left out", ctl_leases},
	{"pods", "", "pods attached to this node", ctl_pods},
	{"ipam", "show|check|release", "who has which address, whether all of it agrees, give a leaked one back", ctl_ipam},
	{"bgp", "status|routes|run", "BIRD's sessions, its routes; run: be BIRD once it is configured", ctl_bgp},
	{"metrics", "", "the agent's Prometheus metrics", ctl_metrics},
	{"config", "check FILE...", "check net-conf.json, a CNI configuration or a ConfigMap holding them", ctl_config},
	{"path", "FROM TO [PROTOCOL[/PORT]]", "which way a flow takes from here, by which path, and why", ctl_path},
	{"policy", "eval|explain|lint", "who may reach whom, and why: by the agent, or from cases and manifests", ctl_policy},
	{"drops", "[--follow] [FLAG]...", "packets that policy dropped: counted by reason, or each as it happens", ctl_drops},
	{"cleanup", "[FLAG]...", "remove every trace of Tulle from this node; --dry-run shows it", ctl_cleanup},
	{"bpffs", "[DIRECTORY]", "mount a bpf file system on it, /sys/fs/bpf, unless it is one", ctl_bpffs},
};

int ctl_fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("tullectl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

static void help(FILE *out)
{
	fputs("Usage: tullectl [--socket PATH] [-o table|json] VERB [ARGUMENT]...\n"
	      "Looks at Tulle on this node.\n\nVerbs:\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s %s", verbs[i].name, verbs[i].arguments);
		fprintf(out, "  %-24s %s\n", left, verbs[i].meaning);
	}
	fputs("\nFlags:\n"
	      "  -o, --output table|json  how to print (default table)\n"
	      "  --socket PATH            the agent's control socket (default " DEFAULT_SOCKET ")\n"
	      "  --version                print the version\n"
	      "\nExit status: 0 all right, 1 failed or something is wrong, 2 wrong usage. See tullectl(8).\n", out);
}

/* The value of a flag written as "-o json", "--output json" or "--output=json"; null when word is another one.
 * *used: words consumed; 0 with a null value means that the value is missing. */
static const char *flag_value(int left, char **words, const char *name, const char *alias, int *used)
{
	size_t len = strlen(name);

	*used = 0;
	if (strncmp(words[0], name, len) == 0 && words[0][len] == '=') {
		*used = 1;
		return words[0] + len + 1;
	}
	if (strcmp(words[0], name) != 0 && (!alias || strcmp(words[0], alias) != 0))
		return NULL;
	*used = 2;
	return left > 1 ? words[1] : NULL;
}

static int set_output(struct ctl *ctl, const char *value)
{
	if (value && (strcmp(value, "json") == 0 || strcmp(value, "table") == 0)) {
		ctl->json = value[0] == 'j';
		return CTL_OK;
	}
	return ctl_fail(CTL_USAGE, "-o: the value is \"%s\", expected table or json", value ? value : "");
}

/* Takes the common flags out of argv wherever they stand; what is left goes to the verb. */
static int take_flags(struct ctl *ctl, int argc, char **argv)
{
	int kept = 0;

	for (int i = 1; i < argc;) {
		const char *value;
		int used;

		value = flag_value(argc - i, argv + i, "--output", "-o", &used);
		if (used) {
			if (set_output(ctl, value) != CTL_OK)
				return -1;
			i += used;
			continue;
		}
		value = flag_value(argc - i, argv + i, "--socket", NULL, &used);
		if (used) {
			if (!value)
				return ctl_fail(CTL_USAGE, "--socket needs a path"), -1;
			ctl->socket_path = value;
			i += used;
			continue;
		}
		argv[kept++] = argv[i++];
	}
	ctl->argv = argv;
	return kept;
}

int main(int argc, char **argv)
{
	struct ctl ctl = {.socket_path = DEFAULT_SOCKET};
	int left = take_flags(&ctl, argc, argv);

	if (left < 0)
		return CTL_USAGE;
	if (left == 0) {
		help(stderr);
		return CTL_USAGE;
	}
	if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "help") == 0) {
		help(stdout);
		return CTL_OK;
	}
	if (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "version") == 0) {
		puts("tullectl " TULLE_VERSION);
		return CTL_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(argv[0], verbs[i].name) != 0)
			continue;
		ctl.argc = left - 1;
		ctl.argv = argv + 1;
		return verbs[i].run(&ctl);
	}
	return ctl_fail(CTL_USAGE, "there is no verb \"%s\"; tullectl --help lists them", argv[0]);
}
