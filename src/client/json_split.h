/* SPDX-License-Identifier: Apache-2.0
 *
 * Splits objects off a stream of JSON as it arrives: the items of a Kubernetes list, or the lines of a watch; at any
 * moment no more than one object is held. Members that nobody needs are dropped on the way. Pure; made for kube_watch.c.
 *
 * It scans structure only (nesting, strings); each object is handed on as text for a real parser, which judges it.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

struct json_split;

struct json_split_options {
	bool list;               /* an object whose member "items" is the array to split; else white-space separated objects */
	const char *const *drop; /* "status", "metadata.managedFields", "object.status"; null at the end; borrowed */
	size_t object_max;       /* bytes of one object after dropping */
	/* An object's text. oversize: it was larger than object_max, text holds only its beginning. */
	int (*object)(void *ctx, const char *text, size_t len, bool oversize, struct err *err);
	void *ctx;
};

int json_split_new(const struct json_split_options *options, struct json_split **ret, struct err *err);
/* More of the stream. -EINVAL: this is no such JSON (with position); what object() returned, if negative. */
int json_split_add(struct json_split *split, const char *data, size_t len, struct err *err);
/* The stream is over: 0 when it ended between objects (list: behind the closing brace), else -EINVAL. */
int json_split_end(struct json_split *split, struct err *err);
/* list: the text of all members beside "items" so far, as one object: {"kind":…,"metadata":{…}}. Valid after the end. */
const char *json_split_rest(const struct json_split *split);
void json_split_free(struct json_split *split);
