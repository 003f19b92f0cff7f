/* SPDX-License-Identifier: Apache-2.0
 *
 * Flannel's dialect: net-conf.json, lease objects and keys, subnet.env, and the ConfigMap and CNI
 * configuration that carry them (reference/flannel.md 2, 3.1, 3.3, 3.6, 9.1). Text in, model out, and back.
 * Pure.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "model/lease.h"
#include "model/network.h"

/* net-conf.json with the full validation of section 2.3. where names the source in messages.
 * ret is untouched on failure. Messages name key, value and expectation. */
int flannel_network_parse(
	const char *text, size_t len, const char *where, struct network *ret, struct err *err);

/* The same where Kubernetes hands out the blocks (podCIDRs of any length): SubnetLen, SubnetMin and SubnetMax mean
 * nothing, and the pools have no block_len, block_min and block_max. */
int flannel_network_parse_pod_cidrs(
	const char *text, size_t len, const char *where, struct network *ret, struct err *err);

/* The net-conf.json (and cni-conf.json) inside a ConfigMap manifest in YAML or JSON, or text itself when it
 * is a bare net-conf. *ret_net and *ret_cni: malloc'ed or null when the manifest has no such key. One
 * document of a multi-document YAML file suffices; -ENOENT when none is a ConfigMap with one of these keys.
 */
int flannel_manifest_parse(
	const char *text, size_t len, const char *where, char **ret_net, char **ret_cni, struct err *err);

/* Lease value <-> model (section 3.1). Keys case-insensitive on input; output byte for byte as Flannel prints
 * it. key and subnets come from flannel_key_parse. expires_text: the directory store's extra key "Expiration"
 * (RFC 3339); read when present. */
int flannel_lease_parse(const char *key, const char *text, size_t len, struct lease *ret, struct err *err);
void flannel_lease_format(const struct lease *lease, bool with_expiration, struct buf *buf);

/* Key "10.5.72.0-24&fd00:5:0:48::-64" <-> subnets (section 3.3.1). -EINVAL when it is none. */
int flannel_key_parse(const char *key, struct prefix subnet[FAMILY_COUNT], struct err *err);
void flannel_key_format(const struct prefix subnet[FAMILY_COUNT], char key[static LEASE_KEY_MAX]);

/* subnet.env (section 3.6) <-> values. */
struct flannel_env {
	struct prefix network[FAMILY_COUNT];
	struct prefix subnet[FAMILY_COUNT]; /* masked */
	unsigned mtu;
	bool ip_masq;
};
/* Missing or bad values are left unset (a value with several good CIDRs counts as absent); -EINVAL only when
 * the text is no text. */
int flannel_env_parse(const char *text, size_t len, struct flannel_env *ret, struct err *err);
void flannel_env_format(const struct flannel_env *env, struct buf *buf);

/* May this lease be kept under this config (3.3.4 step 2: min <= subnet <= max, same length, families)? */
bool flannel_lease_fits(const struct lease *lease, const struct network *network);
/* The same for one family: unset where the pool is, else a block of it. */
bool flannel_subnet_fits(const struct prefix *subnet, const struct pool *pool);
