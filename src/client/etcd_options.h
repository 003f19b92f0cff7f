/* SPDX-License-Identifier: Apache-2.0
 *
 * Where an etcd cluster is, and who we are there. For whoever opens a store in etcd (objects.h).
 */
#pragma once

struct etcd_client_options {
	const char *endpoints;                   /* comma list of http:// or https:// URLs */
	const char *keyfile, *certfile, *cafile; /* paths; null or "" = none */
	const char *username, *password;         /* null or "" = none */
};
