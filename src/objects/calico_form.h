/* SPDX-License-Identifier: Apache-2.0
 *
 * One object in the three spellings that Calico's stores know: the neutral form (projectcalico.org/v3, see objects.h),
 * the v1 custom resources (reference/calico.md 1.4, 2.15), and etcd's keys and values (1.5). Pure; called by the stores
 * behind objects.h only. Members that nobody here knows pass through; nothing given is changed, what comes back may
 * share parts with it.
 */
#pragma once

#include "objects/kind.h"

#define CALICO_METADATA "projectcalico.org/metadata"

/* -- the v1 group; both give a new reference, or null without memory -- */

/* A kind of the core group comes back as it is, with apiVersion and kind, which items of lists lack. */
json_t *calico_from_v1(enum kind kind, const json_t *object);
json_t *calico_to_v1(enum kind kind, const json_t *object);
/* The UID of the other view; an involution. What is no UUID stays as it is. ret: at least strlen(uid) + 1. */
void calico_turn_uid(const char *uid, char *ret);

/* -- etcd -- */

#define CALICO_KEY_MAX 1024

/* All keys of a kind lie in prefix .. end, and others may. */
void calico_etcd_range(enum kind kind, char prefix[static CALICO_KEY_MAX], char end[static CALICO_KEY_MAX]);
/* The key of an object, by what its name, namespace and spec say. -EINVAL names what is missing. */
int calico_etcd_key(enum kind kind, const json_t *object, char ret[static CALICO_KEY_MAX], struct err *err);
/* The keys that an object of this name alone may have (an affinity's name is ambiguous); how many, 0: it cannot be. */
#define CALICO_KEYS_MAX 8
size_t calico_etcd_keys(const struct object_key *key, char ret[static CALICO_KEYS_MAX][CALICO_KEY_MAX]);
/* What the key itself says: metadata.name, .namespace, and of IPAM's kinds a part of spec. Null: no object of this kind. */
json_t *calico_etcd_key_object(enum kind kind, const char *key);
/* value null or without sense: -EINVAL; a key that is no object of this kind: -ENOENT without a story. */
int calico_from_etcd(enum kind kind, const char *key, const char *value, size_t len, int64_t revision, json_t **ret,
	struct err *err);
/* The value: new reference, or null without memory. */
json_t *calico_to_etcd(enum kind kind, const json_t *object);
