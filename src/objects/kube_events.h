/* SPDX-License-Identifier: Apache-2.0
 *
 * Events: what is wrong with an object of the cluster, where its owner looks for it. All agents see the same trouble at
 * the same time: the name of an Event is made of object, reason and text, so that whoever comes first creates it, and
 * the others wait a random moment and find it there. Used by the Kubernetes store and by the agent's Calico half.
 *
 * Life cycle: kube_events_new, kube_events_add at any time; what has not been written by kube_events_free is not written.
 */
#pragma once

#include <stdbool.h>

struct event_base;
struct kube;
struct kube_events;

struct kube_events_options {
	struct kube *kube; /* the caller's, outlives it */
	/* Why no Event can be written; "" = they can. */
	void (*problem)(void *ctx, const char *text);
	void *ctx;
};

/* Which object of the whole cluster it is about. Texts are copied. */
struct kube_events_about {
	const char *api_version; /* null: not said */
	const char *kind;
	const char *namespace;   /* null or "": none; its Events are in "default" then */
	const char *name;
	const char *uid;         /* null or "": not known; kubectl describe then does not show it */
	bool own;                /* nobody else tells: no need to wait for others */
};

struct kube_events *kube_events_new(const struct kube_events_options *options, struct event_base *base); /* null without memory */
void kube_events_free(struct kube_events *events); /* null is fine */

/* An Event once in the cluster, whoever sees it, a little later than now. node: who says it. */
void kube_events_add(struct kube_events *events, const struct kube_events_about *about, const char *node, const char *reason,
	const char *text);
