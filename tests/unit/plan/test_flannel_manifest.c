/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "flannel/flannel.h"

#include <errno.h>
#include <string.h>

#define CNI "{\"name\":\"flannel\",\"type\":\"flannel\"}"
#define NET "{\"Network\":\"10.244.0.0/16\",\"Backend\":{\"Type\":\"vxlan\",\"VNI\":1,\"Port\":8472}}"

static void assert_texts(const char *text, const char *net, const char *cni)
{
	_cleanup_free_ char *got_net = NULL;
	_cleanup_free_ char *got_cni = NULL;
	struct err err = ERR_INIT;

	if (flannel_manifest_parse(text, strlen(text), "t.yaml", &got_net, &got_cni, &err) < 0)
		fail_msg("%s\n%s", text, err_text(&err));
	assert_string_equal(got_net ? got_net : "(none)", net);
	assert_string_equal(got_cni ? got_cni : "(none)", cni);
}

static void accepted(void **state)
{
	assert_texts(NET, NET, "(none)");
	assert_texts(" \n" NET "\n", " \n" NET "\n", "(none)");
	assert_texts("kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: kube-flannel-cfg\n  namespace: "
		     "kube-flannel\n"
		     "  labels: {a: [b, c], d: {e: f}}\ndata:\n  cni-conf.json: |\n    " CNI
		     "\n  net-conf.json: |\n    " NET "\n",
		NET "\n", CNI "\n");
	/* kubectl sorts: the kind comes after the data */
	assert_texts("apiVersion: v1\ndata:\n  net-conf.json: '" NET "'\n  other: x\nkind: ConfigMap\n", NET,
		"(none)");
	assert_texts("apiVersion: v1\nkind: ConfigMap\ndata:\n  cni-conf.json: '" CNI "'\n", "(none)", CNI);
	/* among other documents */
	assert_texts("---\nkind: Namespace\napiVersion: v1\nmetadata: {name: x}\n---\n---\n- a\n- "
		     "b\n---\nkind: Secret\n"
		     "data: {net-conf.json: wrong}\n---\nkind: ConfigMap\ndata: {unrelated: 1}\n---\nkind: "
		     "ConfigMap\n"
		     "data:\n  net-conf.json: '" NET
		     "'\n---\nkind: ConfigMap\ndata:\n  net-conf.json: second\n"
		     "  cni-conf.json: '" CNI "'\n",
		NET, CNI);
	assert_texts("{\"apiVersion\":\"v1\",\"data\":{\"net-conf.json\":\"{\\\"Network\\\":\\\"10.1.0.0/"
		     "16\\\"}\",\"x\":7},"
		     "\"kind\":\"ConfigMap\"}",
		"{\"Network\":\"10.1.0.0/16\"}", "(none)");
	/* merge keys, complex keys, aliases elsewhere */
	assert_texts(
		"kind: ConfigMap\nx: &a {b: c}\ny: *a\n? [1, 2]\n: {z: *a}\ndata:\n  net-conf.json: '" NET
		"'\n",
		NET, "(none)");
}

