/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_private.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define KUBECONFIG_MAX ((size_t)4 << 20)
/* More wait. Servers allow 100 streams on a connection of HTTP/2, and libcurl would open one for each that exceeds it. */
#define RUNNING_MAX 32

/* -- links -- */

static struct kube_link *link_get(struct kube *kube, struct err *err)
{
	struct kube_link *one;

	if (kube->links && !kube->fresh)
		return kube->links;
	one = calloc(1, sizeof(*one));
	if (!one) {
		err_set(err, -ENOMEM, "Kubernetes: no memory");
		return NULL;
	}
	if (curl_loop_new(kube->base, &one->loop, err) < 0) {
		free(one);
		return NULL;
	}
	kube->fresh = false;
	DL_PREPEND(kube->links, one);
	return one;
}

static void link_free(struct kube *kube, struct kube_link *one)
{
	DL_DELETE(kube->links, one);
	curl_loop_free(one->loop);
	free(one);
}

void kube_link_put(struct kube_call *call)
{
	if (!call->link)
		return;
	call->link->calls--;
	call->link = NULL;
	if (call->timeout_ms)
		call->kube->running--;
}

static void drop_old_links(struct kube *kube)
{
	struct kube_link *one, *next;

	DL_FOREACH_SAFE(kube->links, one, next)
		if (!one->calls && (one != kube->links || kube->fresh))
			link_free(kube, one);
}

/* -- work, from the loop -- */

static void bury_dead(struct kube *kube)
{
	while (kube->dead) {
		struct kube_call *call = kube->dead;

		DL_DELETE(kube->dead, call);
		if (call->link)
			curl_loop_remove(call->link->loop, &call->transfer);
		kube_link_put(call);
		kube_call_free(call);
	}
}

static void fail(struct kube_call *call, const struct err *err)
{
	call->broken = *err;
	kube_call_finish(call, CURLE_OK);
}

static void start(struct kube_call *call)
{
	struct kube *kube = call->kube;
	struct kube_identity identity;
	struct kube_link *one = NULL;
	struct err err = ERR_INIT;
	int rc;

	call->server = kube->server;
	rc = kube_auth_get(kube->auth, call->waited, &identity, &err);
	if (rc == -EINPROGRESS) {
		call->state = KUBE_CALL_WAITING;
		return;
	}
	if (rc == 0)
		rc = kube_call_prepare(call, &identity, &err);
	if (rc == 0)
		one = link_get(kube, &err);
	if (one && curl_loop_add(one->loop, &call->transfer, &err) == 0) {
		call->link = one;
		one->calls++;
		if (call->timeout_ms)
			kube->running++;
		call->state = KUBE_CALL_RUNNING;
		return;
	}
	fail(call, &err);
}

/* done() of one that fails at once may add and cancel others; those added have their turn later. */
static void start_all(struct kube *kube)
{
	struct kube_call *call;
	unsigned turn = ++kube->turn;

	do {
		DL_FOREACH(kube->calls, call)
			if (call->state == KUBE_CALL_QUEUED && call->turn != turn &&
				(!call->timeout_ms || kube->running < RUNNING_MAX))
				break;
		if (call) {
			call->turn = turn;
			start(call);
		}
	} while (call);
}

static void on_work(evutil_socket_t fd, short what, void *arg)
{
	struct kube *kube = arg;

	bury_dead(kube);
	start_all(kube);
	bury_dead(kube);
	drop_old_links(kube);
}

static void on_credentials(void *ctx)
{
	struct kube *kube = ctx;
	struct kube_call *call;

	DL_FOREACH(kube->calls, call)
		if (call->state == KUBE_CALL_WAITING) {
			call->state = KUBE_CALL_QUEUED;
			call->waited = true;
		}
	start_all(kube);
}

/* -- servers -- */

void kube_server_failed(struct kube *kube, unsigned server)
{
	if (server == kube->server)
		kube->server = (kube->server + 1) % kube->config.server_count;
}

const char *kube_server(const struct kube *kube)
{
	return kube->config.servers[kube->server].url;
}

