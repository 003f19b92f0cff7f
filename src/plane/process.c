/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/process.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ERRORS_MAX (64 * 1024)

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void process_result_free(struct process_result *result)
{
	buf_free(&result->out);
	buf_free(&result->errors);
}

static int open_input(const char *input, size_t len)
{
	_cleanup_close_ int fd = -1;

	if (!input) {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return fd < 0 ? -errno : TAKE_FD(fd);
	}
	fd = memfd_create("tulle-input", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (len) {
		ssize_t n = write(fd, input, len);

		if (n < 0)
			return -errno;
		input += n;
		len -= (size_t)n;
	}
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* The child starts with default signals: the agent blocks and ignores some. */
static int spawn(const char *const *argv, int in, int out, int errors, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, errors, 2);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawnp(ret, argv[0], &actions, &attr, (char *const *)argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

/* Appends what is there; what exceeds the maximum is read and dropped. False at the end of the stream. */
static bool read_some(int fd, struct buf *buf)
{
	char chunk[16384];
	ssize_t n = read(fd, chunk, sizeof(chunk));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n > 0)
		buf_add(buf, chunk, (size_t)n);
	return n > 0;
}

static int read_all(int out, int errors, int64_t deadline, struct process_result *result)
{
	struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = errors, .events = POLLIN}};
	struct buf *bufs[2] = {&result->out, &result->errors};

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		int64_t left = deadline - now_ms();
		int n = left > 0 ? poll(fds, 2, (int)left) : 0;

		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; n > 0 && i < 2; i++)
			if (fds[i].fd >= 0 && fds[i].revents && !read_some(fds[i].fd, bufs[i]))
				fds[i].fd = -1;
	}
	return 0;
}

/* The streams may end before the process does, and somebody it started may hold them longer. */
static int reap(pid_t pid, int64_t deadline, bool kill_it, int *ret_status)
{
	int status = 0;

	for (;;) {
		pid_t done;

		if (kill_it)
			kill(pid, SIGKILL);
		done = waitpid(pid, &status, kill_it ? 0 : WNOHANG);
		if (done == pid)
			break;
		if (done < 0 && errno != EINTR)
			return -errno;
		if (done == 0 && now_ms() >= deadline)
			kill_it = true;
		else if (done == 0)
			poll(NULL, 0, 1);
	}
	*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return kill_it ? -ETIMEDOUT : 0;
}

int process_run(const char *const *argv, const char *input, size_t input_len, int timeout_ms,
	struct process_result *ret, struct err *err)
{
	struct process_result result = {.out = BUF_INIT(16u << 20), .errors = BUF_INIT(ERRORS_MAX)};
	_cleanup_close_ int in = open_input(input, input_len);
	_cleanup_close_ int out_read = -1, out_write = -1, errors_read = -1, errors_write = -1;
	int64_t deadline = now_ms() + timeout_ms;
	int pipes[2];
	int r, waited;

	if (in < 0)
		return err_set(err, in, "%s: its input: %s", argv[0], strerror(-in));
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return err_set(err, -errno, "%s: pipe: %s", argv[0], strerror(errno));
	out_read = pipes[0];
	out_write = pipes[1];
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return err_set(err, -errno, "%s: pipe: %s", argv[0], strerror(errno));
	errors_read = pipes[0];
	errors_write = pipes[1];
	r = spawn(argv, in, out_write, errors_write, &result.pid);
	if (r < 0)
		return err_set(err, r, "%s: cannot be started: %s", argv[0], strerror(-r));
	close(TAKE_FD(out_write));
	close(TAKE_FD(errors_write));
	r = read_all(out_read, errors_read, deadline, &result);
	waited = reap(result.pid, deadline, r < 0, &result.status);
	if (r == 0)
		r = waited;
	if (r < 0) {
		process_result_free(&result);
		if (r == -ETIMEDOUT)
			return err_set(err, r, "%s: did not end within %d ms and was killed", argv[0], timeout_ms);
		return err_set(err, r, "%s: %s", argv[0], strerror(-r));
	}
	*ret = result;
	return 0;
}

const char *process_complaint(const struct process_result *result, char *text, size_t size)
{
	const char *line = buf_text(&result->errors);
	int len = (int)strcspn(line, "\n");

	if (len)
		snprintf(text, size, "%.*s", len, line);
	else
		snprintf(text, size, "exit code %d", result->status);
	return text;
}
