/* SPDX-License-Identifier: Apache-2.0
 *
 * A client of the Kubernetes API over HTTPS: where the server is, who we are there, single requests and streams. What
 * the objects mean is the caller's affair. Used by the Kubernetes store; lists and watches are in kube_watch.h.
 *
 * Where and who, in this order: kubeconfig (its current-context: certificates and tokens, inline or as files; exec
 * plugins of client.authentication.k8s.io v1 and v1beta1; tls-server-name; insecure-skip-tls-verify), with api_url in
 * place of its server; api_url alone, anonymously; in-cluster (KUBERNETES_SERVICE_HOST and _PORT, token and CA under
 * /var/run/secrets/kubernetes.io/serviceaccount). Token files are read again when they change, at the latest after a
 * minute; an exec plugin runs again before its answer expires; and either at once after a 401.
 *
 * Several servers: one is in use until it fails (no answer, or 5xx without Retry-After), then the next one.
 * No retries in here: the caller knows what may be repeated.
 *
 * Life cycle: data() and done() come from the event loop, never from inside a call of this module, and may call anything
 * but kube_free. Every call must have ended, or be cancelled, before kube_free.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>

struct event_base;
struct kube;
struct kube_call;

struct kube_options {
	const char *api_url;    /* comma list of http:// or https:// URLs; null or "" = none */
	const char *kubeconfig; /* path; null or "" = none */
};

/* Reads the configuration; -EINVAL names file, key, value and expectation. No connection is made. */
int kube_new(const struct kube_options *options, struct event_base *base, struct kube **ret, struct err *err);
void kube_free(struct kube *kube);
/* For messages: "https://10.0.0.1:6443" in use now. */
const char *kube_server(const struct kube *kube);

struct kube_answer {
	int status;         /* of HTTP; 0: no answer came, or it broke off */
	const char *reason; /* of the Status object ("AlreadyExists", "Expired", "Forbidden"), or "" */
	const char *text;   /* for people: what went wrong, with server, method and path; "" for 2xx */
	int retry_after_s;  /* 0: not said */
	const char *body;   /* terminated; of a 2xx answer without data(), at most 4 MiB */
	size_t len;
};

struct kube_request {
	const char *method;       /* "GET", "PATCH", … */
	const char *path;         /* with query: "/api/v1/nodes?limit=500"; already escaped */
	const char *content_type; /* of the body; null without */
	const char *body;         /* copied */
	size_t len;
	int timeout_ms;           /* from when it is sent (32 at a time, others wait); 0: none, a stream */
	/* A 2xx answer begins; null if nobody cares. As data(). */
	void (*begun)(void *ctx);
	/* 2xx bodies as they come, if not null; a negative errno ends the call with that text. */
	int (*data)(void *ctx, const char *data, size_t len, struct err *err);
	void (*done)(void *ctx, const struct kube_answer *answer);
	void *ctx;
};

/* Null (without memory): done() is not called. */
struct kube_call *kube_call_new(struct kube *kube, const struct kube_request *request);
/* The call is gone, done() does not come. Null is fine. */
void kube_call_cancel(struct kube_call *call);
/* The same, because its server has fallen silent: the next calls go to another one, or over a new connection. */
void kube_call_give_up(struct kube_call *call);

/* Appends text for a path or query, everything but unreserved characters percent-encoded (RFC 3986 2.3). */
struct buf;
int kube_escape(struct buf *buf, const char *text);