static int read_kubeconfig(struct kube *kube, const struct kube_options *options, struct err *err)
{
	struct buf text = BUF_INIT(KUBECONFIG_MAX);
	int rc = file_read(options->kubeconfig, &text, err);

	if (rc < 0)
		err_wrap(err, "kubeconfig");
	else
		rc = kube_config_parse(&kube->config, buf_text(&text), text.len, options->kubeconfig, options->api_url, err);
	if (text.data)
		explicit_bzero(text.data, text.len);
	buf_free(&text);
	return rc < 0 ? rc : kube_config_read(&kube->config, err);
}

static int configure(struct kube *kube, const struct kube_options *options, struct err *err)
{
	if (options->kubeconfig && *options->kubeconfig)
		return read_kubeconfig(kube, options, err);
	if (options->api_url && *options->api_url)
		return kube_config_add_servers(&kube->config, options->api_url, "Kubernetes API URL", err);
	return kube_config_pod(&kube->config, getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT"),
		KUBE_POD_DIRECTORY, err);
}

int kube_new(const struct kube_options *options, struct event_base *base, struct kube **ret, struct err *err)
{
	struct kube *kube = calloc(1, sizeof(*kube));
	int rc;

	if (!kube)
		return err_set(err, -ENOMEM, "Kubernetes: no memory");
	kube->base = base;
	rc = configure(kube, options, err);
	if (rc == 0)
		rc = kube_auth_new(&kube->config, base, on_credentials, kube, &kube->auth, err);
	if (rc == 0) {
		kube->work = event_new(base, -1, 0, on_work, kube);
		if (!kube->work)
			rc = err_set(err, -ENOMEM, "Kubernetes: no memory");
	}
	if (rc < 0) {
		kube_free(kube);
		return rc;
	}
	/* Nodes spread over the servers. */
	kube->server = arc4random_uniform(kube->config.server_count);
	*ret = kube;
	return 0;
}

void kube_free(struct kube *kube)
{
	if (!kube)
		return;
	bury_dead(kube);
	while (kube->links)
		link_free(kube, kube->links);
	kube_auth_free(kube->auth);
	if (kube->work)
		event_free(kube->work);
	kube_config_done(&kube->config);
	free(kube);
}

/* -- calls -- */

static int copy(char **ret, const char *text, size_t len)
{
	if (!text)
		return 0;
	*ret = malloc(len + 1);
	if (!*ret)
		return -ENOMEM;
	memcpy(*ret, text, len);
	(*ret)[len] = 0;
	return 0;
}

struct kube_call *kube_call_new(struct kube *kube, const struct kube_request *request)
{
	struct kube_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->kube = kube;
	call->len = request->len;
	call->timeout_ms = request->timeout_ms;
	call->begun = request->begun;
	call->data = request->data;
	call->done = request->done;
	call->ctx = request->ctx;
	if (copy(&call->method, request->method, strlen(request->method)) < 0 ||
		copy(&call->path, request->path, strlen(request->path)) < 0 ||
		copy(&call->body, request->body, request->len) < 0 ||
		(request->content_type && copy(&call->content_type, request->content_type, strlen(request->content_type)) < 0)) {
		kube_call_free(call);
		return NULL;
	}
	call->turn = kube->turn;
	DL_APPEND(kube->calls, call);
	event_active(kube->work, 0, 0);
	return call;
}

void kube_call_cancel(struct kube_call *call)
{
	if (!call)
		return;
	call->cancelled = true;
	if (call->late)
		event_del(call->late);
	DL_DELETE(call->kube->calls, call);
	DL_APPEND(call->kube->dead, call);
	event_active(call->kube->work, 0, 0);
}

void kube_call_give_up(struct kube_call *call)
{
	if (!call)
		return;
	kube_server_failed(call->kube, call->server);
	call->kube->fresh = true;
	kube_call_cancel(call);
}

int kube_escape(struct buf *buf, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c < 0x80 && isalnum(c)) || strchr("-._~", c))
			buf_add(buf, text, 1);
		else
			buf_printf(buf, "%%%02X", c);
	}
	return buf->error;
}
