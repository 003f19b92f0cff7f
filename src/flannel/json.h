/* SPDX-License-Identifier: Apache-2.0
 *
 * What Flannel's decoder (Go) does beyond base/json.h: among several spellings of one key the last one
 * counts, and null is an error for addresses and CIDRs. Used by the dialect's own files only.
 */
#pragma once

#include "base/addr.h"
#include "base/json.h"

#define FLANNEL_TEXT_MAX (1u << 20) /* bytes; what Kubernetes allows a ConfigMap */

/* One JSON object of at most FLANNEL_TEXT_MAX bytes. ret: new reference. */
int flannel_object_parse(const char *text, size_t len, const char *where, json_t **ret, struct err *err);

/* The last spelling of key whose value is not null; key itself when there is none. Give it to json_get_*. */
const char *flannel_spelling(const json_t *object, const char *key);
/* Is the key there in some spelling with the value null? */
bool flannel_has_null(const json_t *object, const char *key);

/* As the json_get_* of base, with the rules above. family: AF_INET or AF_INET6. prefix: masked.
 * null_ok: null counts as absent instead of as an error. An all-zero address leaves ret unset and returns 0.
 */
int flannel_get_int(const json_t *object, const char *where, const char *key, int64_t min, int64_t max,
	int64_t *ret, struct err *err);
int flannel_get_bool(const json_t *object, const char *where, const char *key, bool *ret, struct err *err);
int flannel_get_string(
	const json_t *object, const char *where, const char *key, const char **ret, struct err *err);
int flannel_get_addr(const json_t *object, const char *where, const char *key, int family, bool null_ok,
	struct addr *ret, struct err *err);
int flannel_get_prefix(const json_t *object, const char *where, const char *key, int family,
	struct prefix *ret, struct err *err);
