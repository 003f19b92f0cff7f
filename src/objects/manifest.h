/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifests as people write them, and as Tulle writes them: a text of YAML or JSON in, objects of the neutral form out,
 * and back. Documents that are none of our kinds are passed over. Pure; used by the directory store.
 */
#pragma once

#include "base/buf.h"
#include "objects/kind.h"

struct manifest_object {
	enum kind kind;
	json_t *object; /* with a namespace where the kind has one */
	const char *name, *namespace; /* its own texts */
};

struct manifest {
	size_t documents; /* of any kind; only a file with one can be written back */
	struct manifest_object *objects;
	size_t count;
	char **staged; /* policies of staged kinds, "KIND NAMESPACE/NAME": accepted, and passed over, too */
	size_t staged_count;
};

/* -EINVAL names the file with line and column, or document, field and value. */
int manifest_parse(const char *text, size_t len, const char *where, struct manifest *ret, struct err *err);
void manifest_free(struct manifest *manifest);

/* JSON with indentation, or YAML. 0 or negative errno. */
int manifest_format(const json_t *object, bool yaml, struct buf *ret);
