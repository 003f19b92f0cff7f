/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's CNI socket (/run/tulle/cni.sock, root only): reads frames (base/frame.h), answers CNI 0.1.0 to 1.1.0 as
 * reference/cni.md says, and drains the plugin's spool of DELs at start. One request a connection; deadlines on both
 * directions; at most 512 connections.
 */
#pragma once

#include "attach/attach.h"
#include "base/err.h"

struct event_base;
struct cni_server;

struct cni_server_options {
	const char *socket_path;
	const char *spool_dir;      /* /var/lib/tulle/spool */
	bool ip_masq;               /* --ip-masq: what Flannel's delegate ipMasq defaults against */
	/* Readiness for STATUS and ADD: null when pods can be added, otherwise why not (text for the user). */
	const char *(*not_ready)(void *ctx);
	/* What an ADD needs before it can be done: 0 when all is there; -EINPROGRESS: not yet, err says what is awaited, and
	 * cni_server_kick has it asked again (after CNI_WAIT_MAX_MS the ADD fails with code 11); any other error ends the
	 * ADD, as of attach_add. May be null. */
	int (*admit)(void *ctx, const struct attach_request *request, struct err *err);
	void *ctx;
};

#define CNI_WAIT_MAX_MS 8000

int cni_server_new(struct event_base *base, const struct cni_server_options *options, struct attacher *attacher,
	struct cni_server **ret, struct err *err);
void cni_server_free(struct cni_server *server);
/* Something that ADDs may wait for has come. */
void cni_server_kick(struct cni_server *server);

struct cni_server_stats {
	uint64_t requests[8]; /* ADD DEL CHECK GC STATUS VERSION other spool */
	uint64_t errors;
	uint64_t add_ns_total, del_ns_total;
};
void cni_server_get_stats(const struct cni_server *server, struct cni_server_stats *ret);

/* Checks a CNI configuration (conf or conflist) as the server would take it, for "tullectl config check". */
int cni_conf_check(const char *text, size_t len, const char *where, struct err *err);
