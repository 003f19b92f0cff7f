/* SPDX-License-Identifier: Apache-2.0
 *
 * The echo tool of the lab's images, statically linked.
 *
 *   netecho serve [PORT...]                    HTTP and UDP on each port (8080); a TCP client that does not speak HTTP gets its bytes back
 *   netecho ask http|udp HOST PORT [QUESTION]  prints the answer; exit status 1 when there is none within two seconds
 *   netecho stream HOST PORT SECONDS           one TCP connection for so long; exit status 1 when it breaks or stands still for five seconds
 *
 * Answers: /hostname (UDP: hostname), /clientip, /echo?msg=TEXT (echo TEXT); anything else: server=NAME client=ADDRESS port=PORT. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PORTS_MAX 16
#define ANSWER_MAX 2048

static void leave(int number)
{
	(void)number;
	_exit(0);
}

/* "10.0.0.1", for an IPv4 client of a dual-stack socket too. */
static void name_of(const struct sockaddr_in6 *peer, char text[static INET6_ADDRSTRLEN])
{
	inet_ntop(AF_INET6, &peer->sin6_addr, text, INET6_ADDRSTRLEN);
	if (strncmp(text, "::ffff:", 7) == 0)
		memmove(text, text + 7, strlen(text + 7) + 1);
}

/* question: the path of a URL without its leading '/', or a datagram. Returns the answer's length. */
static int answer(const char *question, const struct sockaddr_in6 *peer, char *text, size_t size)
{
	char host[256] = "", client[INET6_ADDRSTRLEN];
	int port = ntohs(peer->sin6_port), n;

	gethostname(host, sizeof(host) - 1);
	name_of(peer, client);
	if (strcmp(question, "hostname") == 0)
		n = snprintf(text, size, "%s", host);
	else if (strcmp(question, "clientip") == 0)
		n = snprintf(text, size, strchr(client, ':') ? "[%s]:%d" : "%s:%d", client, port);
	else if (strncmp(question, "echo?msg=", 9) == 0)
		n = snprintf(text, size, "%s", question + 9);
	else if (strncmp(question, "echo ", 5) == 0)
		n = snprintf(text, size, "%s", question + 5);
	else
		n = snprintf(text, size, "server=%s client=%s port=%d\n", host, client, port);
	return n < (int)size ? n : (int)size - 1;
}

static bool write_all(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		length -= (size_t)n;
	}
	return true;
}

static bool is_http(const char *data)
{
	return strncmp(data, "GET /", 5) == 0 || strncmp(data, "HEAD /", 6) == 0;
}

/* Reads the rest of the question: to close before would reset the connection. data is the first piece. */
static void serve_http(int fd, char *data, size_t length, size_t size, const struct sockaddr_in6 *peer)
{
	char body[ANSWER_MAX], head[256], *path, *end;
	int n;

	while (!strstr(data, "\r\n\r\n") && length < size - 1) {
		ssize_t more = recv(fd, data + length, size - 1 - length, 0);

		if (more <= 0)
			return;
		length += (size_t)more;
		data[length] = '\0';
	}
	path = strchr(data, '/') + 1;
	end = path + strcspn(path, " \r\n");
	*end = '\0';
	n = answer(path, peer, body, sizeof(body));
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", n);
	if (write_all(fd, head, strlen(head)))
		write_all(fd, body, (size_t)n);
	shutdown(fd, SHUT_WR);
}

/* One connection, in a process of its own. */
static void serve_connection(int fd, const struct sockaddr_in6 *peer)
{
	struct timeval limit = {.tv_sec = 600};
	char data[16384];
	ssize_t n;
	bool first = true;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	while ((n = recv(fd, data, sizeof(data) - 1, 0)) > 0) {
		data[n] = '\0';
		if (first && is_http(data)) {
			serve_http(fd, data, (size_t)n, sizeof(data), peer);
			return;
		}
		first = false;
		if (!write_all(fd, data, (size_t)n))
			return;
	}
}

static void accept_one(int listener)
{
	struct sockaddr_in6 peer;
	socklen_t length = sizeof(peer);
	int fd = accept(listener, (struct sockaddr *)&peer, &length);

	if (fd < 0)
		return;
	if (fork() == 0) {
		signal(SIGTERM, SIG_DFL);
		serve_connection(fd, &peer);
		_exit(0);
	}
	close(fd);
}

