/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_exec.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEADLINE_S 30
#define OUTPUT_MAX ((size_t)1 << 20)
#define ERRORS_MAX 4096
#define INFO "KUBERNETES_EXEC_INFO="

struct kube_exec {
	const struct kube_exec_config *config;
	kube_exec_done done;
	void *ctx;
	pid_t pid;
	int pid_fd, out_fd, errors_fd;
	struct event *ended, *out_event, *errors_event;
	struct buf out, errors;
};

/* -- its end -- */

static void exec_free(struct kube_exec *exec)
{
	struct event *events[] = {exec->ended, exec->out_event, exec->errors_event};
	int fds[] = {exec->pid_fd, exec->out_fd, exec->errors_fd};

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		if (events[i])
			event_free(events[i]);
		if (fds[i] >= 0)
			close(fds[i]);
	}
	if (exec->out.data)
		explicit_bzero(exec->out.data, exec->out.len);
	buf_free(&exec->out);
	buf_free(&exec->errors);
	free(exec);
}

/* Its process group with it: a plugin may be a script. */
static int reap(struct kube_exec *exec, bool kill_it)
{
	int status = 0;

	if (!exec->pid)
		return 0;
	if (kill_it)
		kill(-exec->pid, SIGKILL);
	while (waitpid(exec->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	exec->pid = 0;
	return status;
}

/* False at the end of the stream, or when there is nothing. */
static bool read_some(int fd, struct buf *buf)
{
	char chunk[4096];
	ssize_t n = read(fd, chunk, sizeof(chunk));

	if (n > 0)
		buf_add(buf, chunk, (size_t)n);
	return n > 0 || (n < 0 && errno == EINTR);
}

/* The first line of what it complained of. */
static void complaint(struct kube_exec *exec, char *ret, size_t size)
{
	const char *text = buf_text(&exec->errors);

	snprintf(ret, size, "%s%.*s", *text ? ": " : "", (int)strcspn(text, "\r\n"), text);
	for (char *c = ret; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

static int judge(struct kube_exec *exec, int status, bool late, struct kube_exec_answer *answer, struct err *err)
{
	const char *where = exec->config->where, *program = exec->config->argv[0];
	char words[300];

	complaint(exec, words, sizeof(words));
	if (late)
		return err_set(err, -ETIMEDOUT, "%s: %s has not ended within %d s%s", where, program, DEADLINE_S, words);
	if (WIFSIGNALED(status))
		return err_set(err, -EIO, "%s: %s was ended by signal %d%s", where, program, WTERMSIG(status), words);
	if (WEXITSTATUS(status))
		return err_set(err, -EIO, "%s: %s ended with code %d%s", where, program, WEXITSTATUS(status), words);
	if (exec->out.error)
		return err_set(err, -EMSGSIZE, "%s: %s printed more than %zu bytes", where, program, OUTPUT_MAX);
	return kube_exec_parse(exec->config, buf_text(&exec->out), exec->out.len, answer, err);
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct kube_exec_answer answer = {0};
	struct kube_exec *exec = arg;
	kube_exec_done done = exec->done;
	struct err err = ERR_INIT;
	void *ctx = exec->ctx;
	int status, rc;

	status = reap(exec, what & EV_TIMEOUT);
	/* Somebody it left behind may hold the pipes open: only what is there now counts. */
	while (read_some(exec->out_fd, &exec->out))
		continue;
	while (read_some(exec->errors_fd, &exec->errors))
		continue;
	rc = judge(exec, status, what & EV_TIMEOUT, &answer, &err);
	exec_free(exec);
	done(ctx, rc < 0 ? NULL : &answer, &err);
	kube_exec_answer_free(&answer);
}

static void on_out(evutil_socket_t fd, short what, void *arg)
{
	struct kube_exec *exec = arg;

	if (!read_some(fd, &exec->out))
		event_del(exec->out_event);
}

static void on_errors(evutil_socket_t fd, short what, void *arg)
{
	struct kube_exec *exec = arg;

	if (!read_some(fd, &exec->errors))
		event_del(exec->errors_event);
}

/* -- its beginning -- */

static char *exec_info(const struct kube_exec_config *config)
{
	json_t *info = json_pack("{s:s, s:s, s:{s:b}}", "kind", "ExecCredential", "apiVersion", config->api_version, "spec",
		"interactive", 0);
	_cleanup_free_ char *text = NULL;
	char *variable = NULL;

	if (config->cluster)
		json_object_set(json_object_get(info, "spec"), "cluster", config->cluster);
	text = json_dumps(info, JSON_COMPACT);
	json_decref(info);
	if (!text || asprintf(&variable, INFO "%s", text) < 0)
		return NULL;
	return variable;
}

static bool is_set_in(char *const *env, const char *variable)
{
	size_t len = strcspn(variable, "=");

	for (; env && *env; env++)
		if (strncmp(*env, variable, len + 1) == 0)
			return true;
	return false;
}

/* Ours, without what the kubeconfig sets. The words are borrowed. */
static char **environment(const struct kube_exec_config *config, char *info)
{
	size_t count = 0, n = 0;
	char **env;

	while (environ[count])
		count++;
	for (char **one = config->env; one && *one; one++)
		count++;
	env = calloc(count + 2, sizeof(*env));
	if (!env)
		return NULL;
	for (char **one = environ; *one; one++)
		if (!is_set_in(config->env, *one) && strncmp(*one, INFO, sizeof(INFO) - 1) != 0)
			env[n++] = *one;
	for (char **one = config->env; one && *one; one++)
		env[n++] = *one;
	env[n] = info;
	return env;
}

static int spawn(struct kube_exec *exec, int in, int out, int errors, char **env)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, errors, 2);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	rc = posix_spawnp(&exec->pid, exec->config->argv[0], &actions, &attr, exec->config->argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (rc)
		exec->pid = 0;
	return -rc;
}

static int start(struct kube_exec *exec, struct err *err)
{
	const struct kube_exec_config *config = exec->config;
	_cleanup_close_ int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int out[2] = {-1, -1}, errors[2] = {-1, -1}, rc = 0;
	_cleanup_free_ char *info = exec_info(config);
	_cleanup_free_ char **env = environment(config, info);

	if (!info || !env)
		return err_set(err, -ENOMEM, "%s: no memory", config->where);
	if (in < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0)
		rc = err_set(err, -errno, "%s: no pipes for %s: %s", config->where, config->argv[0], strerror(errno));
	exec->out_fd = out[0];
	exec->errors_fd = errors[0];
	if (rc == 0) {
		/* Only our ends: a plugin may expect ordinary ones. */
		fcntl(out[0], F_SETFL, O_NONBLOCK);
		fcntl(errors[0], F_SETFL, O_NONBLOCK);
		rc = spawn(exec, in, out[1], errors[1], env);
		if (rc < 0)
			err_set(err, rc, "%s: %s cannot be run: %s%s%.200s", config->where, config->argv[0], strerror(-rc),
				config->hint ? "; " : "", config->hint ? config->hint : "");
	}
	if (out[1] >= 0)
		close(out[1]);
	if (errors[1] >= 0)
		close(errors[1]);
	return rc;
}

static int listen_to(struct kube_exec *exec, struct event_base *base, struct err *err)
{
	const struct timeval deadline = {.tv_sec = DEADLINE_S};

	exec->pid_fd = (int)syscall(SYS_pidfd_open, exec->pid, 0);
	if (exec->pid_fd < 0)
		return err_set(err, -errno, "%s: %s cannot be followed: %s", exec->config->where, exec->config->argv[0],
			strerror(errno));
	fcntl(exec->pid_fd, F_SETFD, FD_CLOEXEC);
	exec->ended = event_new(base, exec->pid_fd, EV_READ, on_ended, exec);
	exec->out_event = event_new(base, exec->out_fd, EV_READ | EV_PERSIST, on_out, exec);
	exec->errors_event = event_new(base, exec->errors_fd, EV_READ | EV_PERSIST, on_errors, exec);
	if (!exec->ended || !exec->out_event || !exec->errors_event || event_add(exec->ended, &deadline) < 0 ||
		event_add(exec->out_event, NULL) < 0 || event_add(exec->errors_event, NULL) < 0)
		return err_set(err, -ENOMEM, "%s: no memory", exec->config->where);
	return 0;
}

int kube_exec_new(const struct kube_exec_config *config, struct event_base *base, kube_exec_done done, void *ctx,
	struct kube_exec **ret, struct err *err)
{
	struct kube_exec *exec = calloc(1, sizeof(*exec));
	int rc;

	if (!exec)
		return err_set(err, -ENOMEM, "%s: no memory", config->where);
	exec->config = config;
	exec->done = done;
	exec->ctx = ctx;
	exec->pid_fd = exec->out_fd = exec->errors_fd = -1;
	exec->out = BUF_INIT(OUTPUT_MAX);
	exec->errors = BUF_INIT(ERRORS_MAX);
	rc = start(exec, err);
	if (rc == 0)
		rc = listen_to(exec, base, err);
	if (rc < 0) {
		kube_exec_cancel(exec);
		return rc;
	}
	*ret = exec;
	return 0;
}

void kube_exec_cancel(struct kube_exec *exec)
{
	if (!exec)
		return;
	reap(exec, true);
	exec_free(exec);
}
