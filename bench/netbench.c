/* SPDX-License-Identifier: Apache-2.0
 *
 * netbench: the ping-pong that tells data paths apart (reference/test-bed.md, "Measuring data paths").
 *
 *   netbench serve ADDR PORT                       TCP echo of one byte, discards larger reads; UDP counts and answers
 *   netbench rr ADDR PORT MILLISECONDS             request/response over one TCP connection: microseconds each
 *   netbench crr ADDR PORT MILLISECONDS            connect, request, response, close: microseconds each
 *   netbench udp ADDR PORT MILLISECONDS            64-byte datagrams: nanoseconds a packet that arrived
 *   netbench stream ADDR PORT MILLISECONDS         bulk TCP: Mbit/s
 *
 * Client and server are pinned to CPU 0, so that the cost of the path itself shows and not the wake-up of a CPU.
 * Prints one JSON object. Loops are bounded by the time given.
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DATAGRAM = 64, MAX_CONNECTIONS = 64, SAMPLES = 1 << 20 };

static void die(const char *what)
{
	fprintf(stderr, "netbench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
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
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (type == SOCK_STREAM) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5); /* namespaces may inherit another one */
	}
	return fd;
}

/* -- server -- */

static void serve_udp(int fd)
{
	static uint32_t arrived;
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char data[2048];
	ssize_t n = recvfrom(fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&from, &len);

	if (n == DATAGRAM) {
		arrived++;
	} else if (n == 4) { /* how many? */
		sendto(fd, &arrived, sizeof(arrived), 0, (struct sockaddr *)&from, len);
	} else if (n == 5) { /* begin again */
		arrived = 0;
		sendto(fd, &arrived, sizeof(arrived), 0, (struct sockaddr *)&from, len);
	}
}

/* False when the connection is over. */
static int serve_tcp(int fd)
{
	static char data[1 << 18];
	ssize_t n = recv(fd, data, sizeof(data), 0);

	if (n <= 0)
		return 0;
	return n > 1 || send(fd, data, 1, MSG_NOSIGNAL) == 1;
}

