/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_server.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "cni_server/cni_connection.h"
#include "cni_server/cni_operation.h"
#include "cni_server/cni_spool.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#define CONNECTIONS_MAX 512u
#define BACKLOG 1024
#define ACCEPTS_A_TURN 16

enum { STAT_OTHER = 6, STAT_SPOOL = 7 };
_Static_assert((int)CNI_COMMAND_COUNT == (int)STAT_OTHER, "struct cni_server_stats counts by command");

struct cni_server {
	struct cni_server_options options;
	struct event_base *base;
	struct attacher *attacher;
	struct cni_spool *spool;
	int fd;
	dev_t dev; /* of the socket's file, so that only our own is removed */
	ino_t ino;
	struct event *accepting, *pause, *waiting;
	struct cni_connection *connections[CONNECTIONS_MAX];
	size_t connection_count;
	struct log_limit failures, intruders;
	struct cni_server_stats stats;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* -- requests -- */

static void count(struct cni_server *server, enum cni_command command, uint64_t started)
{
	server->stats.requests[command]++;
	if (command == CNI_ADD)
		server->stats.add_ns_total += now_ns() - started;
	if (command == CNI_DEL)
		server->stats.del_ns_total += now_ns() - started;
}

static void log_failure(
	struct cni_server *server, const struct cni_request *request, const struct cni_error *error)
{
	server->stats.errors++;
	if (log_limit_ok(&server->failures))
		log_warning("CNI %s of %.64s %s failed with code %d: %s%s%s",
			cni_command_name(request->command),
			request->text[FRAME_CONTAINER_ID] ? request->text[FRAME_CONTAINER_ID] : "",
			request->text[FRAME_IFNAME] ? request->text[FRAME_IFNAME] : "", (int)error->code,
			error->msg, error->details[0] ? ": " : "", error->details);
}

static void forget(struct cni_request *request)
{
	if (request)
		cni_request_free(request);
	free(request);
}

static int wait_for_more(struct cni_server *server, struct cni_request *request)
{
	const struct timeval again = {.tv_sec = 1};

	forget(request);
	if (!evtimer_pending(server->waiting, NULL))
		evtimer_add(server->waiting, &again);
	return CNI_CONNECTION_LATER;
}

static int handle(void *ctx, const struct frame_request *head, const char *fields, int netns_fd, int64_t waited_ms,
	struct buf *out, void **ret_job)
{
	struct cni_server *server = ctx;
	struct cni_request *request = calloc(1, sizeof(*request));
	struct cni_error error = {0};
	uint64_t started = now_ns();
	int rc;

	if (!request)
		return 1;
	rc = cni_request_parse(head, fields, netns_fd, request, &error);
	if (rc == 0)
		rc = cni_operation_run(server->attacher, &server->options, request, waited_ms, out, &error);
	if (rc == CNI_OPERATION_LATER)
		return wait_for_more(server, request);
	count(server, request->command, started);
	log_debug(1, "CNI %s of %.64s: %s", cni_command_name(request->command),
		request->text[FRAME_CONTAINER_ID] ? request->text[FRAME_CONTAINER_ID] : "",
		rc == 0 ? "done" : error.msg);
	if (rc < 0) {
		log_failure(server, request, &error);
		cni_error_format(&error, cni_version_name(request->version), out);
	}
	if (rc == 0 && request->command == CNI_ADD) {
		*ret_job = request;
		return 0;
	}
	forget(request);
	return rc == 0 ? 0 : 1;
}

static void refuse(void *ctx, const char *why, struct buf *out)
{
	struct cni_server *server = ctx;
	struct cni_error error = {0};

	server->stats.requests[STAT_OTHER]++;
	server->stats.errors++;
	cni_error_set(&error, CNI_UNDECODABLE, "the agent does not understand the plugin: %s", why);
	if (log_limit_ok(&server->failures))
		log_warning("CNI socket: %s", error.msg);
	cni_error_format(&error, cni_version_name(CNI_1_1_0), out);
}

static bool handle_spooled(void *ctx, const struct frame_request *head, const char *fields)
{
	struct cni_server *server = ctx;
	struct cni_request request;
	struct cni_error error = {0};
	struct buf out = BUF_INIT(0);
	bool done = true;
	int rc = cni_request_parse(head, fields, -1, &request, &error);

	server->stats.requests[STAT_SPOOL]++;
	if (rc == 0 && request.command != CNI_DEL)
		rc = cni_error_set(&error, CNI_BAD_ENVIRONMENT, "a spooled request must be a DEL");
	else if (rc == 0) {
		rc = cni_operation_run(server->attacher, &server->options, &request, 0, &out, &error);
		done = rc == 0;
	}
	if (rc < 0)
		log_failure(server, &request, &error);
	cni_request_free(&request);
	buf_free(&out);
	return done;
}

static void report_bad(void *ctx, const char *name, const char *why)
{
	struct cni_server *server = ctx;

	server->stats.errors++;
	if (log_limit_ok(&server->failures))
		log_warning(
			"%s/%s: removed, it is no spooled request: %s", server->options.spool_dir, name, why);
}

/* -- connections -- */

static void resume(struct cni_server *server)
{
	event_del(server->pause);
	event_add(server->accepting, NULL);
}

static void on_pause_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	resume(arg);
}

