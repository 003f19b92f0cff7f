/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/file.h"
#include "client/kube.h"
#include "client/kube_base64.h"
#include "client/kube_config.h"
#include "../scratch.h"

#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utime.h>

#include <cmocka.h>

#define PEM "-----BEGIN CERTIFICATE-----\n"
#define PEM_64 "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="

#define TAIL                                         \
	"current-context: here\n"                    \
	"contexts:\n"                                \
	"- name: here\n"                             \
	"  context: {cluster: c, user: u}\n"         \
	"- name: elsewhere\n"                        \
	"  context: {cluster: missing, user: u}\n"
#define CLUSTER(text) "clusters:\n- name: c\n  cluster: " text "\n"
#define USER(text) "users:\n- name: other\n  user: {token: no}\n- name: u\n  user: " text "\n"
#define PLAIN CLUSTER("{server: 'https://h:6443'}")

static int parse(struct kube_config *config, const char *text, struct err *err)
{
	*config = (struct kube_config){0};
	return kube_config_parse(config, text, strlen(text), "/etc/k/config", NULL, err);
}

static struct kube_config parsed(const char *text)
{
	struct kube_config config;
	struct err err = ERR_INIT;

	if (parse(&config, text, &err) < 0)
		fail_msg("%s", err.text);
	return config;
}

static void inline_data(void **state)
{
	struct kube_config config = parsed(TAIL CLUSTER("{server: https://10.0.0.1:6443/, certificate-authority-data: " PEM_64 "}")
		USER("{client-certificate-data: " PEM_64 ", client-key-data: " PEM_64 "}"));

	assert_int_equal(config.server_count, 1);
	assert_string_equal(config.servers[0].url, "https://10.0.0.1:6443");
	assert_true(config.servers[0].tls);
	assert_string_equal(config.ca.text, PEM);
	assert_string_equal(config.cert.text, PEM);
	assert_string_equal(config.key.text, PEM);
	assert_null(config.token.text);
	assert_null(config.exec);
	assert_null(config.proxy);
	kube_config_done(&config);
}

static void paths_are_relative(void **state)
{
	struct kube_config config = parsed(TAIL CLUSTER("{server: 'https://h', certificate-authority: pki/ca.pem}")
		USER("{client-certificate: /abs/c.pem, client-key: k.pem, tokenFile: ../token, token: unused}"));

	assert_string_equal(config.ca.path, "/etc/k/pki/ca.pem");
	assert_string_equal(config.cert.path, "/abs/c.pem");
	assert_string_equal(config.key.path, "/etc/k/k.pem");
	assert_string_equal(config.token.path, "/etc/k/../token");
	assert_null(config.token.text);
	kube_config_done(&config);
}

static void server_name(void **state)
{
	struct kube_config config = parsed(TAIL CLUSTER("{server: 'https://[fd00::1]:6443/p', tls-server-name: kube.local,"
		" proxy-url: 'http://p:3128'}") USER("{token: 12345}"));

	assert_string_equal(config.servers[0].request, "https://kube.local:6443/p");
	assert_string_equal(config.servers[0].connect_to, "kube.local:6443:[fd00::1]:6443");
	assert_string_equal(config.servers[0].host, "Host: [fd00::1]:6443");
	assert_string_equal(config.proxy, "http://p:3128");
	/* A number that is meant as a text. */
	assert_string_equal(config.token.text, "12345");
	kube_config_done(&config);
	config = parsed(TAIL CLUSTER("{server: 'https://h', tls-server-name: n}") USER("{}"));
	assert_string_equal(config.servers[0].request, "https://n:443");
	assert_string_equal(config.servers[0].connect_to, "n:443:h:443");
	kube_config_done(&config);
}

static void insecure(void **state)
{
	struct kube_config config = parsed(TAIL CLUSTER("{server: 'https://h', insecure-skip-tls-verify: true}") USER("{}"));

	assert_true(config.insecure);
	kube_config_done(&config);
}

