/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI results (reference/cni.md 6): what ADD prints, in the shape of each version, and what comes back as prevResult,
 * in whatever shape. In between there is one form, that of 1.1.0, as a JSON object with the lists interfaces, ips and
 * routes and the object dns, all present. Used by the CNI server's operations; pure.
 */
#pragma once

#include "attach/attach.h"
#include "cni_server/cni_request.h"

/* Any shape, told by its content, into the one form. prev must be an object. New reference; null: no memory. An
 * address that points at no interface of the list is left without one. Members of interfaces that nobody knows stay. */
json_t *cni_result_read(const json_t *prev);

/* Adds what the attachment brought, behind what prev had. sandbox: CNI_NETNS as received. 0 or -ENOMEM. */
int cni_result_add(json_t *result, const struct attachment *attachment, const char *sandbox, const json_t *dns);

/* The one form into version's shape. New reference; null and err (-EINVAL) when it cannot be said in that version. */
json_t *cni_result_write(const json_t *result, enum cni_version version, struct err *err);

/* CHECK: whether the one form holds the attachment: its interface with its MAC, and its addresses. Names what is
 * missing. Everything else in it belongs to other plugins. 0 or -EINVAL. */
int cni_result_compare(const json_t *result, const struct attachment *attachment, struct err *err);
