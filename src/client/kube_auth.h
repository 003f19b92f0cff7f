/* SPDX-License-Identifier: Apache-2.0
 *
 * Who we are to the API server at this moment: files that were rotated are read again, credential plugins run again.
 * Used by kube_client.c for every call.
 */
#pragma once

#include "client/kube_config.h"

struct event_base;
struct kube_auth;

struct kube_identity {
	const char *token;     /* null: none; as are the others */
	const char *cert, *key; /* PEM */
	const char *ca;        /* PEM */
	unsigned generation;   /* for kube_auth_rejected */
};

/* config is borrowed. ready: called from the loop when those that wait should try again; with fresh. */
int kube_auth_new(struct kube_config *config, struct event_base *base, void (*ready)(void *ctx), void *ctx,
	struct kube_auth **ret, struct err *err);
void kube_auth_free(struct kube_auth *auth);

/* 0; -EINPROGRESS: not now, ready() will be called; or why there is none. ret is valid until the loop runs on.
 * fresh: take what a plugin has just said (or failed with), even if it is too old already. */
int kube_auth_get(struct kube_auth *auth, bool fresh, struct kube_identity *ret, struct err *err);
/* The server answered 401 to that identity. */
void kube_auth_rejected(struct kube_auth *auth, unsigned generation);
