/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/owner.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#define ASK_MS 2000
#define LOOK_MS 10000
#define NAME_MAX_LEN 253 /* of a Kubernetes object */

enum step { STEP_IDLE, STEP_DAEMONSET, STEP_NAMESPACE };

struct owner {
	struct event_base *base;
	struct kube_options options;
	char namespace[NAME_MAX_LEN + 1], name[NAME_MAX_LEN + 1];
	bool seen; /* the DaemonSet was shown to us, so its absence says something */
	struct kube *kube;
	struct kube_call *call;
	struct event *deadline, *tidy;
	enum step step;
	void (*problem)(void *ctx, const char *text);
	void (*answered)(void *ctx, enum owner_answer answer, const char *text);
	void *ctx;
};

static void close_client(struct owner *owner)
{
	kube_call_cancel(owner->call);
	owner->call = NULL;
	if (owner->kube)
		kube_free(owner->kube);
	owner->kube = NULL;
	owner->step = STEP_IDLE;
}

static void on_tidy(evutil_socket_t fd, short what, void *ctx)
{
	close_client(ctx);
}

/* The client may not be freed inside its own call: that is left to the loop. */
static void finish(struct owner *owner, enum owner_answer answer, const char *text)
{
	void (*answered)(void *ctx, enum owner_answer answer, const char *text) = owner->answered;
	void (*problem)(void *ctx, const char *text) = owner->problem;

	owner->answered = NULL;
	owner->problem = NULL;
	event_del(owner->deadline);
	event_active(owner->tidy, EV_TIMEOUT, 0);
	if (problem)
		problem(owner->ctx, text);
	if (answered)
		answered(owner->ctx, answer, text);
}

static void removed(struct owner *owner, const char *what, const char *name, const char *how)
{
	char text[2 * NAME_MAX_LEN + 64];

	snprintf(text, sizeof(text), "%s %s %s", what, name, how);
	finish(owner, OWNER_REMOVED, text);
}

static void on_deadline(evutil_socket_t fd, short what, void *ctx)
{
	struct owner *owner = ctx;

	kube_call_cancel(owner->call);
	owner->call = NULL;
	finish(owner, OWNER_STANDS, "the API server did not answer in time");
}

static bool is_being_deleted(const struct kube_answer *answer)
{
	_cleanup_(json_cleanup) json_t *object = NULL;

	if (json_parse(answer->body, answer->len, "the object", &object, NULL) < 0)
		return false;
	return json_find(json_find(object, "metadata"), "deletionTimestamp") != NULL;
}

static void on_answer(void *ctx, const struct kube_answer *answer);

static void get(struct owner *owner, enum step step)
{
	_cleanup_(buf_free) struct buf path = BUF_INIT(4096);
	struct kube_request request = {
		.method = "GET",
		.timeout_ms = owner->answered ? ASK_MS : LOOK_MS,
		.done = on_answer,
		.ctx = owner,
	};

	buf_add_str(&path, step == STEP_DAEMONSET ? "/apis/apps/v1/namespaces/" : "/api/v1/namespaces/");
	kube_escape(&path, owner->namespace);
	if (step == STEP_DAEMONSET) {
		buf_add_str(&path, "/daemonsets/");
		kube_escape(&path, owner->name);
	}
	request.path = buf_text(&path);
	owner->step = step;
	owner->call = path.error ? NULL : kube_call_new(owner->kube, &request);
	if (!owner->call)
		finish(owner, OWNER_STANDS, "out of memory");
}

static void on_answer(void *ctx, const struct kube_answer *answer)
{
	struct owner *owner = ctx;
	bool daemonset = owner->step == STEP_DAEMONSET;
	const char *what = daemonset ? "DaemonSet" : "namespace";
	const char *name = daemonset ? owner->name : owner->namespace;
	bool refused = answer->status == 401 || answer->status == 403;

	owner->call = NULL;
	if (answer->status == 200 && is_being_deleted(answer)) {
		removed(owner, what, name, "is being deleted");
	} else if (answer->status == 200 && daemonset) {
		owner->seen = true;
		get(owner, STEP_NAMESPACE);
	} else if (answer->status == 200) {
		finish(owner, OWNER_STANDS, "");
	} else if (owner->seen && answer->status == 404) {
		removed(owner, what, name, "is gone");
	} else if (owner->seen && refused && daemonset) {
		removed(owner, what, name, "may not be looked at any more: this agent's account or role is gone");
	} else {
		finish(owner, OWNER_STANDS, answer->text);
	}
}

static int start(struct owner *owner, struct err *err)
{
	struct timeval deadline = {.tv_sec = ASK_MS / 1000};
	int rc;

	close_client(owner);
	rc = kube_new(&owner->options, owner->base, &owner->kube, err);
	if (rc < 0)
		return rc;
	if (owner->answered)
		event_add(owner->deadline, &deadline);
	get(owner, STEP_DAEMONSET);
	return 0;
}

void owner_look(struct owner *owner, void (*problem)(void *ctx, const char *text), void *ctx)
{
	struct err err = ERR_INIT;

	if (owner->seen || owner->step != STEP_IDLE)
		return;
	owner->problem = problem;
	owner->ctx = ctx;
	if (start(owner, &err) < 0)
		finish(owner, OWNER_STANDS, err_text(&err));
}

void owner_ask(struct owner *owner, void (*answered)(void *ctx, enum owner_answer answer, const char *text), void *ctx)
{
	struct err err = ERR_INIT;

	owner->problem = NULL;
	owner->answered = answered;
	owner->ctx = ctx;
	if (start(owner, &err) < 0)
		finish(owner, OWNER_STANDS, err_text(&err));
}

static int set_name(struct owner *owner, const char *name, struct err *err)
{
	const char *slash = strchr(name, '/');
	size_t len = slash ? (size_t)(slash - name) : 0;

	if (!len || len > NAME_MAX_LEN || !slash[1] || strchr(slash + 1, '/') || strlen(slash + 1) > NAME_MAX_LEN)
		return err_set(err, -EINVAL, "--owner-daemonset: the value is \"%s\", expected NAMESPACE/NAME", name);
	memcpy(owner->namespace, name, len);
	memcpy(owner->name, slash + 1, strlen(slash + 1) + 1);
	return 0;
}

int owner_new(const char *name, const struct kube_options *options, struct event_base *base, struct owner **ret,
	struct err *err)
{
	struct owner *owner = calloc(1, sizeof(*owner));
	int rc;

	if (!owner)
		return err_set(err, -ENOMEM, "out of memory");
	owner->base = base;
	owner->options = *options;
	owner->deadline = event_new(base, -1, 0, on_deadline, owner);
	owner->tidy = event_new(base, -1, 0, on_tidy, owner);
	rc = owner->deadline && owner->tidy ? set_name(owner, name, err) : err_set(err, -ENOMEM, "out of memory");
	if (rc < 0) {
		owner_free(owner);
		return rc;
	}
	*ret = owner;
	return 0;
}

void owner_free(struct owner *owner)
{
	if (!owner)
		return;
	close_client(owner);
	if (owner->deadline)
		event_free(owner->deadline);
	if (owner->tidy)
		event_free(owner->tidy);
	free(owner);
}
