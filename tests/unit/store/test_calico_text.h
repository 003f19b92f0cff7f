/* SPDX-License-Identifier: Apache-2.0
 *
 * What a parser of Calico's dialect made of an object, in words that a person can compare with it. Used by
 * test_calico.c; every function appends lines.
 */
#pragma once

#include "base/buf.h"
#include "resources/resources.h"

void text_ippool(struct buf *out, const struct ippool *pool);
void text_ip_reservation(struct buf *out, const struct ip_reservation *reservation);
void text_ipam_config(struct buf *out, const struct ipam_config *config);
void text_cluster_info(struct buf *out, const struct cluster_info *info);
void text_block(struct buf *out, const struct block *block);
void text_node(struct buf *out, const struct node *node);
void text_felix(struct buf *out, const struct felix *felix); /* only what is not the default */
void text_bgp_config(struct buf *out, const struct bgp_config *config);
void text_bgp_peer(struct buf *out, const struct bgp_peer *peer);
void text_bgp_filter(struct buf *out, const struct bgp_filter *filter);
void text_service(struct buf *out, const struct service *service);
void text_endpoint_slice(struct buf *out, const struct endpoint_slice *slice);
