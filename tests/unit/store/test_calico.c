/* SPDX-License-Identifier: Apache-2.0
 *
 * Calico's resources against golden files: test_calico FILE...
 *
 * A file is a row of cases: a line "== title", one object in JSON (or a list of objects, which are laid over each other
 * for node node-a with label rack=r1), a line "--", and what is expected: the model in words, "refused: …",
 * "remark: …". A case whose title begins with "everything said" or "every kind" is also tried with each single member
 * taken away: the model must tell the difference. With --write in front of the files, the expectations are written
 * anew; look at the difference then.
 */
#include "test_calico_text.h"
#include "test_policy_text.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NODE "node-a"

static void remark(void *ctx, const char *text)
{
	buf_printf(ctx, "remark: %s\n", text);
}

/* -- one object of each kind: parsed twice, both must be equal, and printed -- */

#define ONE(kind, call, call_again)                                                     \
	static int try_##kind(const json_t *object, const struct calico_remarks *remarks, struct buf *out, struct err *err) \
	{                                                                               \
		_cleanup_(kind##_free) struct kind *made = NULL, *again = NULL;         \
		int rc = call;                                                          \
                                                                                        \
		if (rc < 0 || !made)                                                    \
			return rc;                                                      \
		if ((call_again) < 0 || !kind##_equal(made, again))                     \
			return err_set(err, -EIO, "not equal to itself");               \
		text_##kind(out, made);                                                 \
		return 0;                                                               \
	}                                                                               \
	static bool same_##kind(const json_t *object, const json_t *other)              \
	{                                                                               \
		_cleanup_(kind##_free) struct kind *made = NULL, *again = NULL;         \
		const struct calico_remarks *remarks = NULL;                            \
		struct err *err = NULL;                                                 \
                                                                                        \
		(void)remarks;                                                          \
		if ((call) < 0)                                                         \
			return false;                                                   \
		object = other;                                                         \
		return (call_again) >= 0 && made && again && kind##_equal(made, again); \
	}

ONE(ippool, calico_ippool_parse(object, remarks, &made, err), calico_ippool_parse(object, NULL, &again, NULL))
ONE(ip_reservation, calico_ip_reservation_parse(object, remarks, &made, err),
	calico_ip_reservation_parse(object, NULL, &again, NULL))
ONE(cluster_info, calico_cluster_info_parse(object, &made, err), calico_cluster_info_parse(object, &again, NULL))
ONE(block, calico_block_parse(object, remarks, &made, err), calico_block_parse(object, NULL, &again, NULL))
ONE(node, calico_node_parse(object, remarks, &made, err), calico_node_parse(object, NULL, &again, NULL))
ONE(bgp_peer, calico_bgp_peer_parse(object, remarks, &made, err), calico_bgp_peer_parse(object, NULL, &again, NULL))
ONE(bgp_filter, calico_bgp_filter_parse(object, &made, err), calico_bgp_filter_parse(object, &again, NULL))
ONE(service, calico_service_parse(object, remarks, &made, err), calico_service_parse(object, NULL, &again, NULL))
ONE(endpoint_slice, calico_endpoint_slice_parse(object, remarks, &made, err),
	calico_endpoint_slice_parse(object, NULL, &again, NULL))

/* By what the object says it is. */
static int parse_policy(const json_t *object, const struct calico_remarks *remarks, struct policy **ret, struct err *err)
{
	const char *version = json_string_value(json_object_get(object, "apiVersion"));
	const char *kind = json_string_value(json_object_get(object, "kind"));

	if (strcmp(kind, "ClusterNetworkPolicy") == 0)
		return policy_parse_cluster(object, remarks, ret, err);
	if (strcmp(kind, "GlobalNetworkPolicy") == 0)
		return policy_parse_calico_global(object, remarks, ret, err);
	return strcmp(version, "networking.k8s.io/v1") == 0 ? policy_parse_kubernetes(object, remarks, ret, err)
							    : policy_parse_calico(object, remarks, ret, err);
}

static int parse_set(const json_t *object, const struct calico_remarks *remarks, struct network_set **ret, struct err *err)
{
	const char *kind = json_string_value(json_object_get(object, "kind"));

	return network_set_parse(object, strcmp(kind, "GlobalNetworkSet") == 0, remarks, ret, err);
}

ONE(policy, parse_policy(object, remarks, &made, err), parse_policy(object, NULL, &again, NULL))
ONE(tier, tier_parse(object, remarks, &made, err), tier_parse(object, NULL, &again, NULL))
ONE(host_endpoint, host_endpoint_parse(object, remarks, &made, err), host_endpoint_parse(object, NULL, &again, NULL))
ONE(auto_hosts, auto_hosts_parse(object, remarks, &made, err), auto_hosts_parse(object, NULL, &again, NULL))
ONE(network_set, parse_set(object, remarks, &made, err), parse_set(object, NULL, &again, NULL))

static struct endpoint_pool *pool;

static int try_pod(const json_t *object, const struct calico_remarks *remarks, struct buf *out, struct err *err)
{
	struct endpoint *made = NULL, *again = NULL;
	int rc = endpoint_parse(object, pool, remarks, &made, err);

	if (rc < 0)
		return rc;
	if (endpoint_parse(object, pool, NULL, &again, NULL) < 0 || !endpoint_equal(made, again))
		rc = err_set(err, -EIO, "not equal to itself");
	text_endpoint(out, made);
	endpoint_free(pool, &made);
	endpoint_free(pool, &again);
	return rc;
}

static bool same_pod(const json_t *object, const json_t *other)
{
	struct endpoint *a = NULL, *b = NULL;
	bool same = endpoint_parse(object, pool, NULL, &a, NULL) == 0 && endpoint_parse(other, pool, NULL, &b, NULL) == 0 &&
		    endpoint_equal(a, b);

	endpoint_free(pool, &a);
	endpoint_free(pool, &b);
	return same;
}

#define LABELS(kind)                                                                                                        \
	static int try_##kind(const json_t *object, const struct calico_remarks *remarks, struct buf *out, struct err *err) \
	{                                                                                                                   \
		_cleanup_(labels_free) struct labels *labels = NULL;                                                        \
		int rc = kind##_labels_parse(object, &labels, err);                                                         \
                                                                                                                            \
		if (rc == 0)                                                                                                \
			text_labels(out, labels);                                                                           \
		return rc;                                                                                                  \
	}                                                                                                                   \
	static bool same_##kind(const json_t *object, const json_t *other)                                                  \
	{                                                                                                                   \
		_cleanup_(labels_free) struct labels *a = NULL, *b = NULL;                                                  \
                                                                                                                            \
		return kind##_labels_parse(object, &a, NULL) == 0 && kind##_labels_parse(other, &b, NULL) == 0 &&           \
		       labels_equal(a, b);                                                                                  \
	}

LABELS(namespace)
LABELS(service_account)

static int try_ipam_config(const json_t *object, const struct calico_remarks *remarks, struct buf *out, struct err *err)
{
	struct ipam_config config;
	int rc = calico_ipam_config_parse(object, &config, err);

	if (rc == 0)
		text_ipam_config(out, &config);
	return rc;
}

static bool same_ipam_config(const json_t *object, const json_t *other)
{
	struct ipam_config a, b;

	return calico_ipam_config_parse(object, &a, NULL) == 0 && calico_ipam_config_parse(other, &b, NULL) == 0 &&
	       ipam_config_equal(&a, &b);
}

/* -- lists of objects -- */

static const json_t *named(const json_t *list, const char *name)
{
	const json_t *object;
	size_t i;

	json_array_foreach((json_t *)list, i, object) {
		const char *text = json_string_value(json_object_get(json_object_get(object, "metadata"), "name"));

		if (text && strcmp(text, name) == 0)
			return object;
	}
	return NULL;
}

static struct felix merge_felix(const json_t *list, const struct calico_remarks *remarks)
{
	_cleanup_(labels_free) struct labels *labels = labels_new();
	const json_t *objects[16];
	size_t count = 0;

	labels_set(labels, "rack", "r1");
	for (; count < json_array_size(list) && count < ARRAY_SIZE(objects); count++)
		objects[count] = json_array_get(list, count);
	return calico_felix_merge(objects, count, NODE, labels, remarks);
}

static int try_felix(const json_t *list, const struct calico_remarks *remarks, struct buf *out, struct err *err)
{
	struct felix felix = merge_felix(list, remarks);

	text_felix(out, &felix);
	return 0;
}

static bool same_felix(const json_t *list, const json_t *other)
{
	struct felix a = merge_felix(list, NULL), b = merge_felix(other, NULL);

	return felix_equal(&a, &b);
}

static int try_bgp_config(const json_t *list, const struct calico_remarks *remarks, struct buf *out, struct err *err)
{
	_cleanup_(bgp_config_free) struct bgp_config *config = NULL, *again = NULL;
	const json_t *cluster = named(list, "default"), *node = named(list, "node." NODE), *other = named(list, "node.other");
	int rc = calico_bgp_config_merge(cluster, node, remarks, &config, err);

	if (rc < 0)
		return rc;
	if (calico_bgp_config_merge(cluster, node, NULL, &again, NULL) < 0 || !bgp_config_equal(config, again))
		return err_set(err, -EIO, "not equal to itself");
	text_bgp_config(out, config);
	if (other)
		buf_printf(out, "  other listens on %u\n", calico_bgp_listen_port(other, remarks));
	return 0;
}

static bool same_bgp_config(const json_t *list, const json_t *other)
{
	_cleanup_(bgp_config_free) struct bgp_config *a = NULL, *b = NULL;

	return calico_bgp_config_merge(named(list, "default"), NULL, NULL, &a, NULL) == 0 &&
	       calico_bgp_config_merge(named(other, "default"), NULL, NULL, &b, NULL) == 0 && bgp_config_equal(a, b);
}

/* -- kinds -- */

static const struct kind_test {
	const char *kind, *version; /* version null: whatever it is */
	int (*try)(const json_t *json, const struct calico_remarks *remarks, struct buf *out, struct err *err);
	bool (*same)(const json_t *json, const json_t *other);
} kinds[] = {
	{"IPPool", NULL, try_ippool, same_ippool},
	{"IPReservation", NULL, try_ip_reservation, same_ip_reservation},
	{"IPAMConfiguration", NULL, try_ipam_config, same_ipam_config},
	{"ClusterInformation", NULL, try_cluster_info, same_cluster_info},
	{"IPAMBlock", NULL, try_block, same_block},
	{"Node", NULL, try_node, same_node},
	{"FelixConfiguration", NULL, try_felix, same_felix},
	{"BGPConfiguration", NULL, try_bgp_config, same_bgp_config},
	{"BGPPeer", NULL, try_bgp_peer, same_bgp_peer},
	{"BGPFilter", NULL, try_bgp_filter, same_bgp_filter},
	{"Service", NULL, try_service, same_service},
	{"EndpointSlice", NULL, try_endpoint_slice, same_endpoint_slice},
	{"NetworkPolicy", "networking.k8s.io/v1", try_policy, same_policy},
	{"NetworkPolicy", "projectcalico.org/v3", try_policy, same_policy},
	{"GlobalNetworkPolicy", NULL, try_policy, same_policy},
	{"ClusterNetworkPolicy", NULL, try_policy, same_policy},
	{"Tier", NULL, try_tier, same_tier},
	{"NetworkSet", NULL, try_network_set, same_network_set},
	{"GlobalNetworkSet", NULL, try_network_set, same_network_set},
	{"HostEndpoint", NULL, try_host_endpoint, same_host_endpoint},
	{"KubeControllersConfiguration", NULL, try_auto_hosts, same_auto_hosts},
	{"Pod", NULL, try_pod, same_pod},
	{"Namespace", NULL, try_namespace, same_namespace},
	{"ServiceAccount", NULL, try_service_account, same_service_account},
};

static const struct kind_test *kind_of(const json_t *json)
{
	const json_t *first = json_is_array(json) ? json_array_get(json, 0) : json;
	const char *kind = json_string_value(json_object_get(first, "kind"));
	const char *version = json_string_value(json_object_get(first, "apiVersion"));

	for (size_t i = 0; kind && i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kind, kinds[i].kind) == 0 && (!kinds[i].version || (version && strcmp(version, kinds[i].version) == 0)))
			return &kinds[i];
	return NULL;
}

static void try_case(const json_t *json, struct buf *out)
{
	struct calico_remarks remarks = {remark, out};
	const struct kind_test *kind = kind_of(json);
	struct err err = ERR_INIT;

	if (!kind)
		buf_add_str(out, "no such kind\n");
	else if (kind->try(json, &remarks, out, &err) < 0)
		buf_printf(out, "refused: %s\n", err_text(&err));
}

/* -- does every member tell? -- */

/* What says the default, or the same as another member. */
static const char *const idle[] = {"vxlanMode", "podCIDR", "autoAllocateBlocks", "policyTypes", "types"};

struct sweep {
	const struct kind_test *kind;
	const json_t *original;
	json_t *changed;
	unsigned failed;
};

static void check_difference(struct sweep *sweep, const char *what)
{
	for (size_t i = 0; i < ARRAY_SIZE(idle); i++)
		if (strcmp(idle[i], what) == 0)
			return;
	if (!sweep->kind->same(sweep->original, sweep->changed))
		return;
	printf("%s: without %s it is the same\n", sweep->kind->kind, what);
	sweep->failed++;
}

static void sweep_members(struct sweep *sweep, json_t *at)
{
	_cleanup_(json_cleanup) json_t *members = json_copy(at);
	const char *key;
	json_t *value;
	size_t i;

	if (json_is_object(members))
		json_object_foreach(members, key, value) {
			json_object_del(at, key);
			check_difference(sweep, key);
			json_object_set(at, key, value);
			sweep_members(sweep, value);
		}
	else
		json_array_foreach(members, i, value) {
			char what[32];

			snprintf(what, sizeof(what), "entry %zu", i);
			json_array_remove(at, i);
			check_difference(sweep, what);
			json_array_insert(at, i, value);
			sweep_members(sweep, value);
		}
}

static bool every_member_tells(const json_t *json)
{
	_cleanup_(json_cleanup) json_t *changed = json_deep_copy(json);
	json_t *first = json_is_array(changed) ? json_array_get(changed, 0) : changed;
	struct sweep sweep = {.kind = kind_of(json), .original = json, .changed = changed};

	if (!sweep.kind->same(json, changed)) {
		printf("%s: not the same as its copy\n", sweep.kind->kind);
		return false;
	}
	sweep_members(&sweep, json_object_get(first, "spec"));
	sweep_members(&sweep, json_object_get(json_object_get(first, "metadata"), "annotations"));
	return !sweep.failed;
}

/* -- files -- */

/* From *text up to a line that is mark; *text goes behind it. Null: there is none. The copy is the caller's. */
static char *take_until(const char **text, const char *mark)
{
	char line[8];
	const char *end;
	char *part;

	snprintf(line, sizeof(line), "\n%s", mark);
	end = strstr(*text, line);
	if (!end)
		return NULL;
	part = strndup(*text, (size_t)(end + 1 - *text));
	*text = end + 1;
	return part;
}

/* One case: its part of the file as it should be is appended to whole. Returns whether it was already. */
static bool run_case(const char *path, const char *text, struct buf *whole)
{
	_cleanup_(buf_free) struct buf out = BUF_INIT(1 << 20);
	_cleanup_(json_cleanup) json_t *json = NULL;
	const char *body = strchr(text, '\n') + 1, *rest = body;
	_cleanup_free_ char *source = take_until(&rest, "--\n");
	json_error_t error;

	json = source ? json_loads(source, JSON_ALLOW_NUL, &error) : NULL;
	if (!json) {
		printf("%s: %.*s: no JSON up to a line \"--\": %s\n", path, (int)(body - text - 1), text, source ? error.text : "");
		return false;
	}
	try_case(json, &out);
	buf_add(whole, text, (size_t)(rest - text));
	buf_printf(whole, "--\n%s\n", buf_text(&out));
	rest += strlen("--\n");
	if ((strncmp(text, "== every kind", 13) == 0 || strncmp(text, "== everything said", 18) == 0) &&
		!every_member_tells(json))
		return false;
	if (strncmp(rest, buf_text(&out), out.len) == 0 && strspn(rest + out.len, "\n") == strlen(rest + out.len))
		return true;
	printf("%s: %.*s\nexpected:\n%s\ngot:\n%s\n", path, (int)(body - text - 1), text, rest, buf_text(&out));
	return false;
}

static bool run_file(const char *path, bool write)
{
	_cleanup_(buf_free) struct buf file = BUF_INIT(1 << 20), whole = BUF_INIT(1 << 22);
	const char *rest;
	unsigned count = 0, failed = 0;

	if (file_read(path, &file, NULL) < 0 || strncmp(buf_text(&file), "== ", 3) != 0) {
		printf("%s: cannot be read, or does not begin with a case\n", path);
		return false;
	}
	for (rest = buf_text(&file); *rest; count++) {
		_cleanup_free_ char *text = take_until(&rest, "== ");

		if (!text) {
			text = strdup(rest);
			rest = "";
		}
		failed += !run_case(path, text, &whole);
	}
	if (write && whole.len) {
		FILE *out = fopen(path, "w");

		whole.len--; /* one empty line at the end is enough */
		fwrite(whole.data, 1, whole.len, out);
		fclose(out);
	}
	printf("%s: %u cases, %u failed\n", path, count, failed);
	return !failed && count;
}

int main(int argc, char **argv)
{
	bool write = argc > 1 && strcmp(argv[1], "--write") == 0, good = argc > 1 + write;

	pool = endpoint_pool_new();
	for (int i = 1 + write; i < argc; i++)
		good &= run_file(argv[i], write);
	endpoint_pool_free(pool);
	return good ? 0 : 1;
}
