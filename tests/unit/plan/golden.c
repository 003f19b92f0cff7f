/* SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_lines(char sign, const char *start, const char *end)
{
	while (start < end) {
		const char *eol = memchr(start, '\n', (size_t)(end - start));
		size_t len = (size_t)((eol ? eol : end) - start);

		printf("  %c%.*s\n", sign, (int)len, start);
		start += len + 1;
	}
}

/* What differs, between the lines that are the same at both ends. */
static void print_difference(const char *expected, const char *got)
{
	const char *a = expected, *b = got;
	const char *a_end = expected + strlen(expected), *b_end = got + strlen(got);

	while (*a && *a == *b)
		a++, b++;
	while (a > expected && a[-1] != '\n')
		a--, b--;
	while (a_end > a && b_end > b && a_end[-1] == b_end[-1])
		a_end--, b_end--;
	while (*a_end && a_end[-1] != '\n')
		a_end++, b_end++;
	print_lines('-', a, a_end);
	print_lines('+', b, b_end);
}

static bool check(const char *in, golden_text *text)
{
	_cleanup_(buf_free) struct buf got = {0};
	_cleanup_(buf_free) struct buf expected = {0};
	struct err err = ERR_INIT;
	char out[512];
	int r;

	snprintf(out, sizeof(out), "%.*s.out", (int)strlen(in) - 3, in);
	r = text(in, &got, &err);
	if (r == 0 && getenv("UPDATE_GOLDEN"))
		r = file_write_atomic(out, got.data, got.len, 0644, false, &err);
	if (r == 0)
		r = file_read(out, &expected, &err);
	if (r < 0) {
		printf("FAIL %s: %s\n", in, err_text(&err));
		return false;
	}
	if (strcmp(buf_text(&got), buf_text(&expected)) == 0) {
		printf("ok   %s\n", in);
		return true;
	}
	printf("FAIL %s\n", in);
	print_difference(buf_text(&expected), buf_text(&got));
	return false;
}

int golden_run(const char *dir, golden_text *text)
{
	char pattern[512];
	int failed = 0;
	glob_t files;

	snprintf(pattern, sizeof(pattern), "%s/*.in", dir);
	if (glob(pattern, 0, NULL, &files) != 0) {
		fprintf(stderr, "%s: no such files\n", pattern);
		return 2;
	}
	for (size_t i = 0; i < files.gl_pathc; i++)
		failed += !check(files.gl_pathv[i], text);
	globfree(&files);
	return failed ? 1 : 0;
}
