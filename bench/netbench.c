/* SPDX-License-Identifier: Apache-2.0
 *
 * netbench: the ping-pong that tells data paths apart (reference/test-bed.md, "Measuring data paths").
 *
 *   netbench serve ADDR PORT [CPU]                    the other end of all that follow
 *   netbench rr ADDR PORT [MILLISECONDS [FLOWS]]      request and response of one byte, TCP, round all flows in turn: microseconds each
 *   netbench udprr ADDR PORT …                        the same with datagrams
 *   netbench crr ADDR PORT …                          connect, request, response, close: microseconds each
 *   netbench udp ADDR PORT …                          64-byte datagrams: nanoseconds a packet that arrived
 *   netbench stream ADDR PORT …                       bulk TCP: Mbit/s that arrived
 *   netbench udpstream ADDR PORT …                    1400-byte datagrams: Mbit/s that arrived
 *
 * Client and server are pinned to CPU 0 (the server to another one on request), so that the cost of the path itself shows and not the
 * wake-up of a CPU. Prints one JSON object; cpu_ns is the processor time of client and server for each unit of it: an exchange,
 * a packet that arrived, for stream 1448 bytes. What packets cost in the kernel is in it, unless ksoftirqd or an idle CPU's interrupt did it.
 * retransmitted: TCP segments that the client's namespace sent again. Loops are bounded by the time given.
 *
 * The server waits for datagrams. A struct control says what comes: it answers with a struct report, and serves TCP if that is
 * what comes, until the client is done or its time is over.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { DATAGRAM = 64, LARGE_DATAGRAM = 1400, SEGMENT = 1448, SAMPLES = 1 << 20, EVENTS = 64, BURST = 64 };
enum { MAGIC = 0x744e6242, MOST_FLOWS = 20000 };
enum command { REPORT, RESET, ONE_BY_ONE, MANY }; /* the last two: TCP comes, on one connection at a time or on many */

struct control {
	uint32_t magic;
	uint32_t command;
	uint32_t milliseconds; /* how long at most */
};

struct report {
	uint32_t magic;
	uint32_t command; /* that it answers */
	uint64_t packets; /* datagrams since RESET */
	uint64_t bytes;
	uint64_t cpu_ns; /* of the server, ever */
};

struct server {
	int udp;
	int tcp;
	uint64_t packets;
	uint64_t bytes;
};

static void die(const char *what)
{
	fprintf(stderr, "netbench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void allow_files(void)
{
	struct rlimit limit = {.rlim_cur = MOST_FLOWS + 100, .rlim_max = MOST_FLOWS + 100};

	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max; /* as many as we may */
	setrlimit(RLIMIT_NOFILE, &limit);
}

static socklen_t address(const char *text, const char *port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)atoi(port));
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) != 1) {
		errno = EINVAL;
		die(text);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons((uint16_t)atoi(port));
	return sizeof(*in6);
}

static int make_socket(const struct sockaddr_storage *addr, int type)
{
	int fd = socket(addr->ss_family, type, 0);
	int one = 1;

	if (fd < 0)
		die("socket");
	if (type == SOCK_STREAM) { /* datagram sockets that may share a port would be given the same ones */
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5); /* namespaces may inherit another one */
	}
	return fd;
}

/* -- server -- */

static void on_alarm(int number)
{
	(void)number; /* it is there to interrupt */
}

static void set_alarm(uint32_t milliseconds)
{
	struct itimerval timer = {.it_value = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000}};

	setitimer(ITIMER_REAL, &timer, NULL);
}

static void report(struct server *server, uint32_t command, const struct sockaddr_storage *to, socklen_t len)
{
	struct report answer = {.magic = MAGIC, .command = command, .packets = server->packets, .bytes = server->bytes,
		.cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID)};

	sendto(server->udp, &answer, sizeof(answer), 0, (const struct sockaddr *)to, len);
}

/* One datagram: echoes it, counts it, or answers it and returns its command; 0 (REPORT) when there is nothing more to do. */
static uint32_t serve_datagram(struct server *server, int flags, uint32_t *ret_milliseconds)
{
	union {
		struct control control;
		char data[2048];
	} in;
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(server->udp, &in, sizeof(in), flags, (struct sockaddr *)&from, &len);

	if (n == 1) {
		sendto(server->udp, &in, 1, 0, (struct sockaddr *)&from, len);
	} else if (n == sizeof(in.control) && in.control.magic == MAGIC) {
		if (in.control.command == RESET)
			server->packets = server->bytes = 0;
		report(server, in.control.command, &from, len);
		*ret_milliseconds = in.control.milliseconds;
		return in.control.command;
	} else if (n > 0) {
		server->packets++;
		server->bytes += (uint64_t)n;
	}
	return REPORT;
}