/* Callers wait in the socket's queue meanwhile. */
static void pause_accepting(struct cni_server *server)
{
	const struct timeval limit = {.tv_sec = 1};

	event_del(server->accepting);
	evtimer_add(server->pause, &limit);
}

static void connection_done(void *ctx, struct cni_connection *connection, void *job, bool delivered)
{
	struct cni_server *server = ctx;
	struct cni_request *request = job;

	for (size_t i = 0; i < server->connection_count; i++)
		if (server->connections[i] == connection)
			server->connections[i] = server->connections[--server->connection_count];
	if (request && !delivered)
		cni_operation_undo(server->attacher, request);
	forget(request);
	if (server->fd >= 0)
		resume(server);
}

void cni_server_kick(struct cni_server *server)
{
	/* from the end: one that ends leaves its place to the last one, which has had its turn */
	for (size_t i = server->connection_count; i-- > 0;)
		cni_connection_resume(server->connections[i]);
}

static void on_waiting(evutil_socket_t fd, short what, void *arg)
{
	struct cni_server *server = arg;

	(void)fd;
	(void)what;
	cni_server_kick(server);
}

static bool is_root(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == 0;
}

static void adopt(struct cni_server *server, int fd)
{
	const struct cni_connection_options options = {
		.handle = handle, .refuse = refuse, .done = connection_done, .ctx = server};
	struct cni_connection *connection;

	if (!is_root(fd)) {
		close(fd);
		if (log_limit_ok(&server->intruders))
			log_warning("CNI socket: a process that is not root was turned away");
		return;
	}
	connection = cni_connection_new(server->base, fd, &options);
	if (connection)
		server->connections[server->connection_count++] = connection;
}

static void on_accept(evutil_socket_t listening, short what, void *arg)
{
	struct cni_server *server = arg;

	(void)what;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd;

		if (server->connection_count == CONNECTIONS_MAX) {
			pause_accepting(server);
			return;
		}
		fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			/* out of descriptors: the event would fire for ever */
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
				pause_accepting(server);
			return;
		}
		adopt(server, fd);
	}
}

/* -- life -- */

static int socket_address(const char *path, struct sockaddr_un *ret, struct err *err)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(ret->sun_path))
		return err_set(err, -ENAMETOOLONG, "CNI socket %s: longer than %zu bytes", path,
			sizeof(ret->sun_path) - 1);
	strcpy(ret->sun_path, path);
	return 0;
}

/* The file of an agent that was killed goes; one that answers stays. */
static int remove_stale(const struct sockaddr_un *address, struct err *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 &&
		(connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN))
		return err_set(
			err, -EADDRINUSE, "CNI socket %s: another agent answers there", address->sun_path);
	unlink(address->sun_path);
	return 0;
}

