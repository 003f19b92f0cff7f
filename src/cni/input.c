/* SPDX-License-Identifier: Apache-2.0 */
#include "cni/input.h"

#include "base/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* linux/magic.h, linux/nsfs.h, linux/sched.h: musl's include path has no kernel headers */
#define NSFS_MAGIC 0x6e736673
#define NS_GET_NSTYPE 0xb703
#define CLONE_NEWNET_TYPE 0x40000000

static char stdin_data[FRAME_STDIN_MAX + 1];

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

void input_from_environment(struct input *in, const char *argv0)
{
	const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
	const char *override = variable("CNI_NETNS_OVERRIDE");

	*in = (struct input){
		.command = variable("CNI_COMMAND"),
		.container_id = variable("CNI_CONTAINERID"),
		.netns = variable("CNI_NETNS"),
		.ifname = variable("CNI_IFNAME"),
		.args = variable("CNI_ARGS"),
		.path = variable("CNI_PATH"),
		.plugin = slash ? slash + 1 : argv0 ? argv0 : "",
		.netns_override = strcmp(override, "1") == 0 || strcasecmp(override, "true") == 0,
		.conf = "",
	};
}

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Container ids and network names. */
static bool is_name(const char *text)
{
	if (!is_alnum(text[0]))
		return false;
	for (; *text; text++)
		if (!is_alnum(*text) && !strchr("_.-", *text))
			return false;
	return true;
}

static int check_container_id(const char *value, struct problem *problem)
{
	if (is_name(value) && strlen(value) < 256)
		return 0;
	problem_set(problem, CNI_BAD_ENVIRONMENT, "CNI_CONTAINERID is not valid");
	problem_details(problem,
		"CNI_CONTAINERID is \"%.200s\", expected a letter or digit, then letters, digits, '_', "
		"'.' and '-', at most 255 bytes",
		value);
	return -1;
}

static int check_ifname(const char *value, struct problem *problem)
{
	const char *why = NULL;

	if (strlen(value) > 15)
		why = "longer than 15 bytes";
	else if (strcmp(value, ".") == 0 || strcmp(value, "..") == 0)
		why = "not a name";
	else if (value[strcspn(value, "/: \t\n\v\f\r")])
		why = "has a '/', ':' or white space in it";
	if (!why)
		return 0;
	problem_set(problem, CNI_BAD_ENVIRONMENT, "CNI_IFNAME is not valid: %s", why);
	problem_details(problem, "CNI_IFNAME is \"%.200s\"", value);
	return -1;
}

enum { ADD = 1, DEL = 2, CHECK = 4, STATUS = 8, GC = 16 };

static int command_bit(const char *command)
{
	static const char *const names[] = {"ADD", "DEL", "CHECK", "STATUS", "GC"};

	for (int i = 0; i < 5; i++)
		if (strcmp(command, names[i]) == 0)
			return 1 << i;
	return 0;
}