static void drain(struct server *server)
{
	char data[2048];

	while (recv(server->udp, data, sizeof(data), MSG_DONTWAIT) >= 0)
		;
}

static int accept_one(struct server *server, int flags)
{
	int one = 1;
	int fd = accept4(server->tcp, NULL, NULL, flags);

	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* Blocking calls alone, as little as a server can do. Byte 'q' ends it. */
static void serve_one_by_one(struct server *server)
{
	char byte = 0;
	int fd;

	while (byte != 'q' && (fd = accept_one(server, 0)) >= 0) {
		while (recv(fd, &byte, 1, 0) == 1 && byte != 'q')
			if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
				break;
		close(fd);
		if (errno == EINTR)
			break;
	}
	set_alarm(0);
	drain(server); /* a question that came twice */
}

/* False when the connection is over. */
static int serve_tcp(struct server *server, int fd)
{
	static char data[1 << 18];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	server->bytes += (uint64_t)n;
	return n > 1 || send(fd, data, 1, MSG_NOSIGNAL) == 1;
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll");
}

/* Until the client asks for another command than REPORT, or the alarm. Connections that are left are closed. */
static void serve_many(struct server *server)
{
	static char open[MOST_FLOWS + 128];
	struct epoll_event events[EVENTS];
	int epoll = epoll_create1(0);
	uint32_t command = REPORT;
	uint32_t ignored;
	int count;
	int fd;

	memset(open, 0, sizeof(open));
	watch(epoll, server->tcp);
	watch(epoll, server->udp);
	while (command == REPORT && (count = epoll_wait(epoll, events, EVENTS, -1)) >= 0) {
		for (int i = 0; i < count; i++) {
			fd = events[i].data.fd;
			if (fd == server->udp) {
				command = serve_datagram(server, MSG_DONTWAIT, &ignored);
			} else if (fd != server->tcp) {
				open[fd] = (char)serve_tcp(server, fd);
				if (!open[fd])
					close(fd);
			} else if ((fd = accept_one(server, 0)) >= (int)sizeof(open)) {
				close(fd);
			} else if (fd >= 0) {
				open[fd] = 1;
				watch(epoll, fd);
			}
		}
	}
	set_alarm(0);
	for (fd = 0; fd < (int)sizeof(open); fd++)
		if (open[fd])
			close(fd);
	close(epoll);
}

static void serve(const struct sockaddr_storage *addr, socklen_t len)
{
	struct server server = {.tcp = make_socket(addr, SOCK_STREAM), .udp = make_socket(addr, SOCK_DGRAM)};
	struct sigaction action = {.sa_handler = on_alarm};
	int room = 1 << 24;

	sigaction(SIGALRM, &action, NULL);
	if (setsockopt(server.udp, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		setsockopt(server.udp, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if (bind(server.tcp, (const struct sockaddr *)addr, len) < 0 || listen(server.tcp, 4096) < 0 ||
		bind(server.udp, (const struct sockaddr *)addr, len) < 0)
		die("bind");
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		uint32_t milliseconds;
		uint32_t command = serve_datagram(&server, 0, &milliseconds);

		errno = 0;
		if (command < ONE_BY_ONE)
			continue;
		set_alarm(milliseconds);
		if (command == ONE_BY_ONE)
			serve_one_by_one(&server);
		else
			serve_many(&server);
	}
}

/* -- clients -- */

struct client {
	const char *test;
	struct sockaddr_storage addr;
	socklen_t len;
	uint64_t ns;
	int flows;
	int control; /* socket */
	int *fds;    /* one for each flow */
	uint64_t start; /* time, processor time and retransmissions before */
	uint64_t cpu;
	uint64_t sent_again;
};

static int connected(const struct client *client, int type)
{
	int fd = make_socket(&client->addr, type);
	struct linger hard = {.l_onoff = 1};

	/* no TIME_WAIT: the ports would run out */
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	if (connect(fd, (const struct sockaddr *)&client->addr, client->len) < 0)
		die("connect");
	return fd;
}

static struct report ask(const struct client *client, enum command command)
{
	struct control question = {.magic = MAGIC, .command = command, .milliseconds = (uint32_t)(client->ns / 1000000) + 5000};
	struct report answer;
	struct pollfd waiting = {.fd = client->control, .events = POLLIN};

	for (int i = 0, n; i < 10; i++) {
		if (send(client->control, &question, sizeof(question), 0) < 0 && errno != ECONNREFUSED)
			die("send");
		while ((n = poll(&waiting, 1, 1000)) == 1 || (n < 0 && errno == EINTR))
			if (n == 1 && recv(client->control, &answer, sizeof(answer), 0) == sizeof(answer) && answer.magic == MAGIC &&
				answer.command == command)
				return answer;
	}
	errno = ETIMEDOUT;
	die("the server does not answer");
	return answer;
}

/* Segments that this namespace's TCP has sent again. */
static uint64_t retransmitted(void)
{
	unsigned long long value = 0;
	char names[1024];
	char values[1024];
	FILE *file = fopen("/proc/net/snmp", "r");
	char *names_left;
	char *values_left;

	while (file && fgets(names, sizeof(names), file) && fgets(values, sizeof(values), file)) {
		if (strncmp(names, "Tcp:", 4) != 0)
			continue;
		char *name = strtok_r(names, " \n", &names_left);
		char *number = strtok_r(values, " \n", &values_left);

		for (; name && number; name = strtok_r(NULL, " \n", &names_left), number = strtok_r(NULL, " \n", &values_left))
			if (strcmp(name, "RetransSegs") == 0)
				value = strtoull(number, NULL, 10);
	}
	if (file)
		fclose(file);
	return value;
}

static void begin(struct client *client)
{
	client->cpu = ask(client, REPORT).cpu_ns + clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	client->sent_again = retransmitted();
	client->start = now_ns();
}

/* What every test prints behind its own. */
static void print_costs(const struct client *client, uint64_t server_cpu, double units)
{
	uint64_t cpu = server_cpu + clock_ns(CLOCK_PROCESS_CPUTIME_ID) - client->cpu;

	printf(",\"units\":%.0f,\"cpu_ns\":%.1f,\"retransmitted\":%llu}\n", units, units > 0 ? (double)cpu / units : 0.0,
		(unsigned long long)(retransmitted() - client->sent_again));
}

/* A lost datagram is sent again at the next tick of the timer: that one exchange then shows. A timer, because a socket's own
 * time limit, or a poll, would cost something each time. */
static void exchange(int fd, int again)
{
	char byte = 'x';

	if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
		die("send");
	while (recv(fd, &byte, 1, 0) != 1)
		if (errno != EINTR || (again && send(fd, &byte, 1, MSG_NOSIGNAL) != 1))
			die("exchange");
}

static int compare(const void *a, const void *b)
{
	const uint32_t *x = a;
	const uint32_t *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void print_samples(const struct client *client, uint32_t *samples, size_t count)
{
	if (!count)
		die("no sample");
	qsort(samples, count, sizeof(*samples), compare);
	printf("{\"test\":\"%s\",\"flows\":%d,\"count\":%zu,\"p50_us\":%.3f,\"p99_us\":%.3f", client->test, client->flows, count,
		samples[count / 2] / 1000.0, samples[count * 99 / 100] / 1000.0);
}

static void tick(void)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval timer = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void open_flows(struct client *client, int type)
{
	client->fds = calloc((size_t)client->flows, sizeof(*client->fds));
	if (!client->fds)
		die("memory");
	for (int i = 0; i < client->flows; i++)
		client->fds[i] = connected(client, type);
}

static void request_response(struct client *client)
{
	uint32_t *samples = calloc(SAMPLES, sizeof(*samples));
	int tcp = strcmp(client->test, "rr") == 0;
	size_t count = 0;
	uint64_t end;

	if (!samples)
		die("memory");
	if (tcp)
		ask(client, MANY);
	open_flows(client, tcp ? SOCK_STREAM : SOCK_DGRAM);
	tick();
	for (int i = 0; i < client->flows; i++)
		exchange(client->fds[i], !tcp);
	begin(client);
	end = client->start + client->ns;
	/* twice round at least */
	for (uint64_t before = client->start; (before < end || count < 2 * (size_t)client->flows) && count < SAMPLES;) {
		uint64_t after;

		exchange(client->fds[count % (size_t)client->flows], !tcp);
		after = now_ns();
		samples[count++] = (uint32_t)(after - before);
		before = after;
	}
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	print_samples(client, samples, count);
	print_costs(client, ask(client, RESET).cpu_ns, (double)count);
}

/* One connection at a time, and the server in blocking calls: rr with one flow, and crr. */
static void one_by_one(struct client *client)
{
	uint32_t *samples = calloc(SAMPLES, sizeof(*samples));
	int each = strcmp(client->test, "crr") == 0;
	size_t count = 0;
	uint64_t end;
	int fd = -1;

	if (!samples)
		die("memory");
	begin(client);
	ask(client, ONE_BY_ONE);
	if (!each)
		fd = connected(client, SOCK_STREAM);
	client->start = now_ns();
	end = client->start + client->ns;
	for (uint64_t before = client->start; before < end && count < SAMPLES;) {
		uint64_t after;

		if (each)
			fd = connected(client, SOCK_STREAM);
		exchange(fd, 0);
		if (each)
			close(fd);
		after = now_ns();
		samples[count++] = (uint32_t)(after - before);
		before = after;
	}
	if (each)
		fd = connected(client, SOCK_STREAM);
	send(fd, "q", 1, MSG_NOSIGNAL);
	recv(fd, &(char){0}, 1, 0); /* the server has read it and closes */
	print_samples(client, samples, count);
	print_costs(client, ask(client, REPORT).cpu_ns, (double)count);
}

static void datagrams(struct client *client)
{
	static char data[LARGE_DATAGRAM];
	int large = strcmp(client->test, "udpstream") == 0;
	size_t size = large ? LARGE_DATAGRAM : DATAGRAM;
	struct report done;
	uint64_t sent = 0;
	uint64_t used;

	open_flows(client, SOCK_DGRAM);
	ask(client, RESET);
	begin(client);
	for (int flow = 0; now_ns() - client->start < client->ns; flow = (flow + 1) % client->flows)
		for (int i = 0; i < BURST; i++)
			sent += send(client->fds[flow], data, size, 0) == (ssize_t)size;
	done = ask(client, REPORT);
	used = now_ns() - client->start; /* the server has worked its queue off */
	printf("{\"test\":\"%s\",\"flows\":%d,\"sent\":%llu,\"arrived\":%llu,\"ns_per_packet\":%.1f,\"mbit_per_s\":%.1f", client->test, client->flows,
		(unsigned long long)sent, (unsigned long long)done.packets, done.packets ? (double)used / (double)done.packets : 0.0,
		(double)done.bytes * 8000.0 / (double)used);
	print_costs(client, done.cpu_ns, (double)done.packets);
}

static void stream(struct client *client)
{
	static char data[1 << 17];
	struct pollfd polls[64];
	struct report before;
	struct report done;
	uint64_t used;

	if (client->flows > 64)
		client->flows = 64;
	ask(client, RESET);
	ask(client, MANY);
	open_flows(client, SOCK_STREAM);
	for (int i = 0; i < client->flows; i++)
		polls[i] = (struct pollfd){.fd = client->fds[i], .events = POLLOUT};
	before = ask(client, REPORT);
	begin(client);
	while (now_ns() - client->start < client->ns && poll(polls, (nfds_t)client->flows, 1000) >= 0)
		for (int i = 0; i < client->flows; i++)
			if (polls[i].revents && send(polls[i].fd, data, sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
				die("send");
	done = ask(client, REPORT);
	used = now_ns() - client->start;
	done.bytes -= before.bytes;
	printf("{\"test\":\"stream\",\"flows\":%d,\"mbit_per_s\":%.1f", client->flows, (double)done.bytes * 8000.0 / (double)used);
	print_costs(client, done.cpu_ns, (double)done.bytes / SEGMENT);
	ask(client, RESET);
}

static const struct {
	const char *name;
	void (*one)(struct client *client);  /* with one flow */
	void (*many)(struct client *client); /* with more */
} tests[] = {
	{"rr", one_by_one, request_response},
	{"udprr", request_response, request_response},
	{"crr", one_by_one, one_by_one},
	{"udp", datagrams, datagrams},
	{"stream", stream, stream},
	{"udpstream", datagrams, datagrams},
};

static int usage(void)
{
	fputs("usage: netbench serve ADDR PORT [CPU]\n"
	      "       netbench rr|udprr|crr|udp|stream|udpstream ADDR PORT [MILLISECONDS [FLOWS]]\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	struct client client = {.ns = 500000000, .flows = 1};

	if (argc < 4)
		return usage();
	signal(SIGPIPE, SIG_IGN);
	allow_files();
	client.len = address(argv[2], argv[3], &client.addr);
	if (strcmp(argv[1], "serve") == 0) {
		pin(argc > 4 ? atoi(argv[4]) : 0);
		serve(&client.addr, client.len);
	}
	pin(0);
	client.test = argv[1];
	if (argc > 4)
		client.ns = strtoull(argv[4], NULL, 10) * 1000000;
	if (argc > 5)
		client.flows = atoi(argv[5]);
	if (client.flows < 1 || client.flows > MOST_FLOWS)
		return usage();
	client.control = connected(&client, SOCK_DGRAM);
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		if (strcmp(argv[1], tests[i].name) == 0) {
			(client.flows == 1 ? tests[i].one : tests[i].many)(&client);
			return 0;
		}
	return usage();
}
