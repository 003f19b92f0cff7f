/* SPDX-License-Identifier: Apache-2.0
 *
 * What kube_client.c (servers, credentials, the queue of calls) and kube_call.c (one call as a libcurl transfer) share.
 *
 * Libcurl must not be entered from inside its callbacks, yet whoever gets data() may begin and cancel calls. So both
 * only move the call to a list, and kube_client.c's work event does the rest.
 */
#pragma once

#include "base/buf.h"
#include "client/curl_loop.h"
#include "client/kube.h"
#include "client/kube_auth.h"

#include <stdbool.h>

struct event;

/* A pool of connections. When an answer does not come in time, new calls get a new one: a connection that is still
 * open to a server that hangs would be chosen again and again. */
struct kube_link {
	struct kube_link *prev, *next;
	struct curl_loop *loop;
	unsigned calls;
};

struct kube {
	struct event_base *base;
	struct kube_config config;
	struct kube_auth *auth;
	struct event *work;
	struct kube_link *links; /* the first one is for new calls, if there is one and fresh is not set */
	bool fresh;
	unsigned server;
	unsigned turn;
	unsigned running;        /* requests on their way; streams do not count */
	struct kube_call *calls; /* those that go on */
	struct kube_call *dead;  /* cancelled */
};

enum kube_call_state { KUBE_CALL_QUEUED, KUBE_CALL_WAITING, KUBE_CALL_RUNNING };

struct kube_call {
	struct curl_transfer transfer; /* first */
	struct kube_call *prev, *next;
	struct kube *kube;
	struct kube_link *link; /* while it runs */
	enum kube_call_state state;
	unsigned turn;
	bool waited; /* for a credential plugin, which has just answered or failed */
	bool cancelled;
	char *method, *path, *content_type, *body;
	size_t len;
	int timeout_ms;
	void (*begun)(void *ctx);
	int (*data)(void *ctx, const char *data, size_t len, struct err *err);
	void (*done)(void *ctx, const struct kube_answer *answer);
	void *ctx;
	unsigned server, generation;
	struct curl_slist *headers, *connect_to;
	struct event *late; /* a stream whose answer does not begin */
	long status;        /* 0: no header has come */
	struct buf answer;
	struct err broken;  /* why we stopped reading */
	char curl_error[CURL_ERROR_SIZE];
};

/* Sets up the transfer. */
int kube_call_prepare(struct kube_call *call, const struct kube_identity *identity, struct err *err);
/* Out of libcurl's callbacks only. The call is gone; done() is called unless it was cancelled. */
void kube_call_finish(struct kube_call *call, CURLcode code);
void kube_call_free(struct kube_call *call);
/* kube_call.c tells that the call's server failed. */
void kube_server_failed(struct kube *kube, unsigned server);
/* Its transfer has ended or is taken out. */
void kube_link_put(struct kube_call *call);
