/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugin configuration that the runtime sends on stdin, for the conf types that we serve: tulle, flannel (with the
 * keys of its delegate, reference/flannel.md 8.1) and calico. Parsed for each ADD by the CNI server, and by
 * "tullectl config check". What cannot be honoured is refused by name; keys that nobody knows are ignored, as the
 * upstream plugins do.
 */
#pragma once

#include "attach/attach.h"
#include "base/json.h"
#include "cni_server/cni_args.h"

enum cni_type { CNI_TYPE_TULLE, CNI_TYPE_FLANNEL, CNI_TYPE_CALICO, CNI_TYPE_COUNT };

#define CNI_ROUTES_MAX 16

struct cni_conf {
	enum cni_type type;
	uint32_t mtu;       /* 0 = the backend's */
	bool default_route;
	struct attach_route routes[CNI_ROUTES_MAX];
	size_t route_count;
	struct cni_wishes wishes;
	struct bandwidth bandwidth;
	const json_t *dns;  /* borrowed from the text's tree; null = none */
};

/* CNI_TYPE_COUNT when name is none of ours. */
enum cni_type cni_type_find(const char *name);
const char *cni_type_name(enum cni_type type);
/* "tul", or "cali": how host ends are called. */
const char *cni_type_host_prefix(enum cni_type type);
/* Type of a configuration: its key "type", else the plugin's own name. CNI_TYPE_COUNT when it is not ours. */
enum cni_type cni_conf_type(const json_t *object, const char *plugin);

/* ip_masq: whether the agent masquerades (--ip-masq). first: wishes that come before those of the configuration (of
 * CNI_ARGS), may be null. Errors name the key, its value and what is expected. */
int cni_conf_parse(const json_t *object, const char *plugin, bool ip_masq, const struct cni_wishes *first,
	struct cni_conf *ret, struct err *err);
