/* SPDX-License-Identifier: Apache-2.0
 *
 * For each DIR/NAME.json the configuration must be what DIR/NAME.conf says, complaints first, and the real BIRD must
 * take it. UPDATE_GOLDEN=1 writes the .conf files anew. With "--print FILE" it prints one scenario's configuration:
 * tests/bgp runs BIRD with those.
 */
#include "bird_scenario.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "plane/process.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Complaints in front as comments; order of the lists must not matter, so the second time they are turned round. */
static void reverse(const void *list, size_t count)
{
	const void **items = (const void **)list;

	for (size_t i = 0; i < count / 2; i++) {
		const void *item = items[i];

		items[i] = items[count - 1 - i];
		items[count - 1 - i] = item;
	}
}

static void build(struct bird_scenario *scenario, struct buf *ret)
{
	_cleanup_(buf_free) struct buf text = {0};

	buf_reset(&scenario->complaints);
	if (bird_build(&scenario->input, &text) < 0)
		abort();
	buf_add_str(ret, buf_text(&scenario->complaints));
	buf_add_str(ret, buf_text(&text));
}

static bool configuration(const char *path, struct buf *ret)
{
	_cleanup_(buf_free) struct buf again = {0};
	struct bird_scenario scenario;
	bool same;

	bird_scenario_read(path, &scenario);
	build(&scenario, ret);
	reverse(scenario.input.nodes, scenario.input.node_count);
	reverse(scenario.input.pools, scenario.input.pool_count);
	reverse(scenario.input.blocks, scenario.input.block_count);
	reverse(scenario.input.peers, scenario.input.peer_count);
	reverse(scenario.input.filters, scenario.input.filter_count);
	build(&scenario, &again);
	same = strcmp(buf_text(ret), buf_text(&again)) == 0;
	bird_scenario_free(&scenario);
	return same;
}

static bool bird_takes(const char *path)
{
	const char *argv[] = {"/usr/sbin/bird", "-p", "-c", path, NULL};
	_cleanup_(process_result_free) struct process_result result = {0};
	struct err err = ERR_INIT;
	bool ran;

	if (access(argv[0], X_OK) < 0) {
		printf("note %s: no BIRD here\n", path);
		return true;
	}
	ran = process_run(argv, NULL, 0, 20000, &result, &err) == 0;
	if (!ran || result.status != 0)
		printf("FAIL %s: %s\n", path, ran ? buf_text(&result.errors) : err_text(&err));
	return ran && result.status == 0;
}

static bool check(const char *in)
{
	_cleanup_(buf_free) struct buf got = {0};
	_cleanup_(buf_free) struct buf expected = {0};
	struct err err = ERR_INIT;
	char out[512];
	size_t at = 0;
	int r = 0;

	snprintf(out, sizeof(out), "%.*s.conf", (int)strlen(in) - 5, in);
	if (!configuration(in, &got)) {
		printf("FAIL %s: another order of the lists makes another text\n", in);
		return false;
	}
	if (getenv("UPDATE_GOLDEN"))
		r = file_write_atomic(out, got.data, got.len, 0644, false, &err);
	if (r == 0)
		r = file_read(out, &expected, &err);
	if (r < 0) {
		printf("FAIL %s: %s\n", in, err_text(&err));
		return false;
	}
	while (got.data[at] && got.data[at] == buf_text(&expected)[at])
		at++;
	if (got.len != expected.len || at != got.len) {
		printf("FAIL %s: differs from %s here:\n-%.200s\n+%.200s\n", in, out, buf_text(&expected) + at, got.data + at);
		return false;
	}
	printf("ok   %s\n", in);
	return bird_takes(out);
}

int main(int argc, char **argv)
{
	_cleanup_(buf_free) struct buf text = {0};
	char pattern[512];
	int failed = 0;
	glob_t files;

	if (argc == 3 && strcmp(argv[1], "--print") == 0) {
		configuration(argv[2], &text);
		fputs(buf_text(&text), stdout);
		return 0;
	}
	snprintf(pattern, sizeof(pattern), "%s/*.json", argc == 2 ? argv[1] : "");
	if (argc != 2 || glob(pattern, 0, NULL, &files) != 0) {
		fprintf(stderr, "usage: %s DIR | --print FILE\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < files.gl_pathc; i++)
		failed += !check(files.gl_pathv[i]);
	globfree(&files);
	return failed ? 1 : 0;
}
