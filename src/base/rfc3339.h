/* SPDX-License-Identifier: Apache-2.0
 *
 * Times in objects and leases: RFC 3339 as Go prints and reads it, years 1970 to 9999.
 */
#pragma once

#include <stdint.h>

#define RFC3339_MAX sizeof("9999-12-31T23:59:59Z")

/* Seconds since the epoch; fractions are cut off. Go's zero time ("0001-01-01T00:00:00Z") gives 0, the epoch
 * itself 1, because 0 means never. 0 or -EINVAL. */
int rfc3339_parse(const char *text, int64_t *ret);
const char *rfc3339_format(int64_t seconds, char text[static RFC3339_MAX]);
