/* SPDX-License-Identifier: Apache-2.0
 *
 * tulle: the CNI plugin. It checks what the runtime says, hands it to the agent together with the opened network
 * namespace, and prints the agent's answer. Without the agent it answers what it can (docs/cni.md, "Alone").
 */
#include "base/frame.h"
#include "cni/answer.h"
#include "cni/door.h"
#include "cni/input.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TULLE_SOCKET
#define TULLE_SOCKET "/run/tulle/cni.sock"
#endif
#ifndef TULLE_SPOOL
#define TULLE_SPOOL "/var/lib/tulle/spool"
#endif
#ifndef TULLE_VERSION
#define TULLE_VERSION "unknown"
#endif

#define STDIN_TIMEOUT_MS 30000

static const char *setting(const char *name, const char *fallback)
{
	const char *value = getenv(name);

	return value && value[0] ? value : fallback;
}

static int about(void)
{
	char out[512];
	int n = snprintf(out, sizeof(out), FRAME_PLUGIN_ABOUT "%s: pods of this node are attached by the agent tulled\n"
		"CNI protocol versions supported: %s\n", TULLE_VERSION, version_list());

	write_all(STDERR_FILENO, out, (size_t)n);
	return 0;
}

static int timeout_ms(const char *command)
{
	if (strcmp(command, "STATUS") == 0)
		return 2000;
	return strcmp(command, "DEL") == 0 ? 60000 : 90000;
}

/* A DEL must not fail because the agent is away: it is written down for it. */
static int delete_later(const struct input *in, const char *why)
{
	const char *dir = setting("TULLE_SPOOL", TULLE_SPOOL);
	struct problem problem;
	int rc = door_spool(dir, in);

	if (rc == 0)
		return 0;
	problem_set(&problem, CNI_TRY_LATER, "the agent is away, and DEL cannot be written down for it");
	problem_details(&problem, "%s; %s: %s", why, dir, strerror(-rc));
	return answer_problem(&problem, in->version);
}

static int without_agent(const struct input *in, enum door_result result, const char *why)
{
	struct problem problem;

	if (strcmp(in->command, "DEL") == 0)
		return delete_later(in, why);
	problem_set(&problem, strcmp(in->command, "STATUS") == 0 ? CNI_NOT_READY : CNI_TRY_LATER,
		result == DOOR_SILENT ? "the agent tulled does not answer in time" :
					"the agent tulled is not running on this node");
	problem_details(&problem, "%s", why);
	return answer_problem(&problem, in->version);
}

static int relay(const struct input *in, int netns_fd)
{
	char why[512];
	struct door_answer answer;
	enum door_result result = door_ask(setting("TULLE_SOCKET", TULLE_SOCKET), in, netns_fd,
		timeout_ms(in->command), &answer, why, sizeof(why));

	if (result != DOOR_ANSWERED)
		return without_agent(in, result, why);
	/* a closed stdout means that the runtime has gone: it will send DEL */
	if (write_all(STDOUT_FILENO, answer.text, answer.len) < 0)
		return 1;
	return answer.exit_code;
}

static int serve(struct input *in, struct problem *problem)
{
	int netns_fd = -1;

	if (input_check_environment(in, problem) < 0 || input_read_stdin(in, STDIN_TIMEOUT_MS, problem) < 0 ||
		input_check_conf(in, problem) < 0 || input_check_operation(in, problem) < 0)
		return answer_problem(problem, in->version);
	if (in->netns[0] && strcmp(in->command, "GC") != 0 && strcmp(in->command, "STATUS") != 0) {
		netns_fd = input_open_netns(in, problem);
		/* at DEL the namespace may be gone, or be something else by now */
		if (netns_fd < 0 && strcmp(in->command, "DEL") != 0)
			return answer_problem(problem, in->version);
	}
	return relay(in, netns_fd);
}

int main(int argc, char **argv)
{
	struct input in;
	struct problem problem;

	signal(SIGPIPE, SIG_IGN);
	input_from_environment(&in, argc > 0 ? argv[0] : NULL);
	if (!in.command[0])
		return about();
	if (strcmp(in.command, "VERSION") == 0) {
		input_read_version(&in);
		return answer_version(in.version);
	}
	return serve(&in, &problem);
}
