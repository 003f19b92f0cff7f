/* SPDX-License-Identifier: Apache-2.0
 *
 * The DaemonSet that this agent belongs to (--owner-daemonset). An agent that is told to stop cannot know why: it is
 * upgraded, or Tulle is being removed from the cluster. So it asks the API server whether its DaemonSet still stands.
 *
 * Life cycle: owner_new; owner_look now and then until it says that the API server has answered; owner_ask once, when the
 * agent is told to stop; owner_free. No connection is kept between two questions.
 */
#pragma once

#include "base/err.h"
#include "client/kube.h"

#include <stdbool.h>

struct event_base;
struct owner;

enum owner_answer {
	OWNER_STANDS,  /* or nobody could say: then nothing is to be removed */
	OWNER_REMOVED, /* it is gone or being deleted, or its namespace is */
};

/* name: "NAMESPACE/NAME"; the options' texts must live as long as the owner. */
int owner_new(const char *name, const struct kube_options *options, struct event_base *base, struct owner **ret,
	struct err *err);
/* Null is fine. */
void owner_free(struct owner *owner);

/* Once we were let look, a later refusal (401, 403) means that account or role went with the rest: of a namespace that
 * is deleted they often go before the DaemonSet. So this is tried while all is well. problem: "" when the answer came, else why it did not; may be null. At once when nothing is to be done. */
void owner_look(struct owner *owner, void (*problem)(void *ctx, const char *text), void *ctx);

/* Answers once, within two seconds. text: what was found, for the log. */
void owner_ask(struct owner *owner, void (*answered)(void *ctx, enum owner_answer answer, const char *text), void *ctx);
