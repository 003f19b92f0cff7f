/* SPDX-License-Identifier: Apache-2.0
 *
 * The rulesets of all scenarios are taken by nft and the kernel, over an older one too, and come out the
 * same. Runs in a network namespace of its own; skipped (77) without the right to make one.
 */
#include "pools_scenario.h"

#include "base/cleanup.h"

#include <errno.h>
#include <glob.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs nft with text as its standard input; its output is added to out. True when it succeeded. */
static bool nft(char *const argv[], const struct buf *text, struct buf *out)
{
	FILE *in = tmpfile(), *answer = tmpfile();
	char piece[4096];
	int status = -1;
	size_t n;
	pid_t pid;

	if (!in || !answer || fwrite(buf_text(text), 1, text->len, in) != text->len || fflush(in) != 0)
		abort();
	rewind(in);
	pid = fork();
	if (pid == 0) {
		dup2(fileno(in), STDIN_FILENO);
		dup2(fileno(answer), STDOUT_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	rewind(answer);
	while ((n = fread(piece, 1, sizeof(piece), answer)) > 0)
		buf_add(out, piece, n);
	fclose(in);
	fclose(answer);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool check(const char *path, const struct wanted *wanted)
{
	char *load[] = {"nft", "-f", "-", NULL};
	char *list[] = {"nft", "list", "table", "inet", "tulle", NULL};
	_cleanup_(buf_free) struct buf nothing = {0};
	_cleanup_(buf_free) struct buf first = {0};
	_cleanup_(buf_free) struct buf second = {0};
	bool ok;

	if (wanted->nft.len == 0)
		return true;
	/* over the table of the scenario before, and once more over itself */
	ok = nft(load, &wanted->nft, &nothing) && nft(list, &nothing, &first) &&
	     nft(load, &wanted->nft, &nothing) && nft(list, &nothing, &second);
	ok = ok && first.len > 0 && strcmp(buf_text(&first), buf_text(&second)) == 0;
	printf("%s %s\n", ok ? "ok  " : "FAIL", path);
	return ok;
}

/* One scenario: 1 its ruleset is good, 0 it has none, -1 failed. */
typedef int load(const char *path, struct err *err);

static int judge(const char *path, int r, const struct wanted *wanted)
{
	return r < 0 ? -1 : wanted->nft.len == 0 ? 0 : check(path, wanted) ? 1 : -1;
}

static int load_plan(const char *path, struct err *err)
{
	struct scenario scenario;
	struct plan_result result = {0};
	int r;

	if (scenario_read(path, &scenario, err) < 0)
		return -1;
	r = judge(path, plan_build(&scenario.input, &result), &result.wanted);
	plan_result_free(&result);
	scenario_free(&scenario);
	return r;
}

static int load_pools(const char *path, struct err *err)
{
	struct pools_scenario scenario;
	struct plan_pools_result result = {0};
	int r;

	if (pools_scenario_read(path, &scenario, err) < 0)
		return -1;
	r = judge(path, plan_pools_build(&scenario.input, &result), &result.wanted);
	plan_pools_result_free(&result);
	pools_scenario_free(&scenario);
	return r;
}

static bool load_all(const char *dir, load *one)
{
	bool good = true, any = false;
	char pattern[512];
	glob_t files;

	snprintf(pattern, sizeof(pattern), "%s/*.in", dir);
	if (glob(pattern, 0, NULL, &files) != 0)
		return false;
	for (size_t i = 0; i < files.gl_pathc; i++) {
		struct err err = ERR_INIT;
		int r = one(files.gl_pathv[i], &err);

		if (r < 0)
			printf("FAIL %s: %s\n", files.gl_pathv[i], err_text(&err));
		good &= r >= 0;
		any |= r > 0;
	}
	globfree(&files);
	return good && any;
}

int main(int argc, char **argv)
{
	bool plan, pools;

	if (argc != 3)
		return 2;
	if (unshare(CLONE_NEWNET) < 0) {
		printf("no network namespace: %s\n", strerror(errno));
		return 77;
	}
	plan = load_all(argv[1], load_plan);
	pools = load_all(argv[2], load_pools);
	return plan && pools ? 0 : 1;
}
