/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_spool.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>

#define RECORD_MAX (sizeof(struct frame_request) + FRAME_STDIN_MAX + FRAME_FIELDS * FRAME_VARIABLE_MAX)
#define STALE_S 60   /* an unfinished file as old as this has lost its writer */
#define RETRY_S 10

struct cni_spool {
	struct cni_spool_options options;
	int dir, watch;
	struct event *watch_event, *retry;
};

/* Null, or why data is no record. */
static const char *check_record(const struct buf *data, struct frame_request *ret_head)
{
	const char *why;

	if (data->len < sizeof(*ret_head))
		return "cut off";
	memcpy(ret_head, data->data, sizeof(*ret_head));
	why = frame_request_check(ret_head);
	if (why)
		return why;
	return data->len == sizeof(*ret_head) + ret_head->total ? NULL : "of another length than it says";
}

static bool is_regular(const struct cni_spool *spool, const char *name, struct stat *ret)
{
	return fstatat(spool->dir, name, ret, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(ret->st_mode);
}

/* False: the record has to stay. */
static bool drain_file(struct cni_spool *spool, const char *name)
{
	_cleanup_(buf_free) struct buf data = BUF_INIT(RECORD_MAX);
	struct frame_request head;
	struct err err = ERR_INIT;
	const char *why;
	struct stat st;

	if (!is_regular(spool, name, &st))
		return true;
	if (name[0] == '.') {
		if (time(NULL) - st.st_mtime > STALE_S)
			unlinkat(spool->dir, name, 0);
		return true;
	}
	if (file_read_at(spool->dir, name, &data, &err) < 0 && err.code != -EMSGSIZE)
		return err.code == -ENOENT;
	why = data.error ? "too large" : check_record(&data, &head);
	if (!why && !spool->options.handle(spool->options.ctx, &head, data.data + sizeof(head)))
		return false;
	unlinkat(spool->dir, name, 0);
	if (why)
		spool->options.bad(spool->options.ctx, name, why);
	return true;
}

static void drain(struct cni_spool *spool)
{
	const struct timeval later = {.tv_sec = RETRY_S};
	struct dirent **names = NULL;
	bool all = true;
	int count = scandirat(spool->dir, ".", &names, NULL, alphasort);

	for (int i = 0; i < count; i++) {
		all = drain_file(spool, names[i]->d_name) && all;
		free(names[i]);
	}
	free(names);
	if (!all || count < 0)
		evtimer_add(spool->retry, &later);
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
	char events[4096];

	(void)what;
	/* what has changed does not matter, the directory is small: read it anew */
	while (read(fd, events, sizeof(events)) > 0)
		;
	drain(arg);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drain(arg);
}

static int open_dir(struct cni_spool *spool, struct err *err)
{
	const char *dir = spool->options.dir;

	if (file_make_dirs(dir, 0700, err) < 0)
		return err->code;
	spool->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	spool->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (spool->dir < 0 || spool->watch < 0 || inotify_add_watch(spool->watch, dir, IN_MOVED_TO) < 0)
		return err_set(err, -errno, "spool directory %s: %s", dir, strerror(errno));
	return 0;
}

int cni_spool_open(struct event_base *base, const struct cni_spool_options *options, struct cni_spool **ret,
	struct err *err)
{
	struct cni_spool *spool = calloc(1, sizeof(*spool));
	struct err local = ERR_INIT;

	if (!spool)
		return err_set(err, -ENOMEM, "spool: out of memory");
	*spool = (struct cni_spool){.options = *options, .dir = -1, .watch = -1};
	if (open_dir(spool, &local) < 0) {
		cni_spool_close(spool);
		return err_set(err, local.code, "%s", err_text(&local));
	}
	spool->watch_event = event_new(base, spool->watch, EV_READ | EV_PERSIST, on_watch, spool);
	spool->retry = evtimer_new(base, on_retry, spool);
	if (!spool->watch_event || !spool->retry || event_add(spool->watch_event, NULL) < 0) {
		cni_spool_close(spool);
		return err_set(err, -ENOMEM, "spool: out of memory");
	}
	drain(spool);
	*ret = spool;
	return 0;
}

void cni_spool_close(struct cni_spool *spool)
{
	if (!spool)
		return;
	if (spool->watch_event)
		event_free(spool->watch_event);
	if (spool->retry)
		event_free(spool->retry);
	cleanup_close(&spool->dir);
	cleanup_close(&spool->watch);
	free(spool);
}