static void plugin(void **state)
{
	struct kube_config config = parsed(TAIL
		"clusters:\n- name: c\n  cluster:\n    server: https://h\n    certificate-authority-data: " PEM_64 "\n"
		"    extensions:\n    - name: client.authentication.k8s.io/exec\n      extension: {n: 5, s: \"5\"}\n"
		USER("{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./bin/p, args: [a, 'b c', 7],\n"
		"    env: [{name: A, value: x=y}, {name: B, value: ''}], provideClusterInfo: true, installHint: do it}}"));
	_cleanup_free_ char *told = json_dumps(config.exec->cluster, JSON_COMPACT | JSON_SORT_KEYS);

	assert_string_equal(config.exec->argv[0], "/etc/k/./bin/p");
	assert_string_equal(config.exec->argv[1], "a");
	assert_string_equal(config.exec->argv[2], "b c");
	assert_string_equal(config.exec->argv[3], "7");
	assert_null(config.exec->argv[4]);
	assert_string_equal(config.exec->env[0], "A=x=y");
	assert_string_equal(config.exec->env[1], "B=");
	assert_null(config.exec->env[2]);
	assert_string_equal(config.exec->hint, "do it");
	assert_string_equal(told, "{\"certificate-authority-data\":\"" PEM_64 "\",\"config\":{\"n\":5,\"s\":\"5\"},"
		"\"server\":\"https://h\"}");
	kube_config_done(&config);
	/* What stands there comes first; a bare name is searched for. */
	config = parsed(TAIL PLAIN USER("{token: t, exec: {apiVersion: x}}"));
	assert_null(config.exec);
	kube_config_done(&config);
	config = parsed(TAIL PLAIN USER("{exec: {apiVersion: client.authentication.k8s.io/v1, command: p}}"));
	assert_string_equal(config.exec->argv[0], "p");
	assert_null(config.exec->cluster);
	kube_config_done(&config);
}

static void json_and_anchors(void **state)
{
	struct kube_config config = parsed("{\"current-context\":\"a\",\"contexts\":[{\"name\":\"a\",\"context\":"
		"{\"cluster\":\"c\",\"user\":\"\"}}],\"clusters\":[{\"name\":\"c\",\"cluster\":{\"server\":\"http://h:80\"}}]}");

	assert_false(config.servers[0].tls);
	kube_config_done(&config);
	config = parsed("x: &u {token: t}\n" TAIL PLAIN "users: [{name: u, user: *u}]\n");
	assert_string_equal(config.token.text, "t");
	kube_config_done(&config);
}

