/* SPDX-License-Identifier: Apache-2.0 */
#include "client/curl_loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <utlist.h>

/* libcurl 7.88.1 may keep the end of an HTTP/2 answer that came with its last bytes to itself until the socket is looked
 * at again, which nothing would cause before a timer of its own 200 ms later. */
#define LOOK_AGAIN_MS 1

struct watched {
	struct watched *prev, *next;
	struct curl_loop *loop;
	curl_socket_t fd;
	struct event *event;
	struct event *again;
};

struct curl_loop {
	struct event_base *base;
	CURLM *multi;
	struct event *timer;
	struct watched *sockets;
};

static void drain(struct curl_loop *loop)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(loop->multi, &left))) {
		struct curl_transfer *transfer = NULL;
		CURLcode code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		curl_multi_remove_handle(loop->multi, transfer->easy);
		transfer->finished(transfer, code);
	}
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	int bits = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
	const struct timeval soon = {.tv_usec = LOOK_AGAIN_MS * 1000};
	struct watched *watched = arg;
	struct curl_loop *loop = watched->loop;
	int running;

	if (what & EV_READ)
		event_add(watched->again, &soon);
	/* watched may be gone behind this. */
	curl_multi_socket_action(loop->multi, fd, bits, &running);
	drain(loop);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct watched *watched = arg;
	struct curl_loop *loop = watched->loop;
	int running;

	curl_multi_socket_action(loop->multi, watched->fd, CURL_CSELECT_IN, &running);
	drain(loop);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct curl_loop *loop = arg;
	int running;

	curl_multi_socket_action(loop->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	drain(loop);
}

static void forget(struct curl_loop *loop, struct watched *watched)
{
	DL_DELETE(loop->sockets, watched);
	if (watched->event)
		event_free(watched->event);
	if (watched->again)
		event_free(watched->again);
	free(watched);
}

static struct watched *watched_new(struct curl_loop *loop, curl_socket_t fd)
{
	struct watched *watched = calloc(1, sizeof(*watched));

	if (!watched)
		return NULL;
	watched->loop = loop;
	watched->fd = fd;
	watched->again = event_new(loop->base, -1, 0, on_again, watched);
	if (!watched->again) {
		free(watched);
		return NULL;
	}
	DL_APPEND(loop->sockets, watched);
	curl_multi_assign(loop->multi, fd, watched);
	return watched;
}

static int take_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known)
{
	short events = (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);
	struct watched *watched = known;
	struct curl_loop *loop = ctx;

	if (what == CURL_POLL_REMOVE) {
		if (watched)
			forget(loop, watched);
		curl_multi_assign(loop->multi, fd, NULL);
		return 0;
	}
	if (!watched)
		watched = watched_new(loop, fd);
	if (!watched)
		return -1;
	if (watched->event)
		event_free(watched->event);
	watched->event = event_new(loop->base, fd, events | EV_PERSIST, on_socket, watched);
	return watched->event && event_add(watched->event, NULL) == 0 ? 0 : -1;
}

static int take_timer(CURLM *multi, long ms, void *ctx)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	struct curl_loop *loop = ctx;

	if (ms < 0)
		event_del(loop->timer);
	else
		event_add(loop->timer, &tv);
	return 0;
}

int curl_loop_new(struct event_base *base, struct curl_loop **ret, struct err *err)
{
	struct curl_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return err_set(err, -ENOMEM, "HTTP: no memory");
	loop->base = base;
	loop->timer = event_new(base, -1, 0, on_timer, loop);
	loop->multi = curl_multi_init();
	if (!loop->timer || !loop->multi) {
		curl_loop_free(loop);
		return err_set(err, -ENOMEM, "HTTP: no memory");
	}
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, take_socket);
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, take_timer);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
	curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS, 4L);
	*ret = loop;
	return 0;
}

int curl_loop_add(struct curl_loop *loop, struct curl_transfer *transfer, struct err *err)
{
	CURLMcode code;

	curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer);
	code = curl_multi_add_handle(loop->multi, transfer->easy);
	return code == CURLM_OK ? 0 : err_set(err, -EIO, "HTTP: %s", curl_multi_strerror(code));
}

void curl_loop_remove(struct curl_loop *loop, struct curl_transfer *transfer)
{
	curl_multi_remove_handle(loop->multi, transfer->easy);
}

void curl_loop_free(struct curl_loop *loop)
{
	struct watched *watched, *next;

	if (!loop)
		return;
	if (loop->multi)
		curl_multi_cleanup(loop->multi);
	DL_FOREACH_SAFE(loop->sockets, watched, next)
		forget(loop, watched);
	if (loop->timer)
		event_free(loop->timer);
	free(loop);
}
