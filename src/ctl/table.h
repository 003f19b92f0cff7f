/* SPDX-License-Identifier: Apache-2.0
 *
 * A table that people can read: columns as wide as their widest cell, two spaces between, no lines.
 */
#pragma once

#include <stddef.h>

struct text_table;

/* headings: closed by null; borrowed. */
struct text_table *text_table_new(const char *const *headings);
/* One row, a cell for each heading; a null or empty cell is printed as "-". Copied. 0 or -ENOMEM. */
int text_table_row(struct text_table *table, const char *const *cells);
void text_table_print(const struct text_table *table);
void text_table_free(struct text_table *table);
