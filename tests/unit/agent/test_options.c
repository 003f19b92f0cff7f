/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/options.h"
#include "../scratch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *no_environment[] = {NULL};

#define PARSE(options, environment, warnings, err, ...)                                            \
	({                                                                                         \
		char *argv_[] = {(char *)"tulled", __VA_ARGS__, NULL};                             \
		options_init(options);                                                             \
		options_parse(options, sizeof(argv_) / sizeof(argv_[0]) - 1, argv_, environment, warnings, err); \
	})

static void flannel_defaults_hold(void **state)
{
	struct options options;

	options_init(&options);
	assert_string_equal(options.etcd_endpoints, "http://127.0.0.1:4001,http://127.0.0.1:2379");
	assert_string_equal(options.etcd_prefix, "/coreos.com/network");
	assert_string_equal(options.subnet_file, "/run/flannel/subnet.env");
	assert_int_equal(options.renew_margin, 60);
	assert_false(options.ip_masq);
	assert_true(options.forward_rules);
	assert_int_equal(options.healthz_port, 0);
	assert_string_equal(options.healthz_ip, "0.0.0.0");
	assert_string_equal(options.kube_annotation_prefix, "flannel.alpha.coreos.com");
	options_free(&options);
}

static void words_parse_as_go_does(void **state)
{
	struct options options;
	struct err err = ERR_INIT;

	assert_int_equal(PARSE(&options, no_environment, NULL, &err, "-iface", "eth1", "--iface=10.0.0.1", "--ip-masq",
		"--iptables-forward-rules=false", "-v=4", "--etcd-prefix", "/a", "--etcd-prefix", "/b"), 0);
	assert_int_equal(options.iface.count, 2);
	assert_string_equal(options.iface.items[0], "eth1");
	assert_string_equal(options.iface.items[1], "10.0.0.1");
	assert_true(options.ip_masq);
	assert_false(options.forward_rules);
	assert_int_equal(options.verbosity, 4);
	assert_string_equal(options.etcd_prefix, "/b");
	assert_true(options_given(&options, "ip-masq"));
	assert_false(options_given(&options, "store"));
	options_free(&options);
}

static void bad_words_are_usage_errors(void **state)
{
	static const struct { const char *word, *value, *says; } cases[] = {
		{"--nonsense", "1", "there is no flag --nonsense"},
		{"--ip-masq", "true", "unexpected word \"true\""},
		{"--ip-masq=maybe", "--v=1", "--ip-masq: the value is \"maybe\", expected true or false"},
		{"--v", "eleven", "--v: the value is \"eleven\", expected a whole number from 0 to 10"},
		{"--subnet-lease-renew-margin=1440", "--v=1", "expected a whole number from 1 to 1439"},
		{"--v=1", "--iface", "--iface needs a value"},
		{"--", "x", "unexpected word \"--\""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct options options;
		struct err err = ERR_INIT;

		assert_true(PARSE(&options, no_environment, NULL, &err, (char *)cases[i].word, (char *)cases[i].value) < 0);
		if (!strstr(err_text(&err), cases[i].says))
			fail_msg("%s: %s", cases[i].word, err_text(&err));
		options_free(&options);
	}
}

static void environment_stands_behind_the_command_line(void **state)
{
	char *environment[] = {(char *)"FLANNELD_IFACE=eth7", (char *)"FLANNELD_ETCD_PREFIX=/env",
		(char *)"FLANNELD_V=", (char *)"FLANNELD_IP_MASQ=perhaps", (char *)"TULLED_NODE_NAME=n1", NULL};
	struct buf warnings = BUF_INIT(0);
	struct options options;
	struct err err = ERR_INIT;

	assert_int_equal(PARSE(&options, environment, &warnings, &err, "--etcd-prefix=/line"), 0);
	assert_string_equal(options.etcd_prefix, "/line");
	assert_int_equal(options.iface.count, 1);
	assert_string_equal(options.iface.items[0], "eth7");
	assert_int_equal(options.verbosity, 0);
	assert_string_equal(options.node_name, "n1");
	assert_false(options.ip_masq);
	assert_non_null(strstr(buf_text(&warnings), "--ip-masq: the value is \"perhaps\""));
	buf_free(&warnings);
	options_free(&options);
}

static int parse_file(const char *text, struct options *options, struct err *err)
{
	char path[SCRATCH_MAX], flag[64];
	int fd = scratch_file(path, sizeof(path), "options");
	int rc;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	snprintf(flag, sizeof(flag), "--config=%s", path);
	rc = PARSE(options, no_environment, NULL, err, flag, "--etcd-prefix=/line");
	unlink(path);
	return rc;
}

static void file_stands_behind_both(void **state)
{
	struct options options;
	struct err err = ERR_INIT;

	assert_int_equal(parse_file("# a comment\nstore: etcd\netcd-prefix: /file\niface:\n  - eth1\n  - eth2\nip-masq: true\n",
		&options, &err), 0);
	assert_string_equal(options.store, "etcd");
	assert_string_equal(options.etcd_prefix, "/line");
	assert_int_equal(options.iface.count, 2);
	assert_true(options.ip_masq);
	options_free(&options);
}

static void file_may_spell_as_kubernetes_does(void **state)
{
	struct options options;
	struct err err = ERR_INIT;

	assert_int_equal(parse_file("expressPath: Disabled\netcdPrefix: /file\n", &options, &err), 0);
	assert_string_equal(options.etcd_prefix, "/line");
	assert_int_equal(options_express_mark(&options), 0);
	options_free(&options);
	assert_int_equal(parse_file("expressPath: Enabled\n", &options, &err), 0);
	assert_int_equal(options_express_mark(&options), 0x00400000);
	options_free(&options);
}

static void bad_files_name_line_and_key(void **state)
{
	static const struct { const char *text, *says; } cases[] = {
		{"Store: etcd\nstoRe: 1\n", "line 2: key \"stoRe\" is no flag"},
		{"store: etcd\nnonsense: 1\n", "line 2: key \"nonsense\" is no flag"},
		{"v: many\n", "line 1: --v: the value is \"many\""},
		{"- a\n", "a list is only taken as the value of a flag"},
		{"store: {a: b}\n", "line 1: a flag's value is a mapping"},
		{"store: [unclosed\n", "not valid YAML"},
		{"just words\n", "expected a mapping"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct options options;
		struct err err = ERR_INIT;

		assert_true(parse_file(cases[i].text, &options, &err) < 0);
		if (!strstr(err_text(&err), cases[i].says))
			fail_msg("%s: %s", cases[i].text, err_text(&err));
		options_free(&options);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flannel_defaults_hold),
		cmocka_unit_test(words_parse_as_go_does),
		cmocka_unit_test(bad_words_are_usage_errors),
		cmocka_unit_test(environment_stands_behind_the_command_line),
		cmocka_unit_test(file_stands_behind_both),
		cmocka_unit_test(file_may_spell_as_kubernetes_does),
		cmocka_unit_test(bad_files_name_line_and_key),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
