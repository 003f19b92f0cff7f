/* SPDX-License-Identifier: Apache-2.0
 *
 * What the container runtime finds of us in its two directories: which configuration and which plugin there is ours, and
 * taking both away. Used by the agent (installation, removal) and by "tullectl cleanup"; holds no state.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

/* Bits by enum cni_type: the plugins of a configuration or a list of them that have names of ours. */
unsigned cni_files_types(const json_t *conf);

/* Is the program there Tulle's plugin, under whatever name? */
bool cni_files_is_plugin(const char *path);

struct cni_files {
	const char *conf_dir, *bin_dir; /* null or "": not looked at */
	bool dry;                       /* only tell */
	/* "removed" or "restored", and the path; on a dry run what would be done. */
	void (*told)(void *ctx, const char *what, const char *path);
	void *ctx;
};

/* The configuration first, so that the runtime never calls a plugin that is gone. A configuration is ours if it calls
 * "tulle", or if what it calls is our plugin and no other was kept from before; a kept plugin gets its name back.
 * Goes on after a failure and returns the first. */
int cni_files_remove(const struct cni_files *files, struct err *err);
