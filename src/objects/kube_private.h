/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the parts of the store of objects on the Kubernetes API (docs/objects.md): kube.c (requests and life
 * cycle), kube_catalogue.c (which of Calico's groups the cluster has, and which kinds of it), kube_watch.c.
 *
 * Whoever needs a Calico kind waits for the catalogue. It is read again while something that is wanted is missing from
 * the cluster, and when a watch has trouble: definitions may be installed, removed and moved to the other group.
 */
#pragma once

#include "client/kube.h"
#include "objects/kube_events.h"
#include "objects/private.h"

struct kube_objects_call;
struct kube_objects_watch;

enum calico_group {
	GROUP_UNKNOWN,
	GROUP_NONE, /* neither is served: requests go to v1's paths, as Calico's own would */
	GROUP_V1,
	GROUP_V3,
};

struct catalogue {
	enum calico_group group;
	bool fixed;             /* told by the configuration */
	bool blind;             /* we may not read it: everything may be there */
	bool served[KIND_COUNT];
	bool cluster_policies;  /* CLUSTER_POLICY_VERSION is served, by what was last read */
	struct kube_call *call; /* a part of it is being read */
	enum calico_group found; /* by the reading under way */
	struct event *timer;    /* read it again */
	unsigned failures;      /* readings in a row that left somebody waiting */
	int64_t read_ms;        /* when it was last read, monotonic */
	char *trouble;          /* why the last reading failed; null: it did not */
};

struct objects_kube {
	struct objects objects; /* first */
	struct kube *kube;
	struct catalogue catalogue;
	struct kube_objects_call *calls;
	struct kube_objects_watch *watches;
	struct kube_events *events;
	unsigned walking; /* through the watches: they are kept until this is 0 */
};

static inline struct objects_kube *kube_of(struct objects *objects)
{
	return (struct objects_kube *)objects;
}

/* -- kube.c -- */
/* Appends "/apis/GROUP/VERSION/[namespaces/NAMESPACE/]PLURAL", with all namespaces if namespace is "". */
void kube_objects_path(const struct objects_kube *kube, enum kind kind, const char *namespace, struct buf *ret);
/* New reference, or null without memory. */
json_t *kube_objects_neutral(const struct objects_kube *kube, enum kind kind, const json_t *object);
/* Are labels of this kind where the server can see them? */
bool kube_objects_labels_shown(const struct objects_kube *kube, enum kind kind);
/* The catalogue has been read, or could not be. */
void kube_objects_go_on(struct objects_kube *kube);

/* -- kube_catalogue.c -- */
int catalogue_init(struct objects_kube *kube, const char *group);
void catalogue_done(struct objects_kube *kube);
/* Good enough for a request? */
bool catalogue_is_known(const struct objects_kube *kube);
/* Reads it, unless that is under way. */
void catalogue_read(struct objects_kube *kube);
/* Somebody waits for what is missing, or has trouble: reads it again, with back-off. */
void catalogue_read_later(struct objects_kube *kube);
/* Is it defined by a CustomResourceDefinition that may be missing? */
bool catalogue_is_about(enum kind kind);
/* 1: served; 0: not; -1: not known. */
int catalogue_has(const struct objects_kube *kube, enum kind kind);

/* -- kube_watch.c -- */
struct objects_watch *kube_objects_watch_new(struct objects *objects, const struct objects_watch_options *options,
	const struct objects_events *events, void *ctx);
void kube_objects_watch_free(struct objects_watch *watch);
/* Each begins, ends or goes on, as the catalogue says. True: somebody still waits for it to change. */
bool kube_objects_watch_look(struct objects_kube *kube);
void kube_objects_watch_done(struct objects_kube *kube);