static void accept_one(int listener, struct pollfd *polls, int *count)
{
	int one = 1;
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		return;
	if (*count == MAX_CONNECTIONS) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	polls[(*count)++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void serve(const struct sockaddr_storage *addr, socklen_t len)
{
	struct pollfd polls[MAX_CONNECTIONS];
	int count = 2;
	int tcp = make_socket(addr, SOCK_STREAM);
	int udp = make_socket(addr, SOCK_DGRAM);
	int room = 1 << 24;

	setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if (bind(tcp, (const struct sockaddr *)addr, len) < 0 || listen(tcp, 1024) < 0 ||
		bind(udp, (const struct sockaddr *)addr, len) < 0)
		die("bind");
	polls[0] = (struct pollfd){.fd = tcp, .events = POLLIN};
	polls[1] = (struct pollfd){.fd = udp, .events = POLLIN};
	printf("ready\n");
	fflush(stdout);
	while (poll(polls, (nfds_t)count, -1) >= 0) {
		for (int i = count - 1; i >= 2; i--) {
			if (!polls[i].revents || serve_tcp(polls[i].fd))
				continue;
			close(polls[i].fd);
			polls[i] = polls[--count];
		}
		if (polls[1].revents)
			serve_udp(udp);
		if (polls[0].revents)
			accept_one(tcp, polls, &count);
	}
}

/* -- clients -- */

static int connected(const struct sockaddr_storage *addr, socklen_t len)
{
	int fd = make_socket(addr, SOCK_STREAM);
	struct linger hard = {.l_onoff = 1};

	/* no TIME_WAIT: the ports would run out */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	if (connect(fd, (const struct sockaddr *)addr, len) < 0)
		die("connect");
	return fd;
}

static void exchange(int fd)
{
	char byte = 'x';

	if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
		die("exchange");
}

static int compare(const void *a, const void *b)
{
	const int32_t *x = a;
	const int32_t *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void print_samples(const char *name, int32_t *samples, size_t count)
{
	qsort(samples, count, sizeof(*samples), compare);
	printf("{\"test\":\"%s\",\"count\":%zu,\"p50_us\":%.3f,\"p99_us\":%.3f}\n", name, count,
		samples[count / 2] / 1000.0, samples[count * 99 / 100] / 1000.0);
}

static void request_response(const char *name, const struct sockaddr_storage *addr, socklen_t len, int64_t ns)
{
	int32_t *samples = calloc(SAMPLES, sizeof(*samples));
	int each = strcmp(name, "crr") == 0;
	int fd = each ? -1 : connected(addr, len);
	int64_t end = now_ns() + ns;
	size_t count = 0;

	if (!samples)
		die("memory");
	for (int64_t before = now_ns(); before < end && count < SAMPLES;) {
		int64_t after;

		if (each)
			fd = connected(addr, len);
		exchange(fd);
		if (each)
			close(fd);
		after = now_ns();
		samples[count++] = (int32_t)(after - before);
		before = after;
	}
	if (!count)
		die("no sample");
	print_samples(name, samples, count);
	free(samples);
}

static uint32_t ask(int fd, size_t size)
{
	char question[8] = {0};
	uint32_t answer = 0;
	struct timeval wait = {.tv_sec = 1};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	for (int i = 0; i < 10; i++) {
		send(fd, question, size, 0);
		if (recv(fd, &answer, sizeof(answer), 0) == sizeof(answer))
			return answer;
	}
	die("the server does not answer");
	return 0;
}

static void datagrams(const struct sockaddr_storage *addr, socklen_t len, int64_t ns)
{
	int fd = make_socket(addr, SOCK_DGRAM);
	char data[DATAGRAM] = {0};
	int64_t start;
	int64_t used;
	uint32_t arrived;
	uint64_t sent = 0;

	if (connect(fd, (const struct sockaddr *)addr, len) < 0)
		die("connect");
	ask(fd, 5);
	start = now_ns();
	while ((used = now_ns() - start) < ns)
		for (int i = 0; i < 64; i++)
			sent += send(fd, data, sizeof(data), 0) == (ssize_t)sizeof(data);
	arrived = ask(fd, 4);
	used = now_ns() - start; /* the server has worked its queue off */
	printf("{\"test\":\"udp\",\"sent\":%llu,\"arrived\":%u,\"ns_per_packet\":%.1f}\n", (unsigned long long)sent, arrived,
		arrived ? (double)used / arrived : 0.0);
}

static void stream(const struct sockaddr_storage *addr, socklen_t len, int64_t ns)
{
	static char data[1 << 17];
	int fd = connected(addr, len);
	int64_t start = now_ns();
	int64_t used;
	uint64_t bytes = 0;

	while ((used = now_ns() - start) < ns) {
		ssize_t n = send(fd, data, sizeof(data), MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		bytes += (uint64_t)n;
	}
	printf("{\"test\":\"stream\",\"mbit_per_s\":%.1f}\n", (double)bytes * 8000.0 / (double)used);
}

int main(int argc, char **argv)
{
	struct sockaddr_storage addr;
	socklen_t len;
	int64_t ns;

	if (argc < 4) {
		fputs("usage: netbench serve|rr|crr|udp|stream ADDR PORT [MILLISECONDS]\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	pin();
	len = address(argv[2], argv[3], &addr);
	ns = (argc > 4 ? atoll(argv[4]) : 500) * 1000000;
	if (strcmp(argv[1], "serve") == 0)
		serve(&addr, len);
	else if (strcmp(argv[1], "rr") == 0 || strcmp(argv[1], "crr") == 0)
		request_response(argv[1], &addr, len, ns);
	else if (strcmp(argv[1], "udp") == 0)
		datagrams(&addr, len, ns);
	else if (strcmp(argv[1], "stream") == 0)
		stream(&addr, len, ns);
	else
		return 2;
	return 0;
}
