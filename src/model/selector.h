/* SPDX-License-Identifier: Apache-2.0
 *
 * Label selectors in Calico's grammar (reference/calico.md 7.4), and the labels they look at. Pools and BGP peers
 * choose nodes by them, policies choose endpoints. Pure; immutable once made.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* -- labels -- */

struct label {
	char *key, *value;
};

struct labels {
	struct label *items; /* sorted by key, each key once */
	size_t count;
};

struct labels *labels_new(void); /* none; null without memory */
int labels_set(struct labels *labels, const char *key, const char *value); /* copies; the last one of a key wins */
const char *labels_get(const struct labels *labels, const char *key);     /* null: not there; of null labels none is */
bool labels_equal(const struct labels *a, const struct labels *b);
void labels_free(struct labels **labels);

/* -- selectors -- */

struct selector;

/* "" is all(). -EINVAL: err names the position and what was expected there. */
int selector_parse(const char *text, struct selector **ret, struct err *err);
/* Another owner of the same; each frees it. */
struct selector *selector_share(const struct selector *selector);
void selector_free(struct selector **selector);
/* Appends the canonical text of what text says, in other words: about the labels of a namespace or service account that
 * endpoints inherit (7.3). As selector_parse; nothing is appended on failure. */
struct selector_words {
	const char *prefix;       /* before every label */
	const char *all, *global; /* instead of all() and global() */
};
int selector_rewrite(const char *text, const struct selector_words *words, struct buf *out, struct err *err);

/* What an endpoint's label is; null: it has none of that name. Endpoints inherit labels, so there is no one list. */
typedef const char *(*selector_lookup)(const void *ctx, const char *key);
bool selector_matches(const struct selector *selector, selector_lookup lookup, const void *ctx);
bool selector_matches_labels(const struct selector *selector, const struct labels *labels); /* null: none */
/* all(), however it is written: matches whatever the labels are, and does not say global(). */
bool selector_is_all(const struct selector *selector);
/* A label and its value without which it cannot match, one after the other from index 0 on; false: no more are known. For
 * indexes. */
bool selector_requires(const struct selector *selector, size_t index, const char **ret_key, const char **ret_value);
/* Does outer match whatever inner matches? False also where that is not proved. */
bool selector_covers(const struct selector *outer, const struct selector *inner);
/* Does global() occur? It is true here; whoever knows namespaces rewrites it before (7.3), pools must not have it. */
bool selector_has_global(const struct selector *selector);

/* Canonical text (7.4): equal selectors have equal texts. Borrowed. */
const char *selector_text(const struct selector *selector);
bool selector_equal(const struct selector *a, const struct selector *b);
/* "s:" and 38 characters, closing 0 included. */
#define SELECTOR_ID_MAX 41
void selector_id(const struct selector *selector, char ret[static SELECTOR_ID_MAX]);
