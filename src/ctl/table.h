/* SPDX-License-Identifier: Apache-2.0
 *
 * A table that people can read: columns as wide as their widest cell, two spaces between, no lines.
 */
#pragma once

#include <stddef.h>

struct table;

/* headings: closed by null; borrowed. */
struct table *table_new(const char *const *headings);
/* One row, a cell for each heading; a null or empty cell is printed as "-". Copied. 0 or -ENOMEM. */
int table_row(struct table *table, const char *const *cells);
void table_print(const struct table *table);
void table_free(struct table *table);
