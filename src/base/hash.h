/* SPDX-License-Identifier: Apache-2.0
 *
 * uthash as we use it: without memory there is no way on, and the hash is one that clang does not warn about (the
 * default one falls through a switch).
 */
#pragma once

#define uthash_fatal(msg) abort()
#define HASH_FUNCTION(key, len, hash) HASH_OAT(key, len, hash)

#include <stdlib.h>
#include <uthash.h>
