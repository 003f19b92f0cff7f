/* SPDX-License-Identifier: Apache-2.0
 *
 * How the files of Calico's dialect take members out of an object: every failure names the object, the path of the
 * field, its value and what was expected. Used by store/calico_*.c only.
 *
 * A place is one JSON object (or one value: key null means the place itself) together with how to speak of it.
 * Every getter returns 1 when the member was there, 0 when absent or null (ret untouched), -EINVAL with a story in
 * at->err, or -ENOMEM. Texts are borrowed from the JSON.
 */
#pragma once

#include "resources/resources.h"

#define CALICO_SELECTOR_MAX 1024 /* characters */
#define CALICO_NAME_MAX 253

struct calico_at {
	const json_t *json;
	char who[304];  /* "IPPool default-ipv4-ippool" */
	char path[208]; /* "spec.importV4[2]" */
	const struct calico_remarks *remarks;
	struct err *err;
};

/* At "spec" of the object; one without spec has an empty one. Refused: no metadata.name, or one that cannot be. */
int calico_begin(const json_t *object, const char *kind, const struct calico_remarks *remarks, struct err *err,
	struct calico_at *ret);
/* The same for kinds with a namespace; the place is the whole object. */
int calico_begin_namespaced(const json_t *object, const char *kind, const struct calico_remarks *remarks,
	struct err *err, struct calico_at *ret);
/* The same for kinds without a namespace whose place is the whole object. */
int calico_begin_object(const json_t *object, const char *kind, const struct calico_remarks *remarks, struct err *err,
	struct calico_at *ret);
/* metadata.name, after calico_begin. */
const char *calico_name(const json_t *object);
const char *calico_namespace(const json_t *object);
/* A string annotation, or null. */
const char *calico_annotation(const json_t *object, const char *key);
/* metadata.labels are added to ret; what is no text is passed over. 0 or -ENOMEM. */
int calico_labels(const json_t *object, struct labels *ret);
/* metadata.creationTimestamp as seconds since the epoch; 0 when there is none. */
int64_t calico_created(const json_t *object);
/* A name of a Kubernetes object: as far as it could do harm elsewhere, no more. */
bool calico_name_is_sane(const char *name);

/* -- places -- */

int calico_enter(const struct calico_at *at, const char *key, struct calico_at *ret); /* an object */
int calico_list(const struct calico_at *at, const char *key, const json_t **ret);
/* Of a list under key: one element's place. */
void calico_item(const struct calico_at *at, const char *key, size_t index, const json_t *item, struct calico_at *ret);

/* -- stories -- */

int calico_wrong(const struct calico_at *at, const char *key, const char *expected, ...)
	__attribute__((format(printf, 3, 4)));
int calico_no_memory(const struct calico_at *at);
/* "IPPool x: " and the text. */
void calico_remark(const struct calico_at *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Remarks what err tells and that it is ignored; err is empty again. */
void calico_remark_ignored(const struct calico_at *at, struct err *err);

/* A member of the place that is not among names, which end with null: its name; null: there is none. */
const char *calico_unknown(const struct calico_at *at, const char *const *names);
/* Remarks the first of them, and how many there are. */
void calico_remark_unknown(const struct calico_at *at, const char *const *names);

/* -- members -- */

int calico_text(const struct calico_at *at, const char *key, const char **ret);
int calico_copy(const struct calico_at *at, const char *key, char **ret); /* the caller's; "" counts as absent */
int calico_bool(const struct calico_at *at, const char *key, bool *ret);
int calico_int(const struct calico_at *at, const char *key, int64_t min, int64_t max, int64_t *ret);
int calico_u32(const struct calico_at *at, const char *key, uint32_t min, uint32_t max, uint32_t *ret);
int calico_u16(const struct calico_at *at, const char *key, uint16_t min, uint16_t max, uint16_t *ret);
/* Index into choices, which end with null. "" counts as absent. */
int calico_choice(const struct calico_at *at, const char *key, const char *const *choices, int *ret);
int calico_choice_any_case(const struct calico_at *at, const char *key, const char *const *choices, int *ret);
int calico_addr(const struct calico_at *at, const char *key, struct addr *ret);
int calico_prefix(const struct calico_at *at, const char *key, struct prefix *ret); /* host bits kept */
int calico_prefix_or_addr(const struct calico_at *at, const char *key, struct prefix *ret);
/* At most CALICO_SELECTOR_MAX characters, without global(). */
int calico_selector(const struct calico_at *at, const char *key, struct selector **ret);
/* A number, or a text of one; asdot ("1.10") too. Never 0. */
int calico_as_number(const struct calico_at *at, const char *key, uint32_t *ret);
bool calico_parse_as_number(const char *text, uint32_t *ret);
/* Go's duration ("2m30s") as whole seconds. */
int calico_seconds(const struct calico_at *at, const char *key, uint32_t min, uint32_t max, uint32_t *ret);
int calico_community(const struct calico_at *at, const char *key, struct community *ret);
bool calico_parse_community(const char *text, struct community *ret);
/* The member secretKeyRef of the object under key. */
int calico_secret(const struct calico_at *at, const char *key, struct secret_ref *ret);
/* A name of an interface as BIRD matches them, with "*" and "?". */
int calico_interface(const struct calico_at *at, const char *key, char ret[static IFNAMSIZ]);
