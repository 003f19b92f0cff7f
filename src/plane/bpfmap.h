/* SPDX-License-Identifier: Apache-2.0
 *
 * The content of a BPF map as a value: a sorted array of key and value pairs. Whoever owns a map builds the image that he
 * wants, and the kernel's map is brought to it by the difference between two images: first what is new or changed,
 * later what is stale, so that no entry is missing for a moment. Called by the carrier.
 *
 * Life cycle: IMAGE_INIT, image_add ..., image_finish; or image_read; image_free.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image {
	size_t key_size, value_size; /* bytes */
	uint8_t *items;              /* key, value, key, value ... */
	size_t count, room;
};

#define IMAGE_INIT(key, value) ((struct image){.key_size = (key), .value_size = (value)})

int image_add(struct image *image, const void *key, const void *value); /* 0 or -ENOMEM */
/* Sorts by key bytes and drops doubles of a key. */
void image_finish(struct image *image);
void *image_value(const struct image *image, size_t i);
/* The item (its key, then its value) of a finished image, or null. */
const void *image_find(const struct image *image, const void *key);
bool image_equal(const struct image *a, const struct image *b);
void image_free(struct image *image);

/* Reads the kernel's map (no other writer is expected) into an empty image, finished. */
int image_read(int map_fd, struct image *image, struct err *err);
/* Writes the entries of wanted that actual has not, or has with another value. Goes on after a failure and returns the
 * first one. */
int image_put_new(int map_fd, const struct image *actual, const struct image *wanted, struct err *err);
/* Deletes the entries of actual whose keys wanted has not. */
int image_del_stale(int map_fd, const struct image *actual, const struct image *wanted, struct err *err);
