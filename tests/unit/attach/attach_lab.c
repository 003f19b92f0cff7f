/* SPDX-License-Identifier: Apache-2.0 */
#include "attach_lab.h"

#include "attach/attach_link.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "plane/plane.h"
#include "../scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void lab_enter(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		exit(77);
	/* addresses of the node, without which it could not talk to its pods */
	if (lab_run(-1, "ip link set lo up") != 0 || lab_run(-1, "ip addr add 192.0.2.1/32 dev lo") != 0 ||
		lab_run(-1, "ip addr add 2001:db8::1/128 dev lo") != 0)
		exit(77);
}

static int own_netns(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

int lab_run(int netns, const char *words)
{
	char copy[512], *argv[40], *rest = copy;
	int n = 0, status;
	pid_t pid;

	snprintf(copy, sizeof(copy), "%s", words);
	while (n < 39 && (argv[n] = strsep(&rest, " ")))
		n++;
	argv[n] = NULL;
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		if (netns >= 0 && setns(netns, CLONE_NEWNET) < 0)
			_exit(126);
		dup2(null, 0);
		dup2(null, 1);
		if (!getenv("VERBOSE"))
			dup2(null, 2);
		execvp(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void count_change(void *ctx)
{
	((struct lab *)ctx)->changes++;
}

static void keep_report(void *ctx, const char *text)
{
	struct lab *lab = ctx;
	size_t used = strlen(lab->reports);

	snprintf(lab->reports + used, sizeof(lab->reports) - used, "%s\n", text);
	if (getenv("VERBOSE"))
		fprintf(stderr, "report: %s\n", text);
}

void lab_start(struct lab *lab)
{
	struct attach_options options = {.state_dir = lab->dir,
		.boot_id = lab->boot_id,
		.cooldown_s = lab->cooldown_s,
		.host_local_dir = lab->host_local,
		.flannel_dir = lab->flannel,
		.changed = count_change,
		.report = keep_report,
		.ctx = lab};
	struct err err = ERR_INIT;

	if (attach_new(lab->base, &options, &lab->attacher, &err) < 0)
		fail_msg("%s", err_text(&err));
	if (attach_recover(lab->attacher, &err) < 0)
		fail_msg("%s", err_text(&err));
	attach_set_network(lab->attacher, &lab->network, &lab->own, 1450);
}

void lab_stop(struct lab *lab)
{
	attach_free(lab->attacher);
	lab->attacher = NULL;
}

static void set_block(struct lab *lab, int family, const char *block)
{
	lab->own.subnet[family] = (struct prefix){0};
	lab->network.pool[family].cidr = (struct prefix){0};
	if (!block)
		return;
	assert_int_equal(prefix_parse(block, &lab->own.subnet[family]), 0);
	assert_int_equal(prefix_parse(family == FAMILY_4 ? "10.1.0.0/16" : "fd00:1::/48",
				 &lab->network.pool[family].cidr),
		0);
}

void lab_network(struct lab *lab, const char *v4, const char *v6)
{
	set_block(lab, FAMILY_4, v4);
	set_block(lab, FAMILY_6, v6);
	if (lab->attacher)
		attach_set_network(lab->attacher, &lab->network, &lab->own, 1450);
}

int lab_setup(void **state)
{
	struct lab *lab = calloc(1, sizeof(*lab));

	assert_int_equal(scratch_directory(lab->dir, sizeof(lab->dir), "attach"), 0);
	snprintf(lab->host_local, sizeof(lab->host_local), "%s/networks", lab->dir);
	snprintf(lab->flannel, sizeof(lab->flannel), "%s/flannel", lab->dir);
	assert_int_equal(mkdir(lab->host_local, 0755), 0);
	assert_int_equal(mkdir(lab->flannel, 0700), 0);
	lab->node = own_netns();
	lab->base = event_base_new();
	lab->boot_id = "boot";
	lab->cooldown_s = 3600; /* longer than any test */
	memset(lab->netns, -1, sizeof(lab->netns));
	lab_network(lab, "10.1.2.0/24", "fd00:1:2::/64");
	lab_start(lab);
	*state = lab;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

/* A failed test may leave interfaces, held by sockets in its pods, and this process in one of them: the next
 * test shall not fail of that. */
static void clear_node(struct lab *lab)
{
	_cleanup_free_ struct plane_link *links = NULL;
	struct nl *nl = NULL;
	size_t count = 0;

	setns(lab->node, CLONE_NEWNET);
	close(lab->node);
	if (nl_open(&nl, NULL) < 0 || plane_list_links(&links, &count, NULL) < 0)
		fail();
	for (size_t i = 0; i < count; i++) {
		if (strcmp(links[i].name, "lo") != 0)
			podlink_delete(nl, links[i].name, NULL);
	}
	nl_close(nl);
}

int lab_teardown(void **state)
{
	struct lab *lab = *state;

	lab_stop(lab);
	for (int i = 0; i < LAB_PODS; i++)
		lab_pod_gone(lab, i);
	clear_node(lab);
	event_base_free(lab->base);
	json_decref(lab->flannel_conf);
	nftw(lab->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(lab);
	return 0;
}

int lab_pod(struct lab *lab, int n)
{
	_cleanup_close_ int own = -1;

	if (lab->netns[n] >= 0)
		return lab->netns[n];
	own = own_netns();
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	lab->netns[n] = own_netns();
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	return lab->netns[n];
}

void lab_pod_gone(struct lab *lab, int n)
{
	if (lab->netns[n] >= 0)
		close(lab->netns[n]);
	lab->netns[n] = -1;
}

struct attach_request lab_request(struct lab *lab, int n)
{
	static char ids[LAB_PODS][16], paths[LAB_PODS][32];

	snprintf(ids[n], sizeof(ids[n]), "c%d", n);
	snprintf(paths[n], sizeof(paths[n]), "/run/netns/pod%d", n);
	return (struct attach_request){.network = "net",
		.container_id = ids[n],
		.ifname = "eth0",
		.netns_path = paths[n],
		.netns_fd = lab_pod(lab, n),
		.host_prefix = "tul",
		.default_route = true,
		.flannel_conf = lab->flannel_conf,
		.ip_masq = true};
}

void lab_add(struct lab *lab, int n, struct attachment *ret)
{
	struct attach_request request = lab_request(lab, n);
	struct err err = ERR_INIT;

	if (attach_add(lab->attacher, &request, ret, &err) < 0)
		fail_msg("ADD of pod %d: %s", n, err_text(&err));
}

void lab_del(struct lab *lab, int n)
{
	struct attach_request request = lab_request(lab, n);
	struct err err = ERR_INIT;

	if (attach_del(lab->attacher, &request, &err) < 0)
		fail_msg("DEL of pod %d: %s", n, err_text(&err));
}

void lab_turn(struct lab *lab, int ms)
{
	for (int64_t end = attach_now() + ms; lab->attacher->closing && attach_now() < end;) {
		struct timeval tv = {.tv_usec = 20000};

		event_base_loopexit(lab->base, &tv);
		event_base_dispatch(lab->base);
	}
}

void lab_write_state(struct lab *lab, int n)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(4096);
	char path[120];

	buf_printf(&buf,
		"{\"cniVersion\":\"0.3.1\",\"hairpinMode\":true,\"ipMasq\":false,\"ipam\":{\"dataDir\":\"%s\","
		"\"ranges\":[[{\"subnet\":\"10.1.2.0/24\"}],[{\"subnet\":\"fd00:1:2::/64\"}]],"
		"\"routes\":[{\"dst\":\"10.1.0.0/16\"},{\"dst\":\"fd00:1::/48\"}],\"type\":\"host-local\"},"
		"\"isDefaultGateway\":true,\"isGateway\":true,\"mtu\":1450,\"name\":\"cbr0\",\"type\":\"bridge\"}",
		lab->host_local);
	snprintf(path, sizeof(path), "%s/c%d", lab->flannel, n);
	assert_int_equal(file_write_atomic(path, buf.data, buf.len, 0600, false, NULL), 0);
}

static void exec_bridge(const char *command, int n, const char *netns, const char *input, const char *output)
{
	char id[20];

	snprintf(id, sizeof(id), "c%d", n);
	setenv("CNI_COMMAND", command, 1);
	setenv("CNI_CONTAINERID", id, 1);
	setenv("CNI_NETNS", netns, 1);
	setenv("CNI_IFNAME", "eth0", 1);
	setenv("CNI_PATH", LAB_PLUGINS, 1);
	dup2(open(input, O_RDONLY), 0);
	dup2(open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
	execl(LAB_PLUGINS "/bridge", "bridge", NULL);
	_exit(127);
}

void lab_bridge(struct lab *lab, const char *command, int n, bool with_netns)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);
	char path[120], netns[40] = "", reply[120];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/c%d", lab->flannel, n);
	snprintf(reply, sizeof(reply), "%s/reply", lab->dir);
	if (with_netns)
		snprintf(netns, sizeof(netns), "/proc/%d/fd/%d", (int)getpid(), lab_pod(lab, n));
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		exec_bridge(command, n, netns, path, reply);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	file_read(reply, &buf, NULL);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("bridge %s: status %x: %s", command, status, buf_text(&buf));
}

void lab_bridge_add(struct lab *lab, int n)
{
	lab_write_state(lab, n);
	lab_bridge(lab, "ADD", n, true);
}

static bool ping(struct lab *lab, int n, const struct addr *to, int seconds)
{
	char text[ADDR_TEXT_MAX], words[100];

	/* with -w it goes on until the first answer */
	snprintf(words, sizeof(words), "ping -n -c 1 -i 0.2 -w %d %s", seconds, addr_format(to, text));
	return lab_run(n < 0 ? -1 : lab_pod(lab, n), words) == 0;
}

bool lab_pings(struct lab *lab, int n, const struct addr *to)
{
	return ping(lab, n, to, 1);
}

bool lab_reaches(struct lab *lab, int n, const struct addr *to)
{
	return ping(lab, n, to, 10);
}

static size_t count_files(const char *path, bool addresses)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	struct addr addr;
	size_t n = 0;

	while (dir && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			n += !addresses || addr_parse(entry->d_name, &addr) == 0;
	}
	if (dir)
		closedir(dir);
	return n;
}

size_t lab_states(struct lab *lab)
{
	return count_files(lab->flannel, false);
}

size_t lab_reservations(struct lab *lab)
{
	static const char *const networks[] = {"net", "cbr0"};
	char path[120];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(networks); i++) {
		snprintf(path, sizeof(path), "%s/%s", lab->host_local, networks[i]);
		n += count_files(path, true);
	}
	return n;
}

size_t lab_links(void)
{
	_cleanup_free_ struct plane_link *links = NULL;
	size_t count = 0;

	assert_int_equal(plane_list_links(&links, &count, NULL), 0);
	return count - 1;
}

void lab_assert_clean(struct lab *lab)
{
	_cleanup_free_ struct plane_route *routes = NULL;
	size_t count = 0;

	assert_int_equal(lab_links(), 0);
	assert_int_equal(lab_states(lab), 0);
	assert_int_equal(lab_reservations(lab), 0);
	assert_int_equal(plane_list_routes(&routes, &count, NULL), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_not_equal(routes[i].protocol, ROUTE_PROTOCOL_TULLE);
	for (int i = 0; i < LAB_PODS; i++) {
		if (lab->netns[i] >= 0)
			assert_int_not_equal(lab_run(lab->netns[i], "ip link show eth0"), 0);
	}
}
