/* SPDX-License-Identifier: Apache-2.0
 *
 * cnibench: what a CNI plugin costs its caller. Makes COUNT network namespaces, then calls the plugin for each as a
 * runtime does (fork, exec, environment, configuration on stdin), ADD and then DEL with the ADD's result, WORKERS at
 * a time, and prints one JSON object with the latencies.
 *
 *   cnibench PLUGIN CONF-FILE COUNT WORKERS [POD [PAUSE]]
 *
 * POD: the namespaces are the pods default/POD-0, default/POD-1, ...; without it they have no names.
 * PAUSE: milliseconds before each call, so that what a call leaves to be done afterwards is not in the next one's way.
 *
 * Removes its namespaces at the end. Run it in a node of the lab.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RESULT_MAX = 16384, CONF_MAX = 65536 };

struct plugin {
	const char *path, *conf;
	const char *pod; /* null: pods have no names */
	int pause_ms;
};

struct slot {
	double add_ms, del_ms;
	int add_status, del_status;
	char result[RESULT_MAX];
};

static void die(const char *what)
{
	fprintf(stderr, "cnibench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1000 + (double)now.tv_nsec / 1e6;
}

static void netns_path(char *path, size_t size, int i)
{
	snprintf(path, size, "/run/netns/bench-%d-%d", (int)getppid(), i);
}

static void make_namespace(const char *path)
{
	int fd;
	int self = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	mkdir("/run/netns", 0755);
	fd = open(path, O_RDONLY | O_CREAT | O_EXCL, 0);
	if (fd < 0 || self < 0 || unshare(CLONE_NEWNET) < 0)
		die(path);
	close(fd);
	if (mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0)
		die(path);
	if (setns(self, CLONE_NEWNET) < 0)
		die("setns");
	close(self);
}

static void remove_namespace(const char *path)
{
	umount2(path, MNT_DETACH);
	unlink(path);
}

static void write_all(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = write(fd, text, len);

		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

/* One call; output: the plugin's stdout. Returns its exit status. */
static int call(const char *plugin, const char *command, const char *netns, const char *id, const char *args,
	const char *stdin_text, char *output, size_t size)
{
	int in[2];
	int out[2];
	int status;
	size_t used;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		die("pipe");
	pid = vfork();
	if (pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		setenv("CNI_COMMAND", command, 1);
		setenv("CNI_CONTAINERID", id, 1);
		setenv("CNI_NETNS", netns, 1);
		setenv("CNI_IFNAME", "eth0", 1);
		setenv("CNI_ARGS", args, 1);
		setenv("CNI_PATH", "/usr/lib/cni", 1);
		execl(plugin, plugin, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	write_all(in[1], stdin_text);
	close(in[1]);
	used = 0;
	for (;;) {
		ssize_t n = read(out[0], output + used, size - 1 - used);

		if (n <= 0)
			break;
		used += (size_t)n;
	}
	output[used] = 0;
	close(out[0]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		die("fork");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void with_result(const char *conf, const char *result, char *text, size_t size)
{
	const char *end = strrchr(conf, '}');

	snprintf(text, size, "%.*s,\"prevResult\":%s}", (int)(end - conf), conf, result);
}

static void worker(const struct plugin *plugin, struct slot *slots, int first, int last, int adding)
{
	static char text[CONF_MAX + RESULT_MAX];

	for (int i = first; i < last; i++) {
		struct slot *slot = &slots[i];
		char output[RESULT_MAX];
		char netns[128];
		char id[64];
		char args[256] = "IgnoreUnknown=1";
		double start;

		usleep((useconds_t)plugin->pause_ms * 1000);
		netns_path(netns, sizeof(netns), i);
		snprintf(id, sizeof(id), "bench-%d-%d", (int)getppid(), i);
		if (plugin->pod)
			snprintf(args, sizeof(args), "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=%s-%d",
				plugin->pod, i);
		if (adding) {
			start = now_ms();
			slot->add_status = call(plugin->path, "ADD", netns, id, args, plugin->conf, slot->result,
				sizeof(slot->result));
			slot->add_ms = now_ms() - start;
			if (slot->add_status)
				fprintf(stderr, "cnibench: ADD: %s\n", slot->result);
			continue;
		}
		with_result(plugin->conf, slot->result, text, sizeof(text));
		start = now_ms();
		slot->del_status = call(plugin->path, "DEL", netns, id, args, text, output, sizeof(output));
		slot->del_ms = now_ms() - start;
		if (slot->del_status)
			fprintf(stderr, "cnibench: DEL: %s\n", output);
	}
}

static double phase(const struct plugin *plugin, struct slot *slots, int count, int workers, int adding)
{
	double start = now_ms();

	for (int w = 0; w < workers; w++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			worker(plugin, slots, count * w / workers, count * (w + 1) / workers, adding);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	return now_ms() - start;
}

static int compare(const void *a, const void *b)
{
	const double *x = a;
	const double *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void print_latencies(const char *name, const struct slot *slots, int count, int adding, double wall)
{
	double *sorted = calloc((size_t)count, sizeof(*sorted));
	int failed = 0;

	if (!sorted)
		die("memory");
	for (int i = 0; i < count; i++) {
		sorted[i] = adding ? slots[i].add_ms : slots[i].del_ms;
		failed += (adding ? slots[i].add_status : slots[i].del_status) != 0;
	}
	qsort(sorted, (size_t)count, sizeof(*sorted), compare);
	printf("\"%s\":{\"median_ms\":%.3f,\"p90_ms\":%.3f,\"max_ms\":%.3f,\"wall_ms\":%.1f,\"failed\":%d}", name,
		sorted[count / 2], sorted[count * 9 / 10], sorted[count - 1], wall, failed);
	free(sorted);
}

static char *read_conf(const char *path)
{
	static char conf[CONF_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, conf, sizeof(conf) - 1);

	if (n <= 0)
		die(path);
	close(fd);
	return conf;
}

/* The workers name namespaces by their parent, which is this process: so it needs a child to make them. */
static void namespaces(int count, void (*each)(const char *path))
{
	pid_t pid = fork();

	if (pid == 0) {
		for (int i = 0; i < count; i++) {
			char path[128];

			netns_path(path, sizeof(path), i);
			each(path);
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	int count = argc > 3 ? atoi(argv[3]) : 0;
	int workers = argc > 4 ? atoi(argv[4]) : 0;
	struct plugin plugin = {.pod = argc > 5 ? argv[5] : NULL, .pause_ms = argc > 6 ? atoi(argv[6]) : 0};
	struct slot *slots;
	double wall;

	if (count < 1 || workers < 1 || workers > 64) {
		fputs("usage: cnibench PLUGIN CONF-FILE COUNT WORKERS [POD [PAUSE]]\n", stderr);
		return 2;
	}
	plugin.path = argv[1];
	plugin.conf = read_conf(argv[2]);
	slots = mmap(NULL, sizeof(*slots) * (size_t)count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (slots == MAP_FAILED)
		die("memory");
	namespaces(count, make_namespace);
	wall = phase(&plugin, slots, count, workers, 1);
	printf("{");
	print_latencies("add", slots, count, 1, wall);
	wall = phase(&plugin, slots, count, workers, 0);
	printf(",");
	print_latencies("del", slots, count, 0, wall);
	printf(",\"count\":%d,\"workers\":%d}\n", count, workers);
	namespaces(count, remove_namespace);
	return 0;
}
