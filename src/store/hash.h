/* SPDX-License-Identifier: Apache-2.0
 *
 * uthash as the store uses it: without memory there is no way on, and Jenkins's hash falls through its switch in a way
 * that clang warns about.
 */
#pragma once

#define uthash_fatal(msg) abort()
#define HASH_FUNCTION(key, len, hash) HASH_OAT(key, len, hash)

#include <stdlib.h>
#include <uthash.h>