/* Answers from the address that was asked, with at least as many bytes. */
static void answer_datagram(int fd)
{
	char data[16384], text[sizeof(data)];
	union {
		char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
		struct cmsghdr align;
	} control;
	struct sockaddr_in6 peer;
	struct iovec part = {data, sizeof(data) - 1};
	struct msghdr message = {.msg_name = &peer, .msg_namelen = sizeof(peer), .msg_iov = &part, .msg_iovlen = 1,
				 .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &message, 0);
	struct cmsghdr *c;
	size_t asked;
	int length;

	if (n < 0)
		return;
	asked = (size_t)n;
	data[n] = '\0';
	data[strcspn(data, "\r\n")] = '\0';
	length = answer(data, &peer, text, sizeof(text));
	if (strncmp(text, "server=", 7) == 0 && (size_t)length < asked) {
		memset(text + length, ' ', asked - (size_t)length);
		length = (int)asked;
	}
	c = CMSG_FIRSTHDR(&message);
	if (c && c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
		((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
	part = (struct iovec){text, (size_t)length};
	sendmsg(fd, &message, 0);
}

static int listen_on(int kind, int port)
{
	struct sockaddr_in6 own = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	int fd = socket(AF_INET6, kind, 0), on = 1, off = 0;

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
		return -1;
	if (kind == SOCK_STREAM && listen(fd, 128) < 0)
		return -1;
	return fd;
}

static int serve(int count, char **ports)
{
	static char *usual[] = {"8080"};
	struct pollfd wait[2 * PORTS_MAX];
	nfds_t n = 0;

	if (count == 0) {
		count = 1;
		ports = usual;
	}
	for (int i = 0; i < count && i < PORTS_MAX; i++) {
		int port = atoi(ports[i]);

		wait[n++] = (struct pollfd){listen_on(SOCK_STREAM, port), POLLIN, 0};
		wait[n++] = (struct pollfd){listen_on(SOCK_DGRAM, port), POLLIN, 0};
		if (wait[n - 2].fd < 0 || wait[n - 1].fd < 0) {
			fprintf(stderr, "netecho: port %s: %s\n", ports[i], strerror(errno));
			return 1;
		}
	}
	signal(SIGCHLD, SIG_IGN);
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		if (poll(wait, n, -1) < 0)
			continue;
		for (nfds_t i = 0; i < n; i++) {
			if (wait[i].revents & POLLIN)
				i % 2 ? answer_datagram(wait[i].fd) : accept_one(wait[i].fd);
		}
	}
}

static int connect_to(int kind, const char *host, const char *port, int seconds)
{
	struct addrinfo wanted = {.ai_socktype = kind}, *found;
	struct timeval limit = {.tv_sec = seconds};
	int fd, rc = getaddrinfo(host, port, &wanted, &found);

	if (rc) {
		fprintf(stderr, "netecho: %s: %s\n", host, gai_strerror(rc));
		return -1;
	}
	fd = socket(found->ai_family, kind, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, found->ai_addr, found->ai_addrlen) < 0) {
		fprintf(stderr, "netecho: %s port %s: %s\n", host, port, errno == EINPROGRESS ? "no answer" : strerror(errno));
		close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

static int ask(const char *protocol, const char *host, const char *port, const char *question)
{
	bool http = strcmp(protocol, "http") == 0;
	char data[16384], *body;
	size_t length = 0;
	ssize_t n;
	int fd = connect_to(http ? SOCK_STREAM : SOCK_DGRAM, host, port, 2);

	if (fd < 0)
		return 1;
	n = snprintf(data, sizeof(data), http ? "GET /%s HTTP/1.0\r\n\r\n" : "%s\n", question);
	if (!write_all(fd, data, (size_t)n))
		return 1;
	do {
		n = recv(fd, data + length, sizeof(data) - 1 - length, 0);
		if (n < 0) {
			fprintf(stderr, "netecho: %s port %s: %s\n", host, port, errno == EAGAIN ? "no answer" : strerror(errno));
			return 1;
		}
		length += (size_t)n;
	} while (http && n > 0);
	data[length] = '\0';
	body = http ? strstr(data, "\r\n\r\n") : data;
	if (!body)
		body = data;
	else if (http)
		body += 4;
	printf("%s%s", body, *body && body[strlen(body) - 1] == '\n' ? "" : "\n");
	return 0;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int stream(const char *host, const char *port, double seconds)
{
	int fd = connect_to(SOCK_STREAM, host, port, 5);
	double start = now(), longest = 0;
	unsigned int sent = 0;

	if (fd < 0)
		return 1;
	while (now() - start < seconds) {
		struct timespec pause = {0, 5000000};
		unsigned int back = 0;
		double before = now();

		sent++;
		if (!write_all(fd, (char *)&sent, sizeof(sent)) || recv(fd, &back, sizeof(back), MSG_WAITALL) != sizeof(back) || back != sent) {
			fprintf(stderr, "netecho: the connection broke after %.2f s, %u exchanges\n", now() - start, sent - 1);
			return 1;
		}
		if (now() - before > longest)
			longest = now() - before;
		nanosleep(&pause, NULL);
	}
	printf("%u exchanges, longest %.3f s\n", sent, longest);
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGTERM, leave);
	signal(SIGINT, leave);
	if (argc >= 2 && strcmp(argv[1], "serve") == 0)
		return serve(argc - 2, argv + 2);
	if ((argc == 5 || argc == 6) && strcmp(argv[1], "ask") == 0)
		return ask(argv[2], argv[3], argv[4], argc == 6 ? argv[5] : "");
	if (argc == 5 && strcmp(argv[1], "stream") == 0)
		return stream(argv[2], argv[3], atof(argv[4]));
	fprintf(stderr, "usage: netecho serve [PORT...] | netecho ask http|udp HOST PORT [QUESTION] | netecho stream HOST PORT SECONDS\n");
	return 2;
}
