/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a credential plugin (client.authentication.k8s.io v1 and v1beta1): a child process by argument vector, its output
 * read on the loop, with a deadline. Used by kube_auth.c.
 *
 * Life cycle: done() is called once, from the loop, and the run is gone then; or it is cancelled before.
 */
#pragma once

#include "client/kube_config.h"

struct event_base;
struct kube_exec;

struct kube_exec_answer {
	char *token;      /* null: none; as are the others, which come together */
	char *cert, *key; /* PEM */
	int64_t expires;  /* seconds since 1970; 0: never */
};

/* answer: null after a failure, which err tells; may be emptied by the callee. */
typedef void (*kube_exec_done)(void *ctx, struct kube_exec_answer *answer, const struct err *err);

int kube_exec_new(const struct kube_exec_config *config, struct event_base *base, kube_exec_done done, void *ctx,
	struct kube_exec **ret, struct err *err);
/* Null is fine. */
void kube_exec_cancel(struct kube_exec *exec);

/* What a plugin printed. */
int kube_exec_parse(const struct kube_exec_config *config, const char *text, size_t len, struct kube_exec_answer *ret,
	struct err *err);
void kube_exec_answer_free(struct kube_exec_answer *answer);
