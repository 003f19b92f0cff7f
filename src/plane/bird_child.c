/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/bird_child.h"

#include "base/cleanup.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX 4096

struct bird_child {
	struct bird_child_options options;
	pid_t pid;
	int pidfd, output;
	struct event *event;
};

void bird_child_free(struct bird_child **child, bool kill_it)
{
	struct bird_child *c = *child;

	if (!c)
		return;
	*child = NULL;
	if (kill_it && c->pid > 0) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
	}
	if (c->event)
		event_free(c->event);
	if (c->pidfd >= 0)
		close(c->pidfd);
	if (c->output >= 0)
		close(c->output);
	free(c);
}

static int open_output(const char *log)
{
	return log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : memfd_create("tulle-bird", MFD_CLOEXEC);
}

/* Default signals: the agent blocks and ignores some. */
static int spawn(struct bird_child *child)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, child->output, 1);
	posix_spawn_file_actions_adddup2(&actions, child->output, 2);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	if (child->options.own_session)
		flags |= POSIX_SPAWN_SETSID;
	posix_spawnattr_setflags(&attr, flags);
	r = posix_spawnp(&child->pid, child->options.argv[0], &actions, &attr, (char *const *)child->options.argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		child->pid = 0;
	return -r;
}

static void on_event(evutil_socket_t fd, short what, void *ctx)
{
	struct bird_child *child = ctx;
	struct bird_child_options options = child->options;
	char output[OUTPUT_MAX] = "";
	int status = 0;
	ssize_t n;

	if (what == EV_TIMEOUT)
		kill(child->pid, SIGKILL);
	if (waitpid(child->pid, &status, 0) != child->pid)
		status = -1;
	else
		status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (!options.log) {
		n = pread(child->output, output, sizeof(output) - 1, 0);
		output[n > 0 ? n : 0] = 0;
	}
	child->pid = 0;
	bird_child_free(&child, false);
	options.done(options.ctx, status, output);
}

int bird_child_new(struct event_base *base, const struct bird_child_options *options, struct bird_child **ret)
{
	struct bird_child *child = calloc(1, sizeof(*child));
	struct timeval timeout = {options->timeout_ms / 1000, (options->timeout_ms % 1000) * 1000};
	int r;

	if (!child)
		return -ENOMEM;
	child->options = *options;
	child->pidfd = -1;
	child->output = open_output(options->log);
	r = child->output < 0 ? -errno : spawn(child);
	if (r == 0) {
		child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
		r = child->pidfd < 0 ? -errno : 0;
	}
	if (r == 0) {
		child->event = event_new(base, child->pidfd, EV_READ, on_event, child);
		if (!child->event || event_add(child->event, options->timeout_ms ? &timeout : NULL) < 0)
			r = -ENOMEM;
	}
	if (r < 0) {
		bird_child_free(&child, true);
		return r;
	}
	*ret = child;
	return 0;
}
