/* SPDX-License-Identifier: Apache-2.0
 *
 * tulled: the agent's entry. Flags, then the agent until a signal.
 */
#include "agent/agent.h"

#include "agent/proc_sys.h"
#include "base/cleanup.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <linux/capability.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define DESCRIPTORS_WISHED 4096

enum { EXIT_CLEAN = 0, EXIT_START = 1, EXIT_USAGE = 2 };

static int settle(char **field, const char *value)
{
	free(*field);
	*field = strdup(value);
	return *field ? 0 : -ENOMEM;
}

/* Without one, the Kubernetes store asks for that of our pod. The kubelet registers under the host's in lower case. */
static int settle_node_name(struct options *options, struct err *err)
{
	bool kubernetes = strcmp(options->store, "kubernetes") == 0;
	const char *node = getenv("NODE_NAME");
	const char *pod = getenv("POD_NAME");
	struct utsname uts;

	if (options->node_name[0])
		return 0;
	if (node && node[0])
		return settle(&options->node_name, node);
	if (kubernetes && pod && pod[0])
		return 0;
	if (uname(&uts) < 0)
		return err_set(err, -errno, "uname: %s", strerror(errno));
	for (char *c = uts.nodename; kubernetes && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return settle(&options->node_name, uts.nodename);
}

/* Defaults that depend on other flags or on the machine. */
static int complete(struct options *options, struct err *err)
{
	const char *const etcd_flags[] = {"etcd-endpoints", "etcd-prefix", "etcd-keyfile", "etcd-certfile", "etcd-cafile",
		"etcd-username", "etcd-password"};

	if (!options->store[0] && options->kube_subnet_mgr)
		settle(&options->store, "kubernetes");
	for (size_t i = 0; i < ARRAY_SIZE(etcd_flags); i++)
		if (!options->store[0] && options_given(options, etcd_flags[i]))
			settle(&options->store, "etcd");
	if (!options->store[0])
		settle(&options->store, "directory");
	return settle_node_name(options, err);
}

static int validate_policy(const struct options *options, struct err *err)
{
	unsigned long mask;
	char *end;

	if (strcmp(options->policy, "auto") != 0 && strcmp(options->policy, "on") != 0 && strcmp(options->policy, "off") != 0)
		return err_set(err, -EINVAL, "--policy: the value is \"%s\", expected auto, on or off", options->policy);
	if (strcmp(options->policy_established, "cut") != 0 && strcmp(options->policy_established, "keep") != 0)
		return err_set(err, -EINVAL, "--policy-established: the value is \"%s\", expected cut or keep",
			options->policy_established);
	errno = 0;
	mask = strtoul(options->policy_marks, &end, 0);
	if (errno || end == options->policy_marks || *end || mask > UINT32_MAX || __builtin_popcountl(mask) != 2)
		return err_set(err, -EINVAL, "--policy-marks: the value is \"%s\", expected a mask of two bits, such as 0x00300000",
			options->policy_marks);
	return 0;
}

static int validate_express(const struct options *options, struct err *err)
{
	unsigned long bit;
	char *end;

	if (strcasecmp(options->express_path, "enabled") != 0 && strcasecmp(options->express_path, "disabled") != 0)
		return err_set(err, -EINVAL, "--express-path: the value is \"%s\", expected enabled or disabled", options->express_path);
	errno = 0;
	bit = strtoul(options->express_mark, &end, 0);
	if (errno || end == options->express_mark || *end || bit > UINT32_MAX || __builtin_popcountl(bit) != 1 ||
		bit & strtoul(options->policy_marks, NULL, 0))
		return err_set(err, -EINVAL, "--express-mark: the value is \"%s\", expected one bit, such as 0x00400000, that is not in "
			"--policy-marks", options->express_mark);
	return 0;
}

static int validate(const struct options *options, struct err *err)
{
	int rc;
	bool kubernetes = strcmp(options->store, "kubernetes") == 0;
	uint8_t address[16];

	if (options->kube_subnet_mgr && !kubernetes)
		return err_set(err, -EINVAL, "--store: the value is \"%s\", but --kube-subnet-mgr asks for kubernetes",
			options->store);
	if (!kubernetes && strcmp(options->store, "directory") != 0 && strcmp(options->store, "etcd") != 0)
		return err_set(err, -EINVAL, "--store: the value is \"%s\", expected directory, etcd or kubernetes",
			options->store);
	if (strcmp(options->dialect, "auto") != 0 && strcmp(options->dialect, "flannel") != 0 &&
		strcmp(options->dialect, "calico") != 0)
		return err_set(err, -EINVAL, "--dialect: the value is \"%s\", expected auto, flannel or calico", options->dialect);
	if (strcmp(options->bird, "adopt") != 0 && strcmp(options->bird, "start") != 0 && strcmp(options->bird, "off") != 0)
		return err_set(err, -EINVAL, "--bird: the value is \"%s\", expected adopt, start or off", options->bird);
	if (inet_pton(AF_INET, options->healthz_ip, address) != 1 && inet_pton(AF_INET6, options->healthz_ip, address) != 1)
		return err_set(err, -EINVAL, "--healthz-ip: \"%s\" is no IP address", options->healthz_ip);
	if (strchr(options->cni_conf_name, '/') || !options->cni_conf_name[0])
		return err_set(err, -EINVAL, "--cni-conf-name: \"%s\" is no file name", options->cni_conf_name);
	rc = validate_policy(options, err);
	return rc < 0 ? rc : validate_express(options, err);
}

static void print_warnings(const struct buf *warnings)
{
	const char *line = buf_text(warnings);

	while (*line) {
		size_t len = strcspn(line, "\n");

		log_warning("%.*s", (int)len, line);
		line += len + (line[len] == '\n');
	}
}

/* 0: go on; otherwise the process ends with *ret_status. */
static int parse(struct options *options, int argc, char **argv, char **environment, int *ret_status)
{
	_cleanup_(buf_free) struct buf warnings = BUF_INIT(65536);
	_cleanup_(buf_free) struct buf help = BUF_INIT(65536);
	struct err err = ERR_INIT;

	options_init(options);
	*ret_status = EXIT_USAGE;
	if (options_parse(options, argc, argv, environment, &warnings, &err) < 0) {
		fprintf(stderr, "tulled: %s\n", err_text(&err));
		return -1;
	}
	if (options->help || options->version) {
		options_help(&help);
		printf("%s", options->help ? buf_text(&help) : "tulled " TULLE_VERSION "\n");
		*ret_status = EXIT_CLEAN;
		return -1;
	}
	log_verbosity = options->verbosity;
	print_warnings(&warnings);
	if (complete(options, &err) == 0 && validate(options, &err) == 0)
		return 0;
	fprintf(stderr, "tulled: %s\n", err_text(&err));
	return -1;
}

/* Everything the agent does needs it; better to say so than to fail at the first route. */
static int need_net_admin(struct err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &header, data) == 0 && data[0].effective & 1u << CAP_NET_ADMIN)
		return 0;
	return err_set(err, -EPERM, "tulled needs the capability CAP_NET_ADMIN: start it as root");
}