static void refused(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *words[2];
	} cases[] = {
		{"", -ENOENT, {"t.yaml", "ConfigMap"}},
		{"# nothing\n", -ENOENT, {"ConfigMap"}},
		{"just words", -ENOENT, {"ConfigMap"}},
		{"[1,2]", -ENOENT, {"ConfigMap"}},
		{"kind: ConfigMap\ndata: {}\n", -ENOENT, {"net-conf.json"}},
		{"kind: ConfigMap\ndata: text\n", -ENOENT, {"net-conf.json"}},
		{"kind: Node\ndata: {net-conf.json: x}\n", -ENOENT, {"net-conf.json"}},
		{"{\"kind\":\"Node\",\"apiVersion\":\"v1\"}", -ENOENT, {"net-conf.json"}},
		{"{\"kind\":\"ConfigMap\",\"data\":[]}", -ENOENT, {"net-conf.json"}},
		{"{\"kind\":\"ConfigMap\"", -EINVAL, {"JSON", "line 1"}},
		{"{\"kind\":\"ConfigMap\",\"data\":{\"net-conf.json\":{}}}", -EINVAL,
			{"\"net-conf.json\"", "text"}},
		{"{\"kind\":\"ConfigMap\",\"data\":{\"net-conf.json\":\"a\\u0000b\"}}", -EINVAL,
			{"\"net-conf.json\"", "text"}},
		{"kind: ConfigMap\ndata:\n  net-conf.json: {\"Network\": \"10.1.0.0/16\"}\n", -EINVAL,
			{"\"net-conf.json\"", "text"}},
		{"kind: ConfigMap\nx: &a text\ndata:\n  net-conf.json: *a\n", -EINVAL,
			{"\"net-conf.json\"", "text"}},
		{"kind: ConfigMap\ndata:\n  net-conf.json: \"unclosed\n", -EINVAL, {"YAML", "line"}},
		{"kind: ConfigMap\ndata:\n\t- x\n", -EINVAL, {"YAML", "line 3"}},
		{"a: b\n  c: d\n", -EINVAL, {"YAML", "line 2"}},
		{"x: *nobody\n", -ENOENT, {"ConfigMap"}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *net = NULL, *cni = NULL;
		struct err err = ERR_INIT;
		int r = flannel_manifest_parse(
			cases[i].text, strlen(cases[i].text), "t.yaml", &net, &cni, &err);

		if (r != cases[i].code)
			fail_msg("%s\ngives %d, expected %d: %s", cases[i].text, r, cases[i].code,
				err_text(&err));
		assert_null(net);
		assert_null(cni);
		for (size_t w = 0; w < ARRAY_SIZE(cases[i].words) && cases[i].words[w]; w++)
			if (!strstr(err_text(&err), cases[i].words[w]))
				fail_msg("%s\n\"%s\" is not in: %s", cases[i].text, cases[i].words[w],
					err_text(&err));
	}
}

/* Anchors that would unfold to 10^9 nodes, nesting without end, and plain size. */
static void bombs(void **state)
{
	_cleanup_(buf_free) struct buf buf = {0};
	char *net = NULL, *cni = NULL;
	struct err err = ERR_INIT;

	buf_add_str(&buf, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 10; i++) {
		buf_printf(&buf, "a%d: &a%d [", i, i);
		for (int j = 0; j < 10; j++)
			buf_printf(&buf, "%s*a%d", j ? "," : "", i - 1);
		buf_add_str(&buf, "]\n");
	}
	assert_int_equal(flannel_manifest_parse(buf_text(&buf), buf.len, "t", &net, &cni, &err), -ENOENT);

	buf_reset(&buf);
	for (int i = 0; i < 10000; i++)
		buf_add_str(&buf, "[");
	assert_int_equal(flannel_manifest_parse(buf_text(&buf), buf.len, "t", &net, &cni, &err), -EINVAL);
	buf_reset(&buf);
	for (int i = 0; i < 10000; i++)
		buf_add_str(&buf, "- ");
	assert_int_equal(flannel_manifest_parse(buf_text(&buf), buf.len, "t", &net, &cni, &err), -ENOENT);
	buf_reset(&buf);
	for (int i = 0; i < 10000; i++)
		buf_add_str(&buf, "{\"a\":");
	assert_int_equal(flannel_manifest_parse(buf_text(&buf), buf.len, "t", &net, &cni, &err), -EINVAL);

	buf_reset(&buf);
	for (int i = 0; i < 200000; i++)
		buf_add_str(&buf, "# abcdefgh");
	assert_int_equal(flannel_manifest_parse(buf_text(&buf), buf.len, "t", &net, &cni, &err), -EMSGSIZE);
	assert_null(net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepted),
		cmocka_unit_test(refused),
		cmocka_unit_test(bombs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
