/* SPDX-License-Identifier: Apache-2.0
 *
 * The CNI server and pod attachment without the rest of the agent: what the protocol suite runs in the network
 * namespace that stands for a node. Arguments: DIR IPV4-BLOCK|- IPV6-BLOCK|- IPV4-CLUSTER|- IPV6-CLUSTER|- MASQ(0|1).
 * The socket is DIR/cni.sock, the spool DIR/spool, the journal DIR/state. While DIR/not-ready exists, its first line
 * is why pods cannot be added; while DIR/awaits exists, ADDs wait for what it says (SIGUSR1: ask again). SIGTERM ends it.
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "cni_server/cni_server.h"

#include <event2/event.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct harness {
	char not_ready_path[256], awaits_path[256], reason[256];
	struct cni_server *server;
};

/* A file's first line; false: there is no file. */
static bool read_reason(struct harness *harness, const char *path)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(sizeof(harness->reason) - 1);

	if (file_read(path, &text, NULL) < 0)
		return false;
	snprintf(harness->reason, sizeof(harness->reason), "%.*s", (int)strcspn(buf_text(&text), "\n"), buf_text(&text));
	return true;
}

static const char *not_ready(void *ctx)
{
	struct harness *harness = ctx;

	return read_reason(harness, harness->not_ready_path) ? harness->reason : NULL;
}

/* While the file "awaits" is there, every pod waits for what it says; "refuse TEXT" refuses it. */
static int admit(void *ctx, const struct attach_request *request, struct err *err)
{
	struct harness *harness = ctx;

	if (!read_reason(harness, harness->awaits_path))
		return 0;
	if (strncmp(harness->reason, "refuse ", 7) == 0)
		return err_set(err, -EINVAL, "%s of %s/%s", harness->reason + 7, request->pod_namespace, request->pod_name);
	return err_set(err, -EINPROGRESS, "%s/%s: %s", request->pod_namespace, request->pod_name, harness->reason);
}

static void on_kick(evutil_socket_t number, short what, void *ctx)
{
	struct harness *harness = ctx;

	(void)number;
	(void)what;
	cni_server_kick(harness->server);
}

static void set_family(struct network *network, struct lease *own, int f, const char *block, const char *cluster)
{
	if (strcmp(block, "-") == 0)
		return;
	if (prefix_parse(block, &own->subnet[f]) < 0 || prefix_parse(cluster, &network->pool[f].cidr) < 0) {
		log_error("%s %s: not prefixes", block, cluster);
		exit(2);
	}
}

static void on_signal(evutil_socket_t number, short what, void *base)
{
	(void)number;
	(void)what;
	event_base_loopbreak(base);
}

static void report(void *ctx, const char *text)
{
	(void)ctx;
	log_warning("%s", text);
}

static int run(struct event_base *base, char **argv)
{
	struct harness harness = {0};
	struct event *kick = evsignal_new(base, SIGUSR1, on_kick, &harness);
	char socket_path[200], spool[200], state[200];
	struct attach_options attach_options = {.state_dir = state, .cooldown_s = 5, .host_local_dir = "/nowhere",
		.flannel_dir = "/nowhere", .report = report};
	struct cni_server_options options = {.socket_path = socket_path, .spool_dir = spool,
		.ip_masq = argv[6][0] == '1', .not_ready = not_ready, .admit = admit, .ctx = &harness};
	struct network network = {.backend = "host-gw", .routed = true};
	struct lease own = {.key = "own"};
	struct attacher *attacher = NULL;
	struct err err = ERR_INIT;
	int rc;

	snprintf(socket_path, sizeof(socket_path), "%.150s/cni.sock", argv[1]);
	snprintf(spool, sizeof(spool), "%.150s/spool", argv[1]);
	snprintf(state, sizeof(state), "%.150s/state", argv[1]);
	snprintf(harness.not_ready_path, sizeof(harness.not_ready_path), "%.150s/not-ready", argv[1]);
	snprintf(harness.awaits_path, sizeof(harness.awaits_path), "%.150s/awaits", argv[1]);
	set_family(&network, &own, FAMILY_4, argv[2], argv[4]);
	set_family(&network, &own, FAMILY_6, argv[3], argv[5]);
	rc = attach_new(base, &attach_options, &attacher, &err);
	if (rc == 0) {
		rc = attach_recover(attacher, &err);
		attach_set_network(attacher, &network, &own, 1450);
	}
	if (rc == 0)
		rc = cni_server_new(base, &options, attacher, &harness.server, &err);
	if (rc == 0) {
		event_add(kick, NULL);
		event_base_dispatch(base);
	} else {
		log_error("%s", err_text(&err));
	}
	event_free(kick);
	cni_server_free(harness.server);
	attach_free(attacher);
	return rc == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct event_base *base = event_base_new();
	struct event *term = evsignal_new(base, SIGTERM, on_signal, base);
	int rc;

	if (argc != 7) {
		fprintf(stderr, "usage: cni_harness DIR BLOCK4 BLOCK6 CLUSTER4 CLUSTER6 MASQ\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	event_add(term, NULL);
	rc = run(base, argv);
	event_free(term);
	event_base_free(base);
	return rc;
}
