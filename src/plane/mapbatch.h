/* SPDX-License-Identifier: Apache-2.0
 *
 * Many entries of a BPF map at once: by the kernel's batch calls where the map's type has them, else one by one. Called by
 * owners of large maps (plane/policy_maps.c). Keys and values lie in arrays without gaps.
 */
#pragma once

#include "base/err.h"
#include "plane/bpfmap.h"

#include <stddef.h>

/* Writes all, in order. 0 or the kernel's negative errno for the first that it refused; those before it are written. */
int map_put_many(int map_fd, size_t key_size, const void *keys, size_t value_size, const void *values, size_t count);
/* Deletes all; one that is not there is no failure. ret_gone: how many were there; null: nobody asks. */
int map_del_many(int map_fd, size_t key_size, const void *keys, size_t count, size_t *ret_gone);
/* Calls each for every entry, until it does not return 0, which is returned then. -EINVAL or -EOPNOTSUPP (524): this type of map
 * has no batch calls. */
struct map_walk {
	size_t key_size, value_size;
	int (*each)(void *ctx, const void *key, const void *value);
	void *ctx;
};
int map_walk(int map_fd, const struct map_walk *walk);
/* image_read, faster. */
int map_read_all(int map_fd, struct image *image, struct err *err);
