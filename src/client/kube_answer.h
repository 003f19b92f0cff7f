/* SPDX-License-Identifier: Apache-2.0
 *
 * What the API server says when it refuses: a Status object as text for people. Pure; used by kube_call.c, and by
 * kube_watch.c for Status objects that come inside a watch.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#define KUBE_REASON_MAX 64

struct kube_status {
	int code;                     /* 0: not said */
	int retry_after_s;            /* 0: not said */
	char reason[KUBE_REASON_MAX]; /* "" when not said */
	char message[512];            /* without control characters; "" when not said */
};

/* From a Status object; anything else gives an empty one. */
void kube_status_read(const json_t *json, struct kube_status *ret);
/* From the body of an answer: a Status object, else the beginning of whatever it is. */
void kube_status_parse(const char *body, size_t len, struct kube_status *ret);