/* Each message names file, key, value and what was expected. */
static void bad_input(void **state)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"", "kubeconfig /etc/k/config: holds no mapping"},
		{"- a", "holds no mapping"},
		{"a: [", "not valid YAML: line "},
		{"{\"a\":", "not valid JSON: line 1"},
		{"a: \"\\0\"", "line 1 column 4: a NUL byte"},
		{"contexts: []\n", "key \"current-context\" is \"\", expected the name of an entry of \"contexts\" with a "
			"\"context\" (there is none)"},
		{"current-context: there\n" PLAIN "contexts: [{name: here, context: {}}]\n", "is \"there\", expected the name of "
			"an entry of \"contexts\" with a \"context\" (\"here\")"},
		{"current-context: [a]\n", "key \"current-context\" is a list, expected a string"},
		{"current-context: elsewhere\n" CLUSTER("{server: 'https://h'}")
			"contexts: [{name: elsewhere, context: {cluster: missing}}]\n", "the context's cluster is \"missing\", "
			"expected the name of an entry of \"clusters\" with a \"cluster\" (\"c\")"},
		{TAIL PLAIN "users: [{name: x, user: {}}]\n", "the context's user is \"u\", expected the name of an entry of "
			"\"users\""},
		{TAIL PLAIN "users: 5\n", "key \"users\" is the string \"5\", expected a list"},
		{TAIL CLUSTER("{}") USER("{}"), "cluster \"c\": key \"server\" is missing"},
		{TAIL CLUSTER("{server: 'ftp://h'}") USER("{}"), "cluster \"c\": key \"server\" is \"ftp://h\": expected https:// "
			"or http://"},
		{TAIL CLUSTER("{server: 10.0.0.1}") USER("{}"), "is \"10.0.0.1\": expected "},
		{TAIL CLUSTER("{server: 'https://h, https://i'}") USER("{}"), "expected one URL"},
		{TAIL CLUSTER("{server: 'https://h?a=b'}") USER("{}"), "expected no query"},
		{TAIL CLUSTER("{server: 'https://h', proxy-url: 'ftp://p'}") USER("{}"), "key \"proxy-url\" begins with none of"},
		{TAIL CLUSTER("{server: 'https://h', certificate-authority-data: 'a b'}") USER("{}"),
			"cluster \"c\": key \"certificate-authority-data\" is not what is expected: PEM text in base64"},
		{TAIL CLUSTER("{server: 'https://h', certificate-authority-data: aGFsbG8=}") USER("{}"), "PEM text in base64"},
		{TAIL CLUSTER("{server: 'https://h', insecure-skip-tls-verify: 5}") USER("{}"),
			"key \"insecure-skip-tls-verify\" is the string \"5\", expected true or false"},
		{TAIL CLUSTER("{server: 'https://h', insecure-skip-tls-verify: true, certificate-authority: x}") USER("{}"),
			"exclude each other"},
		{TAIL PLAIN USER("{client-certificate: x}"), "user \"u\": key \"client-key\" is missing"},
		{TAIL PLAIN USER("{client-key: x}"), "key \"client-certificate\" is missing"},
		{TAIL PLAIN USER("{token: 'a b'}"), "user \"u\": key \"token\" has white space"},
		{TAIL PLAIN USER("{token: \"a\\r\\nX: y\"}"), "key \"token\" has white space"},
		{TAIL PLAIN USER("{token: [a]}"), "key \"token\" is a list, expected a string"},
		{TAIL PLAIN USER("{username: a, password: b}"), "key \"username\" is set, expected client-certificate, token"},
		{TAIL PLAIN USER("{as: a}"), "key \"as\" is set"},
		{TAIL PLAIN USER("{auth-provider: {name: oidc}}"), "key \"auth-provider\" is set"},
		{TAIL PLAIN USER("{exec: 5}"), "key \"exec\" is the string \"5\", expected an object"},
		{TAIL PLAIN USER("{exec: {command: x}}"), "user \"u\": exec: key \"apiVersion\" is \"\", expected client."},
		{TAIL PLAIN USER("{exec: {apiVersion: client.authentication.k8s.io/v1}}"), "exec: key \"command\" is missing"},
		{TAIL PLAIN USER("{exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Always}}"),
			"key \"interactiveMode\" is \"Always\", expected Never"},
		{TAIL PLAIN USER("{exec: {apiVersion: client.authentication.k8s.io/v1, command: x, args: [[]]}}"),
			"key \"args\": word 1 is no text"},
		{TAIL PLAIN USER("{exec: {apiVersion: client.authentication.k8s.io/v1, command: x, env: [{name: a=b}]}}"),
			"key \"env\": the name \"a=b\""},
		{TAIL PLAIN USER("{exec: {apiVersion: client.authentication.k8s.io/v1, command: x, env: [5]}}"),
			"key \"env\" holds something else"},
		{"a: &a {b: *a}\n", "nested too deeply"},
		{"{}: 5\n? [a]\n: 6\n", "not valid JSON"},
		{"? [a]\n: 6\n", "a key that is no text"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct kube_config config;
		struct err err = ERR_INIT;

		if (parse(&config, cases[i].text, &err) != -EINVAL)
			fail_msg("taken: %s", cases[i].text);
		if (!strstr(err.text, cases[i].words) || strncmp(err.text, "kubeconfig /etc/k/config", 24) != 0)
			fail_msg("\"%s\" lacks \"%s\"", err.text, cases[i].words);
		kube_config_done(&config);
	}
}

