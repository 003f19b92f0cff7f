/* SPDX-License-Identifier: Apache-2.0
 *
 * What a kind of store implements behind store.h: the lease manager (manager.h, over a directory or etcd) and the
 * Kubernetes API (kube_store.h), which hands out blocks itself.
 */
#pragma once

#include "store/store.h"

/* As the functions of store.h. */
struct store_ops {
	void (*start)(struct store *store);
	void (*acquire)(struct store *store, const struct lease *want);
	void (*find_own)(struct store *store, const struct addr public_ip[FAMILY_COUNT],
		void (*found)(void *ctx, const struct lease *own), void *ctx);
	/* The next three may be null. */
	void (*stands)(struct store *store);
	void (*remark)(struct store *store, const char *key, const char *text);
	void (*counters)(const struct store *store, struct store_counters *ret);
	void (*free)(struct store *store);
};

/* Every kind begins with this. */
struct store {
	const struct store_ops *ops;
};
