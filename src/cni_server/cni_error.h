/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI's error object (reference/cni.md 3): what a request's failure becomes on its way to the runtime. msg is stable
 * and free of container ids, because kubelet folds events with equal texts; what is particular goes into details.
 * Made by the CNI server's parsers and operations, printed once by cni_operation.c.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum cni_code {
	CNI_OK = 0,
	CNI_VERSION_UNKNOWN = 1,
	CNI_NO_CONTAINER = 3,
	CNI_BAD_ENVIRONMENT = 4,
	CNI_IO = 5,
	CNI_UNDECODABLE = 6,
	CNI_BAD_CONF = 7,
	CNI_TRY_LATER = 11,
	CNI_NOT_READY = 50,
	CNI_ALREADY_ATTACHED = 100, /* ours */
	CNI_CHECK_FAILED = 101,     /* ours */
	CNI_INTERNAL = 999,         /* the reference library's habit */
};

struct cni_error {
	enum cni_code code; /* CNI_OK while there is none */
	char msg[1024];
	char details[1024];
};

/* Always -1, so that "return cni_error_set(...)" reads as one statement. */
int cni_error_set(struct cni_error *error, enum cni_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int cni_error_details(struct cni_error *error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A failure of attach_add and its sisters: code by errno as attach/attach.h lists them. Always -1. */
int cni_error_from_attach(struct cni_error *error, const struct err *err);
/* Appends the object and a new line. 0 or negative errno. */
int cni_error_format(const struct cni_error *error, const char *version, struct buf *buf);
