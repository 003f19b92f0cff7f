/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/file.h"
#include "client/kube_auth.h"
#include "client/kube_exec.h"
#include "../scratch.h"

#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#define VERSION "client.authentication.k8s.io/v1"
#define ANSWER(status) "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" VERSION "\",\"status\":" status "}"

static char directory[SCRATCH_MAX], script[64], count_file[64];

static int make_directory(void **state)
{
	if (scratch_directory(directory, sizeof(directory), "kube-exec") < 0)
		return -1;
	snprintf(script, sizeof(script), "%s/plugin", directory);
	snprintf(count_file, sizeof(count_file), "%s/count", directory);
	return 0;
}

static int remove_directory(void **state)
{
	unlink(script);
	unlink(count_file);
	return rmdir(directory);
}

/* -- what a plugin says -- */

static void answers(void **state)
{
	char *argv[] = {(char *)"plugin", NULL};
	const struct kube_exec_config config = {.where = (char *)"exec", .api_version = (char *)VERSION, .argv = argv};
	static const struct {
		const char *text;
		int64_t expires;
	} good[] = {
		{ANSWER("{\"token\":\"t\"}"), 0},
		{ANSWER("{\"token\":\"t\",\"expirationTimestamp\":\"2026-01-02T03:04:05Z\"}"), 1767323045},
		{ANSWER("{\"token\":\"t\",\"expirationTimestamp\":\"2026-01-02T03:04:05.123456Z\"}"), 1767323045},
		{ANSWER("{\"token\":\"t\",\"expirationTimestamp\":\"2026-01-02T05:34:05+02:30\"}"), 1767323045},
		{ANSWER("{\"token\":\"t\",\"expirationTimestamp\":\"2026-01-01T22:04:05-05:00\"}"), 1767323045},
		{ANSWER("{\"token\":\"t\",\"expirationTimestamp\":null,\"clientKeyData\":\"\"}") "\n", 0},
	};
	static const struct {
		const char *text, *words;
	} bad[] = {
		{"", "its answer: not valid JSON"},
		{"[]", "its answer is no object"},
		{"{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1beta1\"}", "expected ExecCredential and "
			"client.authentication.k8s.io/v1"},
		{"{\"kind\":\"Pod\",\"apiVersion\":\"" VERSION "\"}", "has kind \"Pod\""},
		{ANSWER("null"), "neither token nor clientCertificateData"},
		{ANSWER("5"), "key \"status\" is a number, expected an object"},
		{ANSWER("{}"), "neither token nor clientCertificateData"},
		{ANSWER("{\"token\":5}"), "key \"token\" is a number, expected a string"},
		{ANSWER("{\"token\":\"a\\nb\"}"), "key \"token\" has white space"},
		{ANSWER("{\"clientCertificateData\":\"-----BEGIN \"}"), "come only together"},
		{ANSWER("{\"clientCertificateData\":\"x\",\"clientKeyData\":\"y\"}"), "are no PEM text"},
		{ANSWER("{\"token\":\"t\",\"expirationTimestamp\":\"tomorrow\"}"), "key \"expirationTimestamp\" is \"tomorrow\""},
		{ANSWER("{\"token\":\"t\",\"expirationTimestamp\":\"2026-01-02T03:04:05\"}"), "expected a time such as"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct kube_exec_answer answer = {0};

		assert_int_equal(kube_exec_parse(&config, good[i].text, strlen(good[i].text), &answer, NULL), 0);
		assert_string_equal(answer.token, "t");
		assert_int_equal(answer.expires, good[i].expires);
		kube_exec_answer_free(&answer);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct kube_exec_answer answer = {0};
		struct err err = ERR_INIT;

		assert_int_equal(kube_exec_parse(&config, bad[i].text, strlen(bad[i].text), &answer, &err), -EINVAL);
		if (!strstr(err.text, bad[i].words) || strncmp(err.text, "exec: plugin: ", 14) != 0)
			fail_msg("\"%s\" lacks \"%s\"", err.text, bad[i].words);
		assert_null(answer.token);
	}
}

/* -- running one -- */

struct bench {
	struct event_base *base;
	struct kube_config config;
	struct kube_exec_config exec;
	char *argv[3];
	char *env[3];
	struct kube_exec_answer answer;
	struct err err;
	unsigned ended;
};

static void write_script(const char *body)
{
	_cleanup_free_ char *text = NULL;

	assert_true(asprintf(&text, "#!/bin/sh\n%s\n", body) > 0);
	assert_int_equal(file_write_atomic(script, text, strlen(text), 0700, false, NULL), 0);
}

static void bench_init(struct bench *bench, const char *body)
{
	*bench = (struct bench){.base = event_base_new()};
	bench->argv[0] = script;
	bench->argv[1] = (char *)"an argument";
	bench->env[0] = (char *)"FROM_CONFIG=yes";
	bench->env[1] = (char *)"HOME=/nowhere";
	bench->exec = (struct kube_exec_config){.where = (char *)"exec", .api_version = (char *)VERSION, .argv = bench->argv,
		.env = bench->env, .hint = (char *)"install it"};
	bench->config.exec = &bench->exec;
	write_script(body);
}

static void take(void *ctx, struct kube_exec_answer *answer, const struct err *err)
{
	struct bench *bench = ctx;

	bench->ended++;
	bench->err = *err;
	if (answer) {
		bench->answer = *answer;
		*answer = (struct kube_exec_answer){0};
	}
	event_base_loopbreak(bench->base);
}

static void run(struct bench *bench)
{
	struct kube_exec *exec = NULL;

	assert_int_equal(kube_exec_new(&bench->exec, bench->base, take, bench, &exec, &bench->err), 0);
	assert_int_equal(bench->ended, 0);
	event_base_dispatch(bench->base);
	assert_int_equal(bench->ended, 1);
}

static void bench_done(struct bench *bench)
{
	kube_exec_answer_free(&bench->answer);
	event_base_free(bench->base);
}

/* It gets its arguments, its variables and what it needs to know; and no input. */
static void a_plugin_runs(void **state)
{
	struct bench bench;

	setenv("KUBERNETES_EXEC_INFO", "stale", 1);
	bench_init(&bench,
		"test \"$1\" = 'an argument' && test \"$FROM_CONFIG\" = yes && test \"$HOME\" = /nowhere && test -n \"$PATH\" || exit 3\n"
		"test -z \"$(cat)\" || exit 4\n"
		"case $KUBERNETES_EXEC_INFO in *'\"interactive\":false'*'\"server\":\"https://h\"'*) ;; *) exit 5 ;; esac\n"
		"case $KUBERNETES_EXEC_INFO in *'\"apiVersion\":\"" VERSION "\"'*) ;; *) exit 6 ;; esac\n"
		"echo '" ANSWER("{\"token\":\"from plugin\"}") "' | sed 's/from plugin/t-1/'");
	bench.exec.cluster = json_pack("{s:s}", "server", "https://h");
	run(&bench);
	if (bench.err.code)
		fail_msg("%s", bench.err.text);
	assert_string_equal(bench.answer.token, "t-1");
	json_decref(bench.exec.cluster);
	bench_done(&bench);
	unsetenv("KUBERNETES_EXEC_INFO");
}

static void a_plugin_fails(void **state)
{
	struct bench bench;

	bench_init(&bench, "echo 'no luck\ttoday' >&2; echo more >&2; exit 7");
	run(&bench);
	assert_non_null(strstr(bench.err.text, "plugin ended with code 7: no luck?today"));
	assert_null(strstr(bench.err.text, "more"));
	bench_done(&bench);
	bench_init(&bench, "kill -9 $$");
	run(&bench);
	assert_non_null(strstr(bench.err.text, "was ended by signal 9"));
	bench_done(&bench);
	bench_init(&bench, "echo nonsense");
	run(&bench);
	assert_non_null(strstr(bench.err.text, "not valid JSON"));
	bench_done(&bench);
	bench_init(&bench, "head -c 2000000 /dev/zero");
	run(&bench);
	assert_non_null(strstr(bench.err.text, "printed more than"));
	bench_done(&bench);
}

static void no_plugin(void **state)
{
	struct kube_exec *exec = NULL;
	struct bench bench;

	bench_init(&bench, "");
	unlink(script);
	assert_int_equal(kube_exec_new(&bench.exec, bench.base, take, &bench, &exec, &bench.err), -ENOENT);
	assert_non_null(strstr(bench.err.text, "plugin cannot be run: No such file or directory; install it"));
	bench_done(&bench);
}

/* Somebody whom it left behind, with its output still open, is not waited for. */
static void a_plugin_leaves_a_child(void **state)
{
	struct bench bench;

	bench_init(&bench, "echo '" ANSWER("{\"token\":\"t\"}") "'; sleep 1000 & echo $! > $0.child");
	run(&bench);
	assert_string_equal(bench.answer.token, "t");
	bench_done(&bench);
	_cleanup_free_ char *command = NULL;
	struct buf pid = BUF_INIT(100);

	assert_true(asprintf(&command, "%s.child", script) > 0);
	assert_int_equal(file_read(command, &pid, NULL), 0);
	assert_int_equal(kill(atoi(buf_text(&pid)), SIGKILL), 0);
	unlink(command);
	buf_free(&pid);
}

static void cancelled(void **state)
{
	struct kube_exec *exec = NULL;
	struct bench bench;

	bench_init(&bench, "exec sleep 1000");
	assert_int_equal(kube_exec_new(&bench.exec, bench.base, take, &bench, &exec, &bench.err), 0);
	kube_exec_cancel(exec);
	assert_int_equal(bench.ended, 0);
	bench_done(&bench);
}

/* -- when it is run -- */

static void on_ready(void *ctx)
{
	struct bench *bench = ctx;

	bench->ended++;
	event_base_loopbreak(bench->base);
}

static void counting_script(const char *status)
{
	_cleanup_free_ char *body = NULL;

	assert_true(asprintf(&body, "d=$(dirname $0); echo x >> $d/count; n=$(wc -l < $d/count)\n%s", status) > 0);
	write_script(body);
}

static const char *token(struct bench *bench, struct kube_auth *auth, struct kube_identity *identity)
{
	unsigned before = bench->ended;
	int rc = kube_auth_get(auth, false, identity, &bench->err);

	if (rc == -EINPROGRESS) {
		/* More than one waits for the same run. */
		assert_int_equal(kube_auth_get(auth, false, identity, &bench->err), -EINPROGRESS);
		event_base_dispatch(bench->base);
		assert_int_equal(bench->ended, before + 1);
		rc = kube_auth_get(auth, true, identity, &bench->err);
	}
	return rc < 0 ? NULL : identity->token;
}

static void runs_when_needed(void **state)
{
	struct kube_identity identity;
	struct kube_auth *auth = NULL;
	struct bench bench;

	bench_init(&bench, "");
	counting_script("echo '" ANSWER("{\"token\":\"t-N\"}") "' | sed s/t-N/t-$n/");
	assert_int_equal(kube_auth_new(&bench.config, bench.base, on_ready, &bench, &auth, NULL), 0);
	assert_string_equal(token(&bench, auth, &identity), "t-1");
	assert_string_equal(token(&bench, auth, &identity), "t-1");
	/* Once for a 401 to its answer; a late one to the answer before changes nothing. */
	kube_auth_rejected(auth, identity.generation);
	unsigned old = identity.generation;

	assert_string_equal(token(&bench, auth, &identity), "t-2");
	kube_auth_rejected(auth, old);
	assert_string_equal(token(&bench, auth, &identity), "t-2");
	/* Rejected, and the plugin has nothing better: the failure is told, and it is asked again the next time. */
	kube_auth_rejected(auth, identity.generation);
	counting_script("exit 1");
	assert_null(token(&bench, auth, &identity));
	assert_non_null(strstr(bench.err.text, "ended with code 1"));
	counting_script("echo '" ANSWER("{\"token\":\"t-N\"}") "' | sed s/t-N/t-$n/");
	assert_string_equal(token(&bench, auth, &identity), "t-4");
	kube_auth_free(auth);
	bench_done(&bench);
}

static void runs_before_the_end(void **state)
{
	struct kube_identity identity;
	struct kube_auth *auth = NULL;
	struct bench bench;

	bench_init(&bench, "");
	/* For an hour, then for half a second. */
	counting_script("echo '" ANSWER("{\"token\":\"t-N\",\"expirationTimestamp\":\"END\"}") "' | "
		"sed \"s/t-N/t-$n/; s/END/$(date -u -d \"$(test $n = 1 && echo 1 hour || echo 1 second)\" +%Y-%m-%dT%H:%M:%SZ)/\"");
	assert_int_equal(kube_auth_new(&bench.config, bench.base, on_ready, &bench, &auth, NULL), 0);
	assert_string_equal(token(&bench, auth, &identity), "t-1");
	assert_string_equal(token(&bench, auth, &identity), "t-1");
	kube_auth_rejected(auth, identity.generation);
	assert_string_equal(token(&bench, auth, &identity), "t-2");
	/* As good as over: asked for again at once. */
	assert_string_equal(token(&bench, auth, &identity), "t-3");
	kube_auth_free(auth);
	bench_done(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test_setup_teardown(a_plugin_runs, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(a_plugin_fails, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(no_plugin, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(a_plugin_leaves_a_child, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(cancelled, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(runs_when_needed, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(runs_before_the_end, make_directory, remove_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