static void secrets_are_not_repeated(void **state)
{
	static const char *const texts[] = {
		TAIL CLUSTER("{server: 'https://bob:hidden@h'}") USER("{}"),
		TAIL CLUSTER("{server: 'https://h', proxy-url: 'x://bob:hidden@h'}") USER("{}"),
		TAIL PLAIN USER("{token: 'hidden hidden'}"),
		TAIL PLAIN USER("{username: bob, password: hidden}"),
		TAIL PLAIN USER("{client-certificate: x, client-key-data: hidden}"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct kube_config config;
		struct err err = ERR_INIT;

		assert_int_equal(parse(&config, texts[i], &err), -EINVAL);
		assert_null(strstr(err.text, "hidden"));
		kube_config_done(&config);
	}
}

static void unfolding_is_limited(void **state)
{
	struct buf text = BUF_INIT(0);
	struct kube_config config;
	struct err err = ERR_INIT;

	buf_add_str(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
	for (int i = 1; i < 20; i++) {
		buf_printf(&text, "a%d: &a%d [", i, i);
		for (int n = 0; n < 10; n++)
			buf_printf(&text, "%s*a%d", n ? ", " : "", i - 1);
		buf_add_str(&text, "]\n");
	}
	assert_int_equal(parse(&config, buf_text(&text), &err), -EINVAL);
	assert_non_null(strstr(err.text, "too many values"));
	kube_config_done(&config);
	buf_free(&text);
}

static void several_servers(void **state)
{
	struct kube_config config = {0};
	struct err err = ERR_INIT;
	struct buf many = BUF_INIT(0);

	assert_int_equal(kube_config_add_servers(&config, " https://a:1/ ,http://[::1]:2,, https://c/x/", "urls", &err), 0);
	assert_int_equal(config.server_count, 3);
	assert_string_equal(config.servers[0].url, "https://a:1");
	assert_string_equal(config.servers[1].url, "http://[::1]:2");
	assert_string_equal(config.servers[2].url, "https://c/x");
	kube_config_done(&config);
	assert_int_equal(kube_config_add_servers(&config, " , ", "urls", &err), -EINVAL);
	assert_string_equal(err.text, "urls is \" , \", expected a URL such as https://10.0.0.1:6443");
	for (int i = 0; i < 17; i++)
		buf_printf(&many, "https://h%d,", i);
	assert_int_equal(kube_config_add_servers(&config, buf_text(&many), "urls", &err), -EINVAL);
	assert_non_null(strstr(err.text, "more than 16"));
	kube_config_done(&config);
	buf_free(&many);
}

/* The command line's URLs replace the kubeconfig's server; its certificates and names stay. */
static void servers_over_kubeconfig(void **state)
{
	static const char text[] = TAIL CLUSTER("{tls-server-name: n, certificate-authority-data: " PEM_64 "}") USER("{token: t}");
	struct kube_config config = {0};

	assert_int_equal(kube_config_parse(&config, text, strlen(text), "k", "https://a:1,https://b:2", NULL), 0);
	assert_int_equal(config.server_count, 2);
	assert_string_equal(config.servers[1].connect_to, "n:2:b:2");
	assert_string_equal(config.token.text, "t");
	assert_non_null(config.ca.text);
	kube_config_done(&config);
}

/* -- files -- */

static char directory[SCRATCH_MAX];

static const char *in_directory(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void write_file(const char *name, const char *text)
{
	assert_int_equal(file_write_atomic(in_directory(name), text, strlen(text), 0600, false, NULL), 0);
}

static int make_directory(void **state)
{
	return scratch_directory(directory, sizeof(directory), "kube-config");
}

static int remove_directory(void **state)
{
	static const char *const names[] = {"token", "ca.crt", "config"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(in_directory(names[i]));
	return rmdir(directory);
}

static void in_a_pod(void **state)
{
	struct kube_config config = {0};
	struct err err = ERR_INIT;

	write_file("token", "  secret\n");
	write_file("ca.crt", PEM);
	assert_int_equal(kube_config_pod(&config, "fd00::1", "443", directory, &err), 0);
	assert_string_equal(config.servers[0].url, "https://[fd00::1]:443");
	assert_string_equal(config.token.text, "secret");
	assert_string_equal(config.ca.text, PEM);
	kube_config_done(&config);
	assert_int_equal(kube_config_pod(&config, NULL, "443", directory, &err), -EINVAL);
	assert_non_null(strstr(err.text, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"));
	kube_config_done(&config);
	write_file("ca.crt", "nothing\n");
	assert_int_equal(kube_config_pod(&config, "10.96.0.1", "443", directory, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/ca.crt: holds no \"-----BEGIN \""));
	kube_config_done(&config);
	write_file("ca.crt", PEM);
	write_file("token", "a b\n");
	assert_int_equal(kube_config_pod(&config, "10.96.0.1", "443", directory, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/token: has white space"));
	kube_config_done(&config);
	unlink(in_directory("token"));
	assert_int_equal(kube_config_pod(&config, "10.96.0.1", "443", directory, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/token: "));
	kube_config_done(&config);
}

static void a_token_is_rotated(void **state)
{
	struct kube_file file = {.path = strdup(in_directory("token"))};
	struct utimbuf past = {1000, 1000};
	struct err err = ERR_INIT;

	write_file("token", "one");
	assert_int_equal(kube_file_refresh(&file, true, &err), 0);
	assert_string_equal(file.text, "one");
	/* Replaced, as kubelet does it. */
	write_file("token", "two");
	assert_int_equal(kube_file_refresh(&file, true, &err), 0);
	assert_string_equal(file.text, "two");
	/* Rewritten in place. */
	assert_int_equal(utime(file.path, &past), 0);
	assert_int_equal(file_put(file.path, "six"), 0);
	assert_int_equal(kube_file_refresh(&file, true, &err), 0);
	assert_string_equal(file.text, "six");
	/* Gone, empty or unfit: the last good one stays. */
	write_file("token", "\n");
	assert_int_equal(kube_file_refresh(&file, true, &err), -EINVAL);
	unlink(file.path);
	assert_int_equal(kube_file_refresh(&file, true, &err), -ENOENT);
	assert_string_equal(file.text, "six");
	kube_file_done(&file);
}

/* What cannot be seen from outside (a file that keeps its time and size) is found after a 401, or a minute. */
static void a_token_changes_unseen(void **state)
{
	struct utimbuf past = {1000, 1000};
	struct kube_file file = {.path = strdup(in_directory("token"))};

	write_file("token", "one");
	utime(file.path, &past);
	assert_int_equal(kube_file_refresh(&file, true, NULL), 0);
	assert_int_equal(file_put(file.path, "two"), 0);
	utime(file.path, &past);
	assert_int_equal(kube_file_refresh(&file, true, NULL), 0);
	assert_string_equal(file.text, "one");
	file.read_ms -= 60001;
	assert_int_equal(kube_file_refresh(&file, true, NULL), 0);
	assert_string_equal(file.text, "two");
	unlink(file.path);
	kube_file_done(&file);
}

static void client_from_options(void **state)
{
	struct event_base *base = event_base_new();
	struct kube_options options = {.kubeconfig = in_directory("config")};
	struct err err = ERR_INIT;
	struct kube *kube = NULL;

	assert_int_equal(kube_new(&options, base, &kube, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/config: "));
	write_file("config", TAIL CLUSTER("{server: 'https://h', certificate-authority: none}") USER("{}"));
	assert_int_equal(kube_new(&options, base, &kube, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/none: cannot be read"));
	write_file("config", TAIL CLUSTER("{server: 'https://h:1'}") USER("{}"));
	assert_int_equal(kube_new(&options, base, &kube, &err), 0);
	assert_string_equal(kube_server(kube), "https://h:1");
	kube_free(kube);
	options = (struct kube_options){.api_url = "http://127.0.0.1:1"};
	assert_int_equal(kube_new(&options, base, &kube, &err), 0);
	assert_string_equal(kube_server(kube), "http://127.0.0.1:1");
	kube_free(kube);
	options = (struct kube_options){.api_url = "", .kubeconfig = ""};
	unsetenv("KUBERNETES_SERVICE_HOST");
	assert_int_equal(kube_new(&options, base, &kube, &err), -EINVAL);
	assert_non_null(strstr(err.text, "this is no pod"));
	event_base_free(base);
}

static void base64(void **state)
{
	static const char *const pairs[][2] = {{"", ""}, {"a", "YQ=="}, {"ab", "YWI="}, {"abc", "YWJj"}, {"abc\xff", "YWJj/w=="}};
	static const char *const bad[] = {"YQ", "YQ=", "Y===", "====", "YQ==YQ==", "Y Q=", "YQ==\x01", "AAAA", "YQA="};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		_cleanup_free_ char *there = kube_base64_encode(pairs[i][0]), *back = kube_base64_decode(pairs[i][1]);

		assert_string_equal(there, pairs[i][1]);
		assert_string_equal(back, pairs[i][0]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_null(kube_base64_decode(bad[i]));
	_cleanup_free_ char *lines = kube_base64_decode("YW\r\nJj\n");

	assert_string_equal(lines, "abc");
}

static void escaping(void **state)
{
	struct buf buf = BUF_INIT(0);

	assert_int_equal(kube_escape(&buf, "aZ09-._~ /?&=%\xc3\xa4,"), 0);
	assert_string_equal(buf_text(&buf), "aZ09-._~%20%2F%3F%26%3D%25%C3%A4%2C");
	buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inline_data),
		cmocka_unit_test(paths_are_relative),
		cmocka_unit_test(server_name),
		cmocka_unit_test(insecure),
		cmocka_unit_test(plugin),
		cmocka_unit_test(json_and_anchors),
		cmocka_unit_test(bad_input),
		cmocka_unit_test(secrets_are_not_repeated),
		cmocka_unit_test(unfolding_is_limited),
		cmocka_unit_test(several_servers),
		cmocka_unit_test(servers_over_kubeconfig),
		cmocka_unit_test_setup_teardown(in_a_pod, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(a_token_is_rotated, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(a_token_changes_unseen, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(client_from_options, make_directory, remove_directory),
		cmocka_unit_test(base64),
		cmocka_unit_test(escaping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
