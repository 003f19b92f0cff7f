/* SPDX-License-Identifier: Apache-2.0
 *
 * The one kind that etcd has in a shape of Calico's own: its Node, with addresses in spec and status where Kubernetes'
 * Node has annotations (reference/calico.md 2.16). Pure; used by calico_etcd.c.
 */
#pragma once

#include <jansson.h>

/* New references, or null without memory. Members of neither shape stay where they are. */
json_t *calico_node_from_etcd(const json_t *node);
json_t *calico_node_to_etcd(const json_t *node);
