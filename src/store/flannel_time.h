/* SPDX-License-Identifier: Apache-2.0
 *
 * Times of leases: RFC 3339 as Go prints and reads it, years 1970 to 9999. Used by the dialect's own files
 * only.
 */
#pragma once

#include <stdint.h>

#define FLANNEL_TIME_MAX sizeof("9999-12-31T23:59:59Z")

/* Seconds since the epoch; fractions are cut off. Go's zero time ("0001-01-01T00:00:00Z") gives 0, the epoch
 * itself 1, because 0 means never. 0 or -EINVAL. */
int flannel_time_parse(const char *text, int64_t *ret);
const char *flannel_time_format(int64_t seconds, char text[static FLANNEL_TIME_MAX]);
