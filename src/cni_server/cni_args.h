/* SPDX-License-Identifier: Apache-2.0
 *
 * CNI_ARGS, "K1=V1;K2=V2" (reference/cni.md 5.1): the requests IP and MAC are taken out, and which pod of the
 * cluster it is. Keys are matched exactly and in any order; unknown ones are ignored, with and without IgnoreUnknown. Empty pairs are ignored too. A DEL reads the pod only, and must not fail because of them.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"

#include <stddef.h>

#define CNI_IPS_MAX 8

struct cni_wishes {
	struct addr ips[CNI_IPS_MAX]; /* each once, in order of asking */
	size_t ip_count;
	struct mac mac;
	char pod_namespace[64], pod_name[254]; /* K8S_POD_NAMESPACE, K8S_POD_NAME; "" when not said, or no names */
};

/* "10.1.0.5" or "10.1.0.5/24" (the mask is ignored, a pod's address is a /32 or /128). where names it in messages. */
int cni_wishes_add_ip(struct cni_wishes *wishes, const char *text, const char *where, struct err *err);
/* A later one replaces an earlier one. */
int cni_wishes_set_mac(struct cni_wishes *wishes, const char *text, const char *where, struct err *err);

/* IP may be a list with commas. Errors name CNI_ARGS, the key and the value. */
int cni_args_parse(const char *text, struct cni_wishes *wishes, struct err *err);
