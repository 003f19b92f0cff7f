/* SPDX-License-Identifier: Apache-2.0
 *
 * Properties of BIRD's configuration that golden files cannot show: that no text from outside gets out of its place,
 * and size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "model/selector.h"
#include "plan/bird.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What would open something new, if it stood in the text as it is. */
static const char *const evils[] = {"x\"; } evil{", "x\nevil{", "x'evil{", "x\\\"evil{", "x/* evil{", "x# evil{", "evil{", "x\r\nevil{",
	"\xff\"evil{", "*\"; evil{"};

static struct prefix prefix_of(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

/* One cluster in which every text can be another. */
struct cluster {
	struct node nodes[2];
	struct bgp_peer peer;
	struct bgp_filter filter;
	struct bgp_filter_rule rule;
	struct bgp_config config;
	struct felix felix;
	char ignored[1][IFNAMSIZ];
	char *filter_names[1];
	const struct node *node_list[2];
	const struct bgp_peer *peer_list[1];
	const struct bgp_filter *filter_list[1];
	struct bird_input input;
	const char *password;
	unsigned complaints;
};

static const char *secret(void *ctx, const struct secret_ref *ref)
{
	return ((struct cluster *)ctx)->password;
}

static void complain(void *ctx, const char *object, const char *text)
{
	((struct cluster *)ctx)->complaints++;
	assert_null(strpbrk(object, "\r\n"));
	assert_null(strpbrk(text, "\r\n"));
}

static void init_peer(struct cluster *cluster)
{
	cluster->filter_names[0] = "filter";
	cluster->peer = (struct bgp_peer){.name = "peer", .as_number = 65001, .source_node_ip = true,
		.password = {.name = "secret", .key = "key"}, .filters = cluster->filter_names, .filter_count = 1};
	addr_parse("10.0.0.254", &cluster->peer.peer_ip);
	cluster->rule = (struct bgp_filter_rule){.accept = true, .min_len = -1, .max_len = -1, .interface = "eth0"};
	cluster->filter = (struct bgp_filter){.name = "filter"};
	cluster->filter.import[FAMILY_4] = &cluster->rule;
	cluster->filter.import_count[FAMILY_4] = 1;
	cluster->peer_list[0] = &cluster->peer;
	cluster->filter_list[0] = &cluster->filter;
}

static void init(struct cluster *cluster, struct labels *labels)
{
	*cluster = (struct cluster){.password = "fine", .felix = {.interface_prefix = "cali"}};
	cluster->nodes[0] = (struct node){.name = "a", .labels = labels};
	cluster->nodes[1] = (struct node){.name = "b", .labels = labels};
	cluster->nodes[0].address[FAMILY_4] = prefix_of("10.0.0.1/24");
	cluster->nodes[1].address[FAMILY_4] = prefix_of("10.0.0.2/24");
	cluster->node_list[0] = &cluster->nodes[0];
	cluster->node_list[1] = &cluster->nodes[1];
	cluster->config = (struct bgp_config){.mesh = true, .as_number = 64512, .listen_port = 179,
		.ignored_interfaces = cluster->ignored, .ignored_interface_count = 1};
	snprintf(cluster->ignored[0], IFNAMSIZ, "docker0");
	init_peer(cluster);
	cluster->input = (struct bird_input){.node_name = "a", .nodes = cluster->node_list, .node_count = 2,
		.config = &cluster->config, .peers = cluster->peer_list, .peer_count = 1, .filters = cluster->filter_list,
		.filter_count = 1, .felix = &cluster->felix, .secret = secret, .secret_ctx = cluster, .complain = complain,
		.complain_ctx = cluster};
}

/* Puts evil in the place'th text; false: there are no more. */
static bool spoil(struct cluster *cluster, unsigned place, char *evil)
{
	switch (place) {
	case 0:
		cluster->nodes[1].name = evil;
		return true;
	case 1:
		cluster->nodes[0].name = evil;
		cluster->input.node_name = evil;
		return true;
	case 2:
		cluster->peer.name = evil;
		return true;
	case 3:
		cluster->filter.name = evil;
		cluster->filter_names[0] = evil;
		return true;
	case 4:
		cluster->filter_names[0] = evil;
		return true;
	case 5:
		snprintf(cluster->rule.interface, IFNAMSIZ, "%.15s", evil);
		return true;
	case 6:
		snprintf(cluster->ignored[0], IFNAMSIZ, "%.15s", evil);
		return true;
	case 7:
		snprintf(cluster->felix.interface_prefix, sizeof(cluster->felix.interface_prefix), "%s", evil);
		return true;
	case 8:
		cluster->input.log_path = evil;
		return true;
	case 9:
		cluster->peer.password.name = cluster->peer.password.key = evil;
		cluster->password = NULL;
		return true;
	default:
		return false;
	}
}

/* Between quotation marks a text may have what it likes but these. */
static bool stands_in_quotes(const char *text, const char *what)
{
	const char *line = what;
	unsigned quotes = 0;

	while (line > text && line[-1] != '\n')
		line--;
	for (; line < what; line++)
		quotes += *line == '"';
	return quotes % 2;
}

static void assert_harmless(const struct buf *text)
{
	for (const char *found = buf_text(text); (found = strstr(found, "evil{")); found++)
		assert_true(stands_in_quotes(buf_text(text), found));
}

static void no_text_leaves_its_place(void **state)
{
	struct labels *labels = labels_new();

	for (size_t i = 0; i < ARRAY_SIZE(evils); i++) {
		struct cluster cluster;
		char evil[64];

		snprintf(evil, sizeof(evil), "%s", evils[i]);
		init(&cluster, labels);
		for (unsigned place = 0; spoil(&cluster, place, evil); place++, init(&cluster, labels)) {
			_cleanup_(buf_free) struct buf text = {0};

			assert_int_equal(bird_build(&cluster.input, &text), 0);
			assert_harmless(&text);
			assert_non_null(strstr(buf_text(&text), "protocol kernel kernel6"));
		}
	}
	labels_free(&labels);
}

static void a_password_is_put_as_it_is_or_not_at_all(void **state)
{
	struct labels *labels = labels_new();

	for (size_t i = 0; i < ARRAY_SIZE(evils); i++) {
		_cleanup_(buf_free) struct buf text = {0};
		struct cluster cluster;
		char expected[80];

		init(&cluster, labels);
		cluster.password = evils[i];
		assert_int_equal(bird_build(&cluster.input, &text), 0);
		snprintf(expected, sizeof(expected), "\tpassword \"%s\";\n", evils[i]);
		if (strpbrk(evils[i], "\"\r\n")) {
			assert_null(strstr(buf_text(&text), "password"));
			assert_null(strstr(buf_text(&text), "Global_10_0_0_254"));
			assert_int_equal(cluster.complaints, 1);
		} else {
			assert_non_null(strstr(buf_text(&text), expected));
			assert_int_equal(cluster.complaints, 0);
		}
	}
	labels_free(&labels);
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	while ((text = strstr(text, what))) {
		text++;
		n++;
	}
	return n;
}

#define MANY 5000

static void a_large_mesh(void **state)
{
	_cleanup_(buf_free) struct buf text = {0};
	_cleanup_free_ struct node *nodes = calloc(MANY, sizeof(*nodes));
	_cleanup_free_ const struct node **list = calloc(MANY, sizeof(*list));
	_cleanup_free_ char(*names)[16] = calloc(MANY, 16);
	struct labels *labels = labels_new();
	struct cluster cluster;

	assert_true(nodes && list && names);
	init(&cluster, labels);
	for (unsigned i = 0; i < MANY; i++) {
		struct addr addr = addr_from_4(0x0a000001 + i);

		snprintf(names[i], 16, i ? "node-%u" : "a", i);
		nodes[i] = (struct node){.name = names[i], .labels = labels};
		nodes[i].address[FAMILY_4] = (struct prefix){.addr = addr, .len = 8, .family = AF_INET};
		list[i] = &nodes[i];
	}
	cluster.input.nodes = list;
	cluster.input.node_count = MANY;
	cluster.input.peer_count = 0;
	assert_int_equal(bird_build(&cluster.input, &text), 0);
	assert_int_equal(count(buf_text(&text), "\nprotocol bgp "), MANY - 1);
	assert_int_equal(cluster.complaints, 0);
	labels_free(&labels);
}

/* Both ends compare text, so exactly one of them calls. */
static void one_end_is_passive(void **state)
{
	static const char *const pairs[][2] = {{"10.0.0.9/24", "10.0.0.10/24"}, {"10.0.0.1/24", "10.0.0.2/24"}, {"fd00::1/64", "fd00::a/64"}};
	struct labels *labels = labels_new();

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct cluster cluster;
		size_t passive = 0;

		init(&cluster, labels);
		cluster.input.peer_count = 0;
		for (int end = 0; end < 2; end++) {
			struct prefix prefix = prefix_of(pairs[i][end]);

			cluster.nodes[end].address[FAMILY_4] = (struct prefix){0};
			cluster.nodes[end].address[family_index(prefix.family)] = prefix;
		}
		for (int end = 0; end < 2; end++) {
			_cleanup_(buf_free) struct buf text = {0};

			cluster.input.node_name = end ? "b" : "a";
			assert_int_equal(bird_build(&cluster.input, &text), 0);
			assert_int_equal(count(buf_text(&text), "protocol bgp Mesh_"), 1);
			passive += count(buf_text(&text), "passive on;");
		}
		assert_int_equal(passive, 1);
	}
	labels_free(&labels);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_text_leaves_its_place),
		cmocka_unit_test(a_password_is_put_as_it_is_or_not_at_all),
		cmocka_unit_test(a_large_mesh),
		cmocka_unit_test(one_end_is_passive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