static int make_socket_dir(const char *path, struct err *err)
{
	_cleanup_free_ char *dir = strdup(path);
	char *slash = dir ? strrchr(dir, '/') : NULL;

	if (!slash || slash == dir)
		return 0;
	*slash = 0;
	return file_make_dirs(dir, 0755, err);
}

static int listen_on(struct cni_server *server, const char *path, struct err *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;
	struct stat st;
	mode_t mask;
	int rc;

	if (socket_address(path, &address, err) < 0 || make_socket_dir(path, err) < 0 ||
		remove_stale(&address, err) < 0)
		return err ? err->code : -EINVAL;
	mask = umask(0177);
	rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (rc < 0 || listen(fd, BACKLOG) < 0 || stat(path, &st) < 0)
		return err_set(err, -errno, "CNI socket %s: %s", path, strerror(errno));
	server->dev = st.st_dev;
	server->ino = st.st_ino;
	server->fd = TAKE_FD(fd);
	return 0;
}

/* The spool first: whoever is answered by us finds what was spooled before done. */
static int start(struct cni_server *server, struct err *err)
{
	const struct cni_spool_options spool = {
		.dir = server->options.spool_dir, .handle = handle_spooled, .bad = report_bad, .ctx = server};
	int rc = cni_spool_open(server->base, &spool, &server->spool, err);

	if (rc == 0)
		rc = listen_on(server, server->options.socket_path, err);
	if (rc < 0)
		return rc;
	server->accepting = event_new(server->base, server->fd, EV_READ | EV_PERSIST, on_accept, server);
	server->pause = evtimer_new(server->base, on_pause_end, server);
	server->waiting = evtimer_new(server->base, on_waiting, server);
	if (!server->accepting || !server->pause || !server->waiting || event_add(server->accepting, NULL) < 0)
		return err_set(err, -ENOMEM, "CNI server: out of memory");
	return 0;
}

static int copy_paths(struct cni_server *server)
{
	server->options.socket_path = strdup(server->options.socket_path);
	server->options.spool_dir = strdup(server->options.spool_dir);
	return server->options.socket_path && server->options.spool_dir ? 0 : -ENOMEM;
}

int cni_server_new(struct event_base *base, const struct cni_server_options *options,
	struct attacher *attacher, struct cni_server **ret, struct err *err)
{
	struct cni_server *server = calloc(1, sizeof(*server));
	struct err local = ERR_INIT;
	int rc;

	if (!server)
		return err_set(err, -ENOMEM, "CNI server: out of memory");
	*server = (struct cni_server){
		.options = *options, .base = base, .attacher = attacher, .fd = -1,
		.failures = LOG_LIMIT(20, 10000), .intruders = LOG_LIMIT(1, 60000)};
	rc = copy_paths(server);
	if (rc == 0)
		rc = start(server, &local);
	if (rc < 0) {
		cni_server_free(server);
		return err_set(err, rc, "%s", err_text(&local));
	}
	*ret = server;
	return 0;
}

static void remove_socket(const struct cni_server *server)
{
	struct stat st;

	if (stat(server->options.socket_path, &st) == 0 && st.st_dev == server->dev &&
		st.st_ino == server->ino)
		unlink(server->options.socket_path);
}

void cni_server_free(struct cni_server *server)
{
	if (!server)
		return;
	if (server->fd >= 0)
		remove_socket(server);
	if (server->accepting)
		event_free(server->accepting);
	if (server->pause)
		event_free(server->pause);
	if (server->waiting)
		event_free(server->waiting);
	cleanup_close(&server->fd);
	server->fd = -1;
	while (server->connection_count)
		cni_connection_end(server->connections[0]);
	cni_spool_close(server->spool);
	free((char *)server->options.socket_path);
	free((char *)server->options.spool_dir);
	free(server);
}

void cni_server_get_stats(const struct cni_server *server, struct cni_server_stats *ret)
{
	*ret = server->stats;
}
