/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text_table {
	const char *const *headings;
	size_t columns;
	char **cells; /* rows times columns */
	size_t count;
};

struct text_table *text_table_new(const char *const *headings)
{
	struct text_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->headings = headings;
	while (headings[table->columns])
		table->columns++;
	return table;
}

int text_table_row(struct text_table *table, const char *const *cells)
{
	char **grown = realloc(table->cells, (table->count + table->columns) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	table->cells = grown;
	for (size_t i = 0; i < table->columns; i++) {
		grown[table->count] = strdup(cells[i] && cells[i][0] ? cells[i] : "-");
		if (!grown[table->count])
			return -ENOMEM;
		table->count++;
	}
	return 0;
}

static int width_of(const struct text_table *table, size_t column)
{
	size_t width = strlen(table->headings[column]);

	for (size_t i = column; i < table->count; i += table->columns)
		if (strlen(table->cells[i]) > width)
			width = strlen(table->cells[i]);
	return (int)width;
}

static void print_cell(const struct text_table *table, size_t column, const char *text, int width)
{
	if (column + 1 == table->columns)
		printf("%s\n", text);
	else
		printf("%-*s  ", width, text);
}

void text_table_print(const struct text_table *table)
{
	int *widths = calloc(table->columns, sizeof(*widths));

	if (!widths)
		return;
	for (size_t c = 0; c < table->columns; c++)
		widths[c] = width_of(table, c);
	for (size_t c = 0; c < table->columns; c++)
		print_cell(table, c, table->headings[c], widths[c]);
	for (size_t i = 0; i < table->count; i++)
		print_cell(table, i % table->columns, table->cells[i], widths[i % table->columns]);
	free(widths);
}

void text_table_free(struct text_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
}
