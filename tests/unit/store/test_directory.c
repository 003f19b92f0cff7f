/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory store: several nodes in one process over one directory.
 */
#include "nodes.h"

#include "store/manager.h"
#include "../scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NET "{\"Network\":\"10.3.0.0/16\",\"Backend\":{\"Type\":\"vxlan\"}}"

struct world {
	struct event_base *base;
	char path[64];
	struct node nodes[24];
};

static void put(struct world *world, const char *name, const char *text)
{
	char path[512], temp[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", world->path, name);
	snprintf(temp, sizeof(temp), "%s.new", world->path);
	file = fopen(temp, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(rename(temp, path), 0);
}

static const char *get(struct world *world, const char *name)
{
	static char text[4096];
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", world->path, name);
	file = fopen(path, "r");
	if (!file)
		return NULL;
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	return text;
}

static void drop(struct world *world, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", world->path, name);
	assert_int_equal(unlink(path), 0);
}

static const char *lease_file(const char *key)
{
	static char name[256];

	snprintf(name, sizeof(name), "leases/%s.json", key);
	return name;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static void remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int begin(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	if (scratch_directory(world->path, sizeof(world->path), "store") < 0)
		return -1;
	world->base = event_base_new();
	*state = world;
	return 0;
}

static int end(void **state)
{
	struct world *world = *state;

	for (int i = 0; i < 24; i++)
		store_free(world->nodes[i].store);
	event_base_free(world->base);
	remove_tree(world->path);
	free(world);
	return 0;
}

static struct node *start_ttl(struct world *world, int n, int64_t ttl, int64_t margin)
{
	struct store_directory_options options = {.path = world->path, .ttl = ttl, .renew_margin = margin};
	struct node *node = &world->nodes[n];
	struct err err = ERR_INIT;

	memset(node, 0, sizeof(*node));
	node->want = node_want(n);
	node->acquire_at_once = true;
	if (store_directory_new(&options, world->base, &node_events, node, &node->store, &err) < 0)
		fail_msg("%s", err.text);
	store_start(node->store);
	return node;
}

static struct node *start(struct world *world, int n)
{
	return start_ttl(world, n, 86400, 3600);
}

static void stop(struct node *node)
{
	store_free(node->store);
	node->store = NULL;
}

static void two_nodes_see_each_other(void **state)
{
	struct world *world = *state;
	struct node *a, *b;
	char wanted[512];

	put(world, "net-conf.json", NET);
	a = start(world, 1);
	b = start(world, 2);
	WAIT(world->base, a->peer_count == 1 && b->peer_count == 1);
	assert_int_equal(a->acquired, 1);
	assert_string_equal(a->peers[0].key, b->own.key);
	assert_true(addr_equal(&a->peers[0].public_ip[FAMILY_4], &b->want.public_ip[FAMILY_4]));
	assert_true(mac_equal(&a->peers[0].vtep_mac[FAMILY_4], &b->want.vtep_mac[FAMILY_4]));
	assert_true(a->synced > 0);
	snprintf(wanted, sizeof(wanted), "{\"PublicIP\":\"192.0.2.1\",\"PublicIPv6\":null,\"BackendType\":\"vxlan\","
		"\"BackendData\":{\"VNI\":1,\"VtepMAC\":\"02:00:00:00:00:01\"},\"Expiration\":\"");
	assert_memory_equal(get(world, lease_file(a->own.key)), wanted, strlen(wanted));
	/* The same node again: the same subnet, and its last lease can be found before it takes it. */
	stop(a);
	a->acquire_at_once = false;
	struct lease before = a->own;
	a = start(world, 1);
	a->acquire_at_once = false;
	store_find_own(a->store, a->want.public_ip, node_found, a);
	WAIT(world->base, a->found == 1 && a->networks == 1);
	assert_string_equal(a->found_lease.key, before.key);
	assert_int_equal(a->peer_count, 0);
	store_acquire(a->store, &a->want);
	WAIT(world->base, a->acquired == 1 && a->peer_count == 1);
	assert_string_equal(a->own.key, before.key);
	assert_int_equal(b->gone_events, 0);
}

static void twenty_nodes_race(void **state)
{
	struct world *world = *state;

	/* 24 blocks of which 23 may be had: crowded enough to collide. */
	put(world, "net-conf.json", "{\"Network\":\"10.3.0.0/19\",\"SubnetLen\":24,\"SubnetMax\":\"10.3.23.0\"}");
	for (int i = 0; i < 20; i++)
		start(world, i + 1);
	for (int i = 1; i <= 20; i++)
		WAIT(world->base, world->nodes[i].acquired == 1 && world->nodes[i].peer_count == 19);
	for (int i = 1; i <= 20; i++)
		for (int j = 1; j < i; j++)
			assert_false(prefix_overlaps(&world->nodes[i].own.subnet[FAMILY_4],
				&world->nodes[j].own.subnet[FAMILY_4]));
}

static void previous_subnet_is_preferred(void **state)
{
	struct world *world = *state;
	struct prefix wish;
	struct node *a, *b;

	put(world, "net-conf.json", NET);
	a = start(world, 1);
	prefix_parse("10.3.77.0/24", &a->want.subnet[FAMILY_4]);
	WAIT(world->base, a->acquired == 1);
	assert_string_equal(a->own.key, "10.3.77.0-24");
	b = start(world, 2);
	b->want.subnet[FAMILY_4] = a->own.subnet[FAMILY_4];
	WAIT(world->base, b->acquired == 1);
	assert_string_not_equal(b->own.key, a->own.key);
	b = start(world, 3);
	prefix_parse("10.9.1.0/24", &b->want.subnet[FAMILY_4]);
	WAIT(world->base, b->acquired == 1);
	prefix_parse("10.3.0.0/16", &wish);
	assert_true(prefix_contains_prefix(&wish, &b->own.subnet[FAMILY_4]));
}

static void the_dead_expire(void **state)
{
	struct world *world = *state;
	struct node *a, *b;

	put(world, "net-conf.json", NET);
	a = start(world, 1);
	b = start_ttl(world, 2, 2, 1);
	WAIT(world->base, a->peer_count == 1 && b->acquired == 1);
	test_run(world->base, 3); /* renewed in time */
	assert_int_equal(b->lost, 0);
	assert_int_equal(a->gone_events, 0);
	stop(b);
	WAIT(world->base, a->peer_count == 0);
	WAIT(world->base, get(world, lease_file(b->own.key)) == NULL);
}

static void a_lost_lease_is_taken_again(void **state)
{
	struct world *world = *state;
	struct node *a;
	char key[LEASE_KEY_MAX];

	put(world, "net-conf.json", NET);
	a = start(world, 1);
	WAIT(world->base, a->acquired == 1);
	snprintf(key, sizeof(key), "%s", a->own.key);
	drop(world, lease_file(key));
	WAIT(world->base, a->lost == 1 && a->acquired == 2);
	assert_string_equal(a->own.key, key);
	/* Another node takes our very key: it is theirs, and we get another. */
	put(world, lease_file(key), "{\"PublicIP\":\"198.51.100.9\",\"PublicIPv6\":null}");
	WAIT(world->base, a->lost == 2 && a->acquired == 3);
	assert_string_not_equal(a->own.key, key);
	assert_non_null(node_peer(a, key));
	assert_string_equal(get(world, lease_file(key)), "{\"PublicIP\":\"198.51.100.9\",\"PublicIPv6\":null}");
}

static void a_reservation_holds_for_ever(void **state)
{
	struct world *world = *state;
	char path[128];
	struct node *a;

	put(world, "net-conf.json", NET);
	snprintf(path, sizeof(path), "%s/leases", world->path);
	mkdir(path, 0755);
	put(world, "leases/10.3.200.0-24.json", "{\"publicip\":\"192.0.2.1\",\"PublicIPv6\":null}");
	a = start_ttl(world, 1, 2, 1);
	WAIT(world->base, a->acquired == 1);
	assert_string_equal(a->own.key, "10.3.200.0-24");
	assert_int_equal(a->own.expires, 0);
	assert_string_equal(get(world, "leases/10.3.200.0-24.json"), "{\"PublicIP\":\"192.0.2.1\",\"PublicIPv6\":null,"
		"\"BackendType\":\"vxlan\",\"BackendData\":{\"VNI\":1,\"VtepMAC\":\"02:00:00:00:00:01\"}}");
	test_run(world->base, 2.5);
	assert_int_equal(a->lost, 0);
	/* The administrator rewrites it while we run: still a reservation, still ours, our data back in it. */
	put(world, "leases/10.3.200.0-24.json", "{\"PublicIP\":\"192.0.2.1\",\"PublicIPv6\":null}");
	WAIT(world->base, strstr(get(world, "leases/10.3.200.0-24.json"), "VtepMAC"));
	assert_null(strstr(get(world, "leases/10.3.200.0-24.json"), "Expiration"));
	assert_int_equal(a->lost, 0);
	assert_int_equal(a->acquired, 1);
}

static void an_edit_of_the_network_moves_us(void **state)
{
	struct world *world = *state;
	struct node *a, *b;
	char old[LEASE_KEY_MAX];

	put(world, "net-conf.json", NET);
	a = start(world, 1);
	b = start(world, 2);
	WAIT(world->base, a->peer_count == 1 && b->peer_count == 1);
	snprintf(old, sizeof(old), "%s", a->own.key);
	put(world, "net-conf.json", "{\"Network\": \"10.300.0.0/16\"}");
	WAIT(world->base, node_story(a, "net-conf.json"));
	assert_non_null(strstr(node_story(a, "net-conf.json"), "10.300.0.0/16"));
	put(world, "net-conf.json", "{\"Network\": \"10.7");
	drop(world, "net-conf.json");
	WAIT(world->base, node_story(a, "net-conf.json") && strstr(node_story(a, "net-conf.json"), "is gone"));
	assert_int_equal(a->networks, 1);
	assert_int_equal(a->lost + b->lost + a->gone_events, 0);
	put(world, "net-conf.json", "{\"Network\":\"10.9.0.0/16\",\"Backend\":{\"Type\":\"vxlan\"}}");
	WAIT(world->base, a->networks == 2 && a->acquired == 2 && b->acquired == 2);
	WAIT(world->base, node_peer(a, b->own.key) && node_peer(b, a->own.key) && a->peer_count == 1);
	assert_memory_equal(a->own.key, "10.9.", 5);
	assert_null(get(world, lease_file(old)));
	assert_null(node_story(a, "net-conf.json"));
}

static void bad_files_hurt_nobody(void **state)
{
	struct world *world = *state;
	struct node *a, *b;
	char key[LEASE_KEY_MAX], big[70000], path[128];

	put(world, "net-conf.json", NET);
	a = start(world, 1);
	b = start(world, 2);
	WAIT(world->base, a->peer_count == 1 && b->peer_count == 1);
	snprintf(key, sizeof(key), "%s", b->own.key);
	put(world, "leases/notes.txt", "hello");
	put(world, "leases/10.3.1.0-24hi.json", "{\"PublicIP\":\"192.0.2.50\"}");
	put(world, "leases/10.3.250.0-24.json", "{\"PublicIP\":\"192.0.");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	put(world, "leases/10.3.251.0-24.json", big);
	snprintf(path, sizeof(path), "%s/leases/10.3.252.0-24.json", world->path);
	assert_int_equal(mkfifo(path, 0600), 0);
	WAIT(world->base, node_story(a, "notes.txt") && node_story(a, "10.3.1.0-24hi") &&
		node_story(a, "10.3.250.0-24") && node_story(a, "10.3.251.0-24") && node_story(a, "10.3.252.0-24"));
	assert_int_equal(a->gone_events, 0);
	assert_int_equal(a->peer_count, 1);
	/* A known peer whose file turns bad stays as it was. */
	stop(b);
	put(world, lease_file(key), "{}x");
	WAIT(world->base, node_story(a, key));
	assert_non_null(node_peer(a, key));
	/* All stories end. */
	put(world, lease_file(key), "{\"PublicIP\":\"192.0.2.2\",\"PublicIPv6\":null,\"BackendType\":\"host-gw\"}");
	drop(world, "leases/notes.txt");
	drop(world, "leases/10.3.1.0-24hi.json");
	drop(world, "leases/10.3.250.0-24.json");
	WAIT(world->base, !node_story(a, key) && !node_story(a, "notes.txt") && !node_story(a, "10.3.1.0-24hi") &&
		!node_story(a, "10.3.250.0-24"));
	WAIT(world->base, strcmp(node_peer(a, key)->backend, "host-gw") == 0);
}

static int result_rc;
static uint64_t result_revision;

static void take_result(void *ctx, const struct kv_result *result)
{
	result_rc = result->rc;
	result_revision = result->revision;
}

#define VALUE "{\"PublicIP\":\"192.0.2.200\",\"PublicIPv6\":null}"

static struct kv *kv_of(struct node *node)
{
	return ((struct manager *)node->store)->kv;
}

static int create(struct world *world, struct node *node, const char *key)
{
	struct kv *kv = kv_of(node);

	result_rc = 1;
	kv->ops->create(kv, key, VALUE, strlen(VALUE), 0, take_result);
	WAIT(world->base, result_rc <= 0);
	return result_rc;
}

static int change(struct world *world, struct node *node, char kind, const char *key, uint64_t revision)
{
	struct kv *kv = kv_of(node);

	result_rc = 1;
	if (kind == 'r')
		kv->ops->replace(kv, key, "{}", 2, 0, revision, take_result);
	else
		kv->ops->remove(kv, key, revision, take_result);
	WAIT(world->base, result_rc <= 0);
	return result_rc;
}

/* What the manager relies on when its table is behind. */
static void guards_of_the_transport(void **state)
{
	struct world *world = *state;
	struct node *a;
	uint64_t revision;

	put(world, "net-conf.json", NET);
	a = start(world, 1);
	WAIT(world->base, a->acquired == 1);
	put(world, "leases/10.3.200.0-24&fd00:3:0:2::-64.json", "{\"PublicIP\":\"192.0.2.50\"}");
	put(world, "leases/10.3.210.0-24.json", "{\"PublicIP\":\"192.0.2.51\",\"Expiration\":\"2020-01-01T00:00:00Z\"}");
	put(world, "leases/10.3.211.0-24.json", "half a f");
	assert_int_equal(create(world, a, "10.3.200.0-24"), -EEXIST);
	assert_int_equal(create(world, a, "10.3.200.128-25"), -EEXIST);
	assert_int_equal(create(world, a, "10.3.192.0-20"), -EEXIST);
	assert_int_equal(create(world, a, "10.3.211.0-24"), -EEXIST);
	assert_int_equal(create(world, a, "10.3.210.0-24"), 0); /* what is over is in nobody's way */
	revision = result_revision;
	assert_string_equal(get(world, "leases/10.3.210.0-24.json"), VALUE);
	put(world, "leases/10.3.210.0-24.json", "{\"PublicIP\":\"192.0.2.52\"}");
	assert_int_equal(change(world, a, 'r', "10.3.210.0-24", revision), -ESTALE);
	assert_int_equal(change(world, a, 'd', "10.3.210.0-24", revision), -ESTALE);
	assert_int_equal(change(world, a, 'r', "10.3.212.0-24", revision), -ESTALE);
	assert_string_equal(get(world, "leases/10.3.210.0-24.json"), "{\"PublicIP\":\"192.0.2.52\"}");
	put(world, "leases/10.3.210.0-24.json", VALUE);
	assert_int_equal(change(world, a, 'd', "10.3.210.0-24", revision), 0);
	assert_null(get(world, "leases/10.3.210.0-24.json"));
}

static void half_written_files_are_awaited(void **state)
{
	struct world *world = *state;
	struct node *a;
	char path[128];
	int fd;

	put(world, "net-conf.json", NET);
	a = start(world, 1);
	WAIT(world->base, a->acquired == 1);
	snprintf(path, sizeof(path), "%s/leases/10.3.250.0-24.json", world->path);
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	assert_int_equal(write(fd, "{\"PublicIP\":", 12), 12);
	test_run(world->base, 0.2);
	assert_int_equal(a->problems, 0);
	assert_int_equal(write(fd, "\"192.0.2.9\"}", 12), 12);
	close(fd);
	WAIT(world->base, node_peer(a, "10.3.250.0-24"));
	assert_int_equal(a->problems, 0);
}

#define MANIFEST(network)                                                                              \
	"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kube-flannel-cfg\ndata:\n  cni-conf.json: |\n" \
	"    {\"name\":\"cbr0\"}\n  net-conf.json: |\n    {\"Network\":\"" network "\"}\n"

static void manifests_hold_the_configuration(void **state)
{
	struct world *world = *state;
	struct node *a;

	put(world, "policy.yaml", "kind: NetworkPolicy\nspec: [\n");
	put(world, "b.yaml", MANIFEST("10.3.0.0/16"));
	a = start(world, 1);
	WAIT(world->base, a->acquired == 1);
	assert_non_null(strstr(a->cni, "cbr0"));
	assert_memory_equal(a->own.key, "10.3.", 5);
	assert_int_equal(a->problems, 0);
	/* Two that contradict: both named, the last good one stays. */
	put(world, "a.yml", MANIFEST("10.4.0.0/16"));
	WAIT(world->base, node_story(a, "b.yaml"));
	assert_non_null(strstr(node_story(a, "b.yaml"), "a.yml"));
	assert_int_equal(a->networks, 1);
	/* net-conf.json wins over both. */
	put(world, "net-conf.json", "{\"Network\":\"10.5.0.0/16\"}");
	WAIT(world->base, a->acquired == 2);
	assert_memory_equal(a->own.key, "10.5.", 5);
	drop(world, "net-conf.json");
	drop(world, "b.yaml");
	WAIT(world->base, a->acquired == 3);
	assert_memory_equal(a->own.key, "10.4.", 5);
	assert_null(node_story(a, "b.yaml"));
}

#define ALMOST "apiVersion: v1\nkind: ConfigMax\n"

/* A manifest that is old and holds nothing of ours is not read again until it changes; then it is. */
static void a_manifest_of_others_becomes_ours(void **state)
{
	struct world *world = *state;
	time_t old = time(NULL) + 3;
	char path[128];
	struct node *a;
	int fd;

	put(world, "b.yaml", MANIFEST("10.3.0.0/16"));
	put(world, "other.yaml", MANIFEST("10.4.0.0/16"));
	snprintf(path, sizeof(path), "%s/other.yaml", world->path);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, ALMOST, strlen(ALMOST), 0), strlen(ALMOST));
	a = start(world, 1);
	WAIT(world->base, a->acquired == 1);
	assert_int_equal(a->problems, 0);
	WAIT(world->base, time(NULL) > old);
	put(world, "a.yml", MANIFEST("10.5.0.0/16"));
	WAIT(world->base, node_story(a, "b.yaml"));
	drop(world, "a.yml");
	WAIT(world->base, !node_story(a, "b.yaml"));
	assert_null(node_story(a, "other.yaml"));
	/* in place, and as large as it was */
	assert_int_equal(pwrite(fd, MANIFEST("10.4.0.0/16"), strlen(ALMOST), 0), strlen(ALMOST));
	close(fd);
	WAIT(world->base, node_story(a, "other.yaml"));
	assert_non_null(strstr(node_story(a, "other.yaml"), "b.yaml"));
}

/* What kubelet mounts: net-conf.json -> ..data/net-conf.json, ..data -> ..1, replaced by a rename. */
static void a_mounted_configmap_is_followed(void **state)
{
	struct world *world = *state;
	struct node *a;
	char path[128], link[128];

	for (int i = 1; i <= 2; i++) {
		snprintf(path, sizeof(path), "%s/..%d", world->path, i);
		mkdir(path, 0755);
		snprintf(path, sizeof(path), "..%d/net-conf.json", i);
		put(world, path, i == 1 ? "{\"Network\":\"10.3.0.0/16\"}" : "{\"Network\":\"10.4.0.0/16\"}");
	}
	snprintf(path, sizeof(path), "%s/..data", world->path);
	assert_int_equal(symlink("..1", path), 0);
	snprintf(link, sizeof(link), "%s/net-conf.json", world->path);
	assert_int_equal(symlink("..data/net-conf.json", link), 0);
	a = start(world, 1);
	WAIT(world->base, a->acquired == 1);
	snprintf(link, sizeof(link), "%s/..data_tmp", world->path);
	assert_int_equal(symlink("..2", link), 0);
	assert_int_equal(rename(link, path), 0);
	WAIT(world->base, a->acquired == 2);
	assert_memory_equal(a->own.key, "10.4.", 5);
}

static void the_lock_is_waited_for(void **state)
{
	struct world *world = *state;
	char path[128];
	struct node *a;
	int fd;

	snprintf(path, sizeof(path), "%s/leases", world->path);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/leases/.lock", world->path);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	put(world, "net-conf.json", NET);
	a = start(world, 1);
	WAIT(world->base, node_story(a, ".lock"));
	assert_int_equal(a->acquired, 0);
	close(fd);
	WAIT(world->base, a->acquired == 1 && !node_story(a, ".lock"));
}

static void the_directory_may_vanish(void **state)
{
	struct world *world = *state;
	char path[128], aside[128];
	struct node *a;

	remove_tree(world->path);
	a = start(world, 1);
	WAIT(world->base, node_story(a, "net-conf.json"));
	put(world, "net-conf.json", NET);
	WAIT(world->base, a->acquired == 1);
	snprintf(path, sizeof(path), "%s/leases", world->path);
	snprintf(aside, sizeof(aside), "%s.aside", world->path);
	remove_tree(path);
	WAIT(world->base, a->acquired == 2 && a->lost == 1);
	assert_non_null(get(world, lease_file(a->own.key)));
	assert_int_equal(rename(world->path, aside), 0);
	WAIT(world->base, a->acquired == 3 && a->lost == 2);
	assert_int_equal(a->networks, 1);
	assert_non_null(get(world, lease_file(a->own.key)));
	put(world, "net-conf.json", "{\"Network\":\"10.4.0.0/16\"}");
	WAIT(world->base, a->acquired == 4);
	remove_tree(aside);
}

static void an_unusable_directory_is_told(void **state)
{
	struct world *world = *state;
	char path[128];
	struct node *a;

	put(world, "net-conf.json", NET);
	put(world, "leases", "no directory");
	a = start(world, 1);
	snprintf(path, sizeof(path), "%s/leases", world->path);
	WAIT(world->base, a->networks == 1 && node_story(a, path));
	unlink(path);
	WAIT(world->base, a->acquired == 1 && !node_story(a, path));
}

static void subnets_run_out_and_come_back(void **state)
{
	struct world *world = *state;
	struct node *nodes[4];

	put(world, "net-conf.json", "{\"Network\":\"10.3.0.0/22\",\"SubnetLen\":24}");
	for (int i = 0; i < 3; i++)
		nodes[i] = start(world, i + 1);
	WAIT(world->base, nodes[0]->acquired && nodes[1]->acquired && nodes[2]->acquired);
	nodes[3] = start(world, 4);
	WAIT(world->base, node_story(nodes[3], "") && strstr(node_story(nodes[3], ""), "out of subnets"));
	stop(nodes[1]);
	drop(world, lease_file(nodes[1]->own.key));
	WAIT(world->base, nodes[3]->acquired == 1 && !node_story(nodes[3], ""));
	assert_string_equal(nodes[3]->own.key, nodes[1]->own.key);
}

static void both_families(void **state)
{
	struct world *world = *state;
	struct node *a, *b;

	put(world, "net-conf.json", "{\"Network\":\"10.3.0.0/16\",\"EnableIPv6\":true,\"IPv6Network\":\"fd00:3::/48\"}");
	a = start(world, 1);
	WAIT(world->base, node_story(a, ""));
	assert_non_null(strstr(node_story(a, ""), "IPv6"));
	addr_parse("2001:db8::1", &a->want.public_ip[FAMILY_6]);
	store_acquire(a->store, &a->want);
	WAIT(world->base, a->acquired == 1);
	assert_true(prefix_is_set(&a->own.subnet[FAMILY_4]) && a->own.subnet[FAMILY_6].len == 64);
	/* IPv6 only: nodes are told apart by their IPv6 address (reference 13.9). */
	put(world, "net-conf.json", "{\"EnableIPv4\":false,\"EnableIPv6\":true,\"IPv6Network\":\"fd00:3::/48\"}");
	memset(&a->want.public_ip[FAMILY_4], 0, sizeof(struct addr));
	b = start(world, 2);
	memset(&b->want.public_ip[FAMILY_4], 0, sizeof(struct addr));
	addr_parse("2001:db8::2", &b->want.public_ip[FAMILY_6]);
	WAIT(world->base, a->acquired >= 2 && b->acquired == 1 && a->peer_count == 1 && b->peer_count == 1);
	WAIT(world->base, strcmp(a->peers[0].key, b->own.key) == 0 && strcmp(b->peers[0].key, a->own.key) == 0);
	assert_false(prefix_is_set(&a->own.subnet[FAMILY_4]));
}

static void attributes_are_published_again(void **state)
{
	struct world *world = *state;
	struct node *a, *b;

	put(world, "net-conf.json", NET);
	a = start(world, 1);
	b = start(world, 2);
	WAIT(world->base, a->peer_count == 1 && b->peer_count == 1);
	a->want.vtep_mac[FAMILY_4].b[0] = 6;
	a->want.public_ip[FAMILY_4] = addr_from_4(0xc6336401u);
	store_acquire(a->store, &a->want);
	WAIT(world->base, b->peers[0].vtep_mac[FAMILY_4].b[0] == 6);
	assert_int_equal(b->gone_events, 0);
	assert_int_equal(a->lost, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_nodes_see_each_other),
		TEST(twenty_nodes_race),
		TEST(previous_subnet_is_preferred),
		TEST(the_dead_expire),
		TEST(a_lost_lease_is_taken_again),
		TEST(a_reservation_holds_for_ever),
		TEST(an_edit_of_the_network_moves_us),
		TEST(bad_files_hurt_nobody),
		TEST(guards_of_the_transport),
		TEST(half_written_files_are_awaited),
		TEST(manifests_hold_the_configuration),
		TEST(a_manifest_of_others_becomes_ours),
		TEST(a_mounted_configmap_is_followed),
		TEST(the_lock_is_waited_for),
		TEST(the_directory_may_vanish),
		TEST(an_unusable_directory_is_told),
		TEST(subnets_run_out_and_come_back),
		TEST(both_families),
		TEST(attributes_are_published_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
