/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/calico/kube.h"

#include "agent/calico/internal.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/rfc3339.h"
#include "store/directory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_S 60 /* somebody may have set it to True again */
#define WRITE_MS 10000
#define PROBLEM "condition NetworkUnavailable"

struct calico_kube {
	struct calico *calico;
	struct kv *config;
	struct kv_events config_events;
	struct event *look;
	struct objects_call *read;
	struct kube_call *write;
};

/* -- the condition -- */

static bool is_set(const json_t *node)
{
	json_t *conditions = json_object_get(json_object_get(node, "status"), "conditions"), *one;
	size_t i;

	json_array_foreach(conditions, i, one) {
		const char *type = json_string_value(json_object_get(one, "type"));
		const char *status = json_string_value(json_object_get(one, "status"));

		if (type && status && strcmp(type, "NetworkUnavailable") == 0)
			return strcmp(status, "False") == 0;
	}
	return false;
}

static void on_written(void *ctx, const struct kube_answer *answer)
{
	struct calico_kube *kube = ctx;

	kube->write = NULL;
	problems_set(kube->calico->agent->problems, PROBLEM, answer->status / 100 == 2 ? NULL : answer->text);
}

static void set(struct calico_kube *kube)
{
	_cleanup_(json_cleanup) json_t *patch = NULL;
	_cleanup_(buf_free) struct buf path = BUF_INIT(4096), name = BUF_INIT(1024);
	_cleanup_free_ char *body = NULL;
	char now[RFC3339_MAX];
	struct kube_request request = {.method = "PATCH", .content_type = "application/strategic-merge-patch+json",
		.timeout_ms = WRITE_MS, .done = on_written, .ctx = kube};

	rfc3339_format(time(NULL), now);
	patch = json_pack("{s:{s:[{s:s,s:s,s:s,s:s,s:s,s:s}]}}", "status", "conditions", "type", "NetworkUnavailable", "status",
		"False", "reason", "TulleIsUp", "message", "Tulle is running on this node", "lastTransitionTime", now,
		"lastHeartbeatTime", now);
	body = patch ? json_dumps(patch, JSON_COMPACT) : NULL;
	kube_escape(&name, kube->calico->agent->options.node_name);
	buf_printf(&path, "/api/v1/nodes/%s/status", buf_text(&name));
	request.path = buf_text(&path);
	request.body = body;
	request.len = body ? strlen(body) : 0;
	if (body && !path.error && !name.error && !kube->write)
		kube->write = kube_call_new(kube->calico->kube, &request);
}

static void on_read(void *ctx, const struct objects_answer *answer)
{
	struct calico_kube *kube = ctx;

	kube->read = NULL;
	problems_set(kube->calico->agent->problems, PROBLEM, answer->rc < 0 ? answer->text : NULL);
	if (answer->rc == 0 && !is_set(answer->object))
		set(kube);
}

static void on_look(evutil_socket_t fd, short what, void *ctx)
{
	struct calico_kube *kube = ctx;
	const struct object_key key = {.kind = KIND_NODE, .name = kube->calico->agent->options.node_name};

	if (!kube->read && !kube->write)
		kube->read = objects_get(kube->calico->objects, &key, on_read, kube);
}

void calico_kube_ready(struct calico *calico)
{
	struct calico_kube *kube = calico->kube_unit;
	const struct timeval every = {.tv_sec = LOOK_S};

	if (!kube || !calico->agent->options.set_node_network_unavailable || event_pending(kube->look, EV_TIMEOUT, NULL))
		return;
	event_add(kube->look, &every);
	on_look(-1, 0, kube);
}

/* -- the CNI configuration -- */

static void on_config(void *ctx, const char *text, size_t len, const char *where)
{
}

static void on_cni_conf(void *ctx, const char *text)
{
	struct calico_kube *kube = ctx;

	agent_take_cni_conf(kube->calico->agent, text);
}

/* net-conf.json may be wrong or missing: pools have taken its place. */
static void on_problem(void *ctx, const char *key, const char *text)
{
}

/* -- life -- */

int calico_kube_init(struct calico *calico, struct err *err)
{
	struct calico_kube *kube;
	int rc;

	if (!calico->kube)
		return 0;
	kube = calico->kube_unit = calloc(1, sizeof(*kube));
	if (!kube)
		return err_set(err, -ENOMEM, "out of memory");
	kube->calico = calico;
	kube->config_events = (struct kv_events){.config = on_config, .cni_conf = on_cni_conf, .problem = on_problem};
	kube->look = event_new(calico->agent->base, -1, EV_PERSIST, on_look, kube);
	if (!kube->look)
		return err_set(err, -ENOMEM, "out of memory");
	rc = directory_new_config(calico->agent->options.net_config_path, calico->agent->base, &kube->config_events, kube,
		&kube->config, err);
	if (rc == 0)
		kube->config->ops->start(kube->config);
	return rc;
}

void calico_kube_free(struct calico *calico)
{
	struct calico_kube *kube = calico->kube_unit;

	if (!kube)
		return;
	if (kube->config)
		kube->config->ops->free(kube->config);
	objects_cancel(kube->read);
	kube_call_cancel(kube->write);
	if (kube->look)
		event_free(kube->look);
	free(kube);
	calico->kube_unit = NULL;
}