int input_check_environment(const struct input *in, struct problem *problem)
{
	const struct {
		const char *name, *value;
		int needed_by;
		int (*check)(const char *value, struct problem *problem);
	} variables[] = {
		{"CNI_COMMAND", in->command, 0, NULL},
		{"CNI_CONTAINERID", in->container_id, ADD | DEL | CHECK, check_container_id},
		{"CNI_NETNS", in->netns, ADD | CHECK, NULL},
		{"CNI_IFNAME", in->ifname, ADD | DEL | CHECK, check_ifname},
		{"CNI_ARGS", in->args, 0, NULL},
		{"CNI_PATH", in->path, GC, NULL},
	};
	int command = command_bit(in->command);
	char missing[128] = "";

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		bool needed = variables[i].needed_by & command;

		if (strlen(variables[i].value) > FRAME_VARIABLE_MAX)
			return problem_set(problem, CNI_BAD_ENVIRONMENT, "%s is longer than %u bytes",
				variables[i].name, FRAME_VARIABLE_MAX);
		if (needed && !variables[i].value[0])
			snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), "%s%s",
				missing[0] ? "," : "", variables[i].name);
		else if (needed && variables[i].check && variables[i].check(variables[i].value, problem) < 0)
			return -1;
	}
	if (missing[0])
		return problem_set(
			problem, CNI_BAD_ENVIRONMENT, "required env variables [%s] missing", missing);
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Fills stdin_data until the end; 0, -EMSGSIZE, -ETIMEDOUT or what read said. */
static int read_stdin(struct input *in, int timeout_ms)
{
	int64_t deadline = now_ms() + timeout_ms;
	size_t len = 0;
	int rc = 0;

	for (;;) {
		struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
		int64_t left = deadline - now_ms();
		ssize_t n;

		if (left < 0 || poll(&wait, 1, (int)left) == 0) {
			rc = -ETIMEDOUT;
			break;
		}
		n = read(STDIN_FILENO, stdin_data + len, sizeof(stdin_data) - len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			rc = -errno;
		if (n <= 0)
			break;
		len += (size_t)n;
		if (len > FRAME_STDIN_MAX) {
			rc = -EMSGSIZE;
			break;
		}
	}
	in->conf = stdin_data;
	in->conf_len = len;
	return rc;
}

int input_read_stdin(struct input *in, int timeout_ms, struct problem *problem)
{
	int rc = read_stdin(in, timeout_ms);

	if (rc == 0)
		return 0;
	if (rc == -EMSGSIZE)
		return problem_set(problem, CNI_UNDECODABLE,
			"the network configuration on stdin is larger than %u bytes", FRAME_STDIN_MAX);
	return problem_set(
		problem, CNI_IO, "the network configuration cannot be read from stdin: %s", strerror(-rc));
}

static int take_name(const struct scan_member *name, struct problem *problem)
{
	if (name->kind == SCAN_OTHER)
		return problem_set(problem, CNI_UNDECODABLE,
			"key \"name\" of the network configuration is not a string");
	if (name->kind == SCAN_ABSENT || (name->kind == SCAN_STRING && !name->text[0]))
		return problem_set(problem, CNI_BAD_CONF, "the network configuration has no \"name\"");
	if (name->kind == SCAN_LONG || strlen(name->text) > 255 || !is_name(name->text)) {
		problem_set(problem, CNI_BAD_CONF, "key \"name\" of the network configuration is not valid");
		problem_details(problem,
			"\"name\" is \"%.200s\", expected a letter or digit, then letters, digits, '_', "
			"'.' and '-', at most 255 bytes",
			name->text);
		return -1;
	}
	return 0;
}

int input_check_conf(struct input *in, struct problem *problem)
{
	struct scan_member members[] = {{.key = "name"}, {.key = "cniVersion"}};
	size_t at;
	const char *why = scan_object(in->conf, in->conf_len, members, 2, &at);

	if (why) {
		problem_set(
			problem, CNI_UNDECODABLE, "the network configuration on stdin is not a JSON object");
		problem_details(problem, "byte %zu: %s", at, why);
		return -1;
	}
	if (take_name(&members[0], problem) < 0)
		return -1;
	if (members[1].kind == SCAN_OTHER)
		return problem_set(problem, CNI_UNDECODABLE,
			"key \"cniVersion\" of the network configuration is not a string");
	snprintf(in->version, sizeof(in->version), "%s",
		members[1].kind == SCAN_ABSENT || !members[1].text[0] ? "0.1.0" : members[1].text);
	return 0;
}

/* Only a plain dotted number can be older than another; anything else fails the look-up in the list. */
static bool version_is_older(const char *version, int than)
{
	int index = version_index(version);

	return index >= 0 && index < than;
}

int input_check_operation(const struct input *in, struct problem *problem)
{
	int command = command_bit(in->command);
	int since = command == CHECK          ? version_index("0.4.0")
		    : command & (GC | STATUS) ? version_index("1.1.0")
					      : 0;

	if (!command) {
		problem_set(problem, CNI_BAD_ENVIRONMENT, "unknown CNI_COMMAND: %.100s", in->command);
		return -1;
	}
	if (version_is_older(in->version, since)) {
		problem_set(problem, CNI_VERSION_UNKNOWN, "config version does not allow %s", in->command);
		problem_details(problem, "cniVersion is \"%s\"", in->version);
		return -1;
	}
	if (version_index(in->version) < 0) {
		problem_set(problem, CNI_VERSION_UNKNOWN, "incompatible CNI versions");
		problem_details(
			problem, "config is \"%.100s\", plugin supports [%s]", in->version, version_list());
		return -1;
	}
	return 0;
}

void input_read_version(struct input *in)
{
	struct scan_member member = {.key = "cniVersion"};
	size_t at;

	/* a terminal or a pipe that nobody closes must not hold up a question that needs no input */
	if (!isatty(STDIN_FILENO))
		read_stdin(in, 1000);
	if (!scan_object(in->conf, in->conf_len, &member, 1, &at) && member.kind == SCAN_STRING)
		memcpy(in->version, member.text, sizeof(in->version));
}

static bool is_own_netns(int fd)
{
	struct stat theirs, ours;

	return fstat(fd, &theirs) == 0 && stat("/proc/self/ns/net", &ours) == 0 &&
	       theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

int input_open_netns(const struct input *in, struct problem *problem)
{
	/* O_NONBLOCK: the path may be a FIFO, and opening that would wait for ever */
	int fd = open(in->netns, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct statfs fs;

	if (fd < 0) {
		problem_set(problem, errno == ENOENT ? CNI_NO_CONTAINER : CNI_BAD_ENVIRONMENT,
			"CNI_NETNS cannot be opened: %s", strerror(errno));
		problem_details(problem, "CNI_NETNS is \"%.500s\"", in->netns);
		return -1;
	}
	if (fstatfs(fd, &fs) < 0 || fs.f_type != NSFS_MAGIC ||
		ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET_TYPE) {
		problem_set(problem, CNI_BAD_ENVIRONMENT, "CNI_NETNS is not a network namespace");
	} else if (is_own_netns(fd) && !in->netns_override) {
		problem_set(problem, CNI_OWN_NETNS, "CNI_NETNS is the plugin's own network namespace");
	} else {
		return fd;
	}
	problem_details(problem, "CNI_NETNS is \"%.500s\"", in->netns);
	close(fd);
	return -1;
}
