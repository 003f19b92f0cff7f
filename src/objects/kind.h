/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kinds of objects.h are called: in the neutral form, in the two groups of Calico's resources, in paths and
 * file names (reference/calico.md 1.2). Pure tables; used by the three stores and calico_form.c.
 */
#pragma once

#include "objects/objects.h"

#define CALICO_V3 "projectcalico.org/v3"
#define CALICO_V1 "crd.projectcalico.org/v1"
#define CLUSTER_POLICY_VERSION "policy.networking.k8s.io/v1alpha2"
#define OBJECT_NAME_MAX 253 /* RFC 1123 subdomains, as Kubernetes has them */

struct kind_info {
	const char *name, *plural;       /* of the neutral form */
	const char *v1_name, *v1_plural; /* in crd.projectcalico.org/v1; null: not of Calico's groups */
	const char *api_version;         /* of the neutral form */
	const char *folder;              /* of files that Tulle writes; null: plural */
	bool namespaced;
	bool ipam;                       /* one of the four that Calico's v1 group does not wrap */
	bool optional;                   /* many clusters do not have it, and nobody misses it */
};

const struct kind_info *kind_info(enum kind kind);
const char *kind_folder(enum kind kind); /* no two kinds have the same */
/* Of an object as somebody wrote it, in either group. KIND_COUNT: none of ours. */
enum kind kind_find(const char *api_version, const char *name);

/* Borrowed, "" when missing. */
const char *object_name(const json_t *object);
const char *object_namespace(const json_t *object);
const char *object_version(const json_t *object);
const char *object_uid(const json_t *object);
/* May this be a name, or a namespace, of an object? It becomes part of paths and keys. */
bool object_name_is_good(const char *name);