static void prepare_process(void)
{
	struct rlimit unlimited = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
	struct rlimit files;

	signal(SIGPIPE, SIG_IGN);
	mallopt(M_MMAP_THRESHOLD, 65536); /* what one pass over thousands of peers needs goes back afterwards */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < DESCRIPTORS_WISHED) {
		files.rlim_cur = files.rlim_max < DESCRIPTORS_WISHED ? files.rlim_max : DESCRIPTORS_WISHED;
		setrlimit(RLIMIT_NOFILE, &files); /* best effort: hundreds of ADDs at once hold some each */
	}
	setrlimit(RLIMIT_MEMLOCK, &unlimited); /* best effort: eBPF accounting is by cgroup since 5.11 */
}

int main(int argc, char **argv, char **environment)
{
	struct agent agent = {0};
	struct err err = ERR_INIT;
	int status;

	if (parse(&agent.options, argc, argv, environment, &status) < 0) {
		options_free(&agent.options);
		return status;
	}
	prepare_process();
	if (proc_sys_open(&err) < 0)
		log_warning("%s", err_text(&err));
	log_info("tulled %s on %s, store %s", TULLE_VERSION,
		agent.options.node_name[0] ? agent.options.node_name : "this pod's node", agent.options.store);
	status = EXIT_START;
	if (need_net_admin(&err) < 0 || agent_init(&agent, &err) < 0)
		log_error("%s", err_text(&err));
	else
		status = agent_run(&agent);
	agent_free(&agent);
	options_free(&agent.options);
	if (agent.again) {
		execv("/proc/self/exe", argv);
		log_error("/proc/self/exe: %s", strerror(errno));
		status = EXIT_START;
	}
	return status;
}
