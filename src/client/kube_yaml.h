/* SPDX-License-Identifier: Apache-2.0
 *
 * A YAML (or JSON) text as a jansson tree, for kubeconfig files and manifests. Pure. Plain scalars become null, true, false or a
 * string; numbers remain strings, except under a key "extension", where they become numbers as their readers expect.
 * Aliases are followed; what they unfold to is limited.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>

/* The first document. ret: new reference. The message has line and column. */
int kube_yaml_parse(const char *text, size_t len, const char *where, json_t **ret, struct err *err);

/* Every document of a stream, with numbers as numbers (as manifests mean them). document() takes the value over; a
 * negative errno of it ends the reading. */
int kube_yaml_each(const char *text, size_t len, const char *where,
	int (*document)(void *ctx, json_t *value, struct err *err), void *ctx, struct err *err);
