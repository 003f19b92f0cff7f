/* SPDX-License-Identifier: Apache-2.0
 *
 * Comparisons where null stands for "not said": two of them are equal. Used by the model's own _equal functions.
 */
#pragma once

#include "base/addr.h"
#include "model/selector.h"

#include <string.h>

static inline bool text_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static inline bool selector_equal_or_none(const struct selector *a, const struct selector *b)
{
	return a == b || (a && b && selector_equal(a, b));
}

static inline bool addrs_equal(const struct addr *a, size_t a_count, const struct addr *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (!addr_equal(&a[i], &b[i]))
			return false;
	return true;
}

static inline bool prefixes_equal(const struct prefix *a, size_t a_count, const struct prefix *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (!prefix_equal(&a[i], &b[i]))
			return false;
	return true;
}
