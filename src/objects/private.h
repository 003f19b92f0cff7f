/* SPDX-License-Identifier: Apache-2.0
 *
 * What the three stores behind objects.h have in common: a request as one value, answers that must not come from inside
 * a call, selectors. Used by objects.c and the objects_*.c of each store.
 */
#pragma once

#include "objects/kind.h"

#include <event2/event.h>

enum objects_verb {
	OBJECTS_GET,
	OBJECTS_LIST,
	OBJECTS_CREATE,
	OBJECTS_UPDATE,
	OBJECTS_ANNOTATE,
	OBJECTS_DELETE,
};

/* Checked: name and namespace are good where the verb needs them, object is one, with a version for update and delete. */
struct objects_request {
	enum objects_verb verb;
	enum kind kind;
	const char *namespace;      /* "" where the kind has none, and in a list */
	const char *name;           /* "" in a list */
	const char *label_selector; /* list: null, or checked */
	const json_t *object;       /* of annotate: the annotations */
	void (*each)(void *ctx, const json_t *object);
	objects_done done;
	void *ctx;
};

/* With texts and object of its own. False: no memory; done() in any case. */
bool objects_request_copy(struct objects_request *to, const struct objects_request *from);
void objects_request_done(struct objects_request *request);

struct objects_ops {
	struct objects_call *(*begin)(struct objects *objects, const struct objects_request *request);
	struct objects_watch *(*watch)(struct objects *objects, const struct objects_watch_options *options,
		const struct objects_events *events, void *ctx);
	void (*watch_free)(struct objects_watch *watch);
	void (*remark)(struct objects *objects, const struct objects_remark *remark); /* may be null */
	void (*free)(struct objects *objects);
};

/* Every store begins with this. */
struct objects {
	const struct objects_ops *ops;
	struct event_base *base;
	struct objects_answer_later *later;
};

/* Every call begins with this. */
struct objects_call {
	struct objects *objects;
	void (*cancel)(struct objects_call *call); /* frees it */
};

/* A call on a server begins with this. Its callbacks may cancel it: it is freed when they are over. */
struct objects_remote_call {
	struct objects_call call; /* first */
	struct objects_request request; /* its texts are ours */
	void (*free)(struct objects_remote_call *call); /* request as well */
	bool inside; /* its own callbacks are running */
	bool cancelled;
};

void objects_remote_cancel(struct objects_call *call);
/* The answer, unless it was cancelled; frees it. object is taken over. */
void objects_remote_finish(struct objects_remote_call *call, int rc, json_t *object, const char *text);

/* Every watch begins with this. */
struct objects_watch {
	struct objects *objects;
	enum kind kind;
	char *fields, *labels; /* selectors; "": none */
	const struct objects_events *events;
	void *ctx;
};

/* With selectors of its own. False: no memory; done() in any case. */
bool objects_watch_init(struct objects_watch *watch, struct objects *objects, const struct objects_watch_options *options,
	const struct objects_events *events, void *ctx);
void objects_watch_done(struct objects_watch *watch);

/* An answer that is known at once, given from the loop. */
struct objects_call *objects_answer_later(struct objects *objects, int rc, const char *text,
	objects_done done, void *ctx);

/* "IPPool default-ipv4-ippool", "Pod default/web-0" */
#define OBJECT_TITLE_MAX 600
const char *objects_title(enum kind kind, const char *namespace, const char *name,
	char ret[static OBJECT_TITLE_MAX]);

/* A new object's uid and creationTimestamp. */
int objects_add_birth(json_t *metadata, struct err *err);
/* New reference; a null value removes an annotation. */
json_t *objects_annotated(const json_t *object, const json_t *annotations);

/* -- objects_select.c: Kubernetes' selectors, as far as the stores without a server know them -- */

/* "a=b", "a==b", "a!=b", "a", "!a", joined by commas. null and "": everything. */
int objects_label_check(const char *selector, struct err *err);
bool objects_label_match(const char *selector, const json_t *object);
/* "metadata.name=x,spec.nodeName=y": paths of members that are text. */
int objects_field_check(const char *selector, struct err *err);
bool objects_field_match(const char *selector, const json_t *object);

/* The objects that a watch has put: only they can be gone from it. Begins as null. */
struct objects_shown;
void objects_shown_add(struct objects_shown **shown, const json_t *object);
bool objects_shown_del(struct objects_shown **shown, const json_t *object); /* was it there? */
void objects_shown_free(struct objects_shown **shown);
