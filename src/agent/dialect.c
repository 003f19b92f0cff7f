/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/dialect.h"

#include "agent/agent.h"
#include "client/kube.h"
#include "objects/objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_S 2

struct dialect {
	struct dialect_events events;
	void *ctx;
	struct event *turn;
	enum dialect_name name;
	bool decided, told, forbidden;
	struct kube *kube;
	struct objects *objects;
	struct objects_call *call;
	struct objects_watch *watch;
	size_t pools;
};

static void soon(struct dialect *dialect, int seconds)
{
	const struct timeval after = {.tv_sec = seconds};

	event_add(dialect->turn, &after);
}

static void decide(struct dialect *dialect, enum dialect_name name)
{
	dialect->name = name;
	dialect->decided = true;
	soon(dialect, 0);
}

/* -- one look, as long as the answer takes (Kubernetes) -- */

static void count_pool(void *ctx, const json_t *object)
{
	struct dialect *dialect = ctx;

	dialect->pools++;
}

static void on_listed(void *ctx, const struct objects_answer *answer)
{
	struct dialect *dialect = ctx;

	dialect->call = NULL;
	dialect->forbidden = answer->rc == -EACCES;
	/* No such resource, or none that we may see: nobody has given this cluster Calico's objects. */
	if (answer->rc == 0 || answer->rc == -ENOENT || answer->rc == -EACCES) {
		dialect->events.problem(dialect->ctx, "");
		decide(dialect, dialect->pools ? DIALECT_CALICO : DIALECT_FLANNEL);
		return;
	}
	dialect->events.problem(dialect->ctx, answer->text);
	soon(dialect, RETRY_S);
}

/* -- a lasting look (a directory at once; Kubernetes while it speaks Flannel, and if we may) -- */

static void on_begin(void *ctx, bool anew)
{
	struct dialect *dialect = ctx;

	dialect->pools = 0;
}

static void on_put(void *ctx, const json_t *object)
{
	struct dialect *dialect = ctx;

	dialect->pools++;
	if (dialect->told && dialect->name == DIALECT_FLANNEL)
		dialect->events.changed(dialect->ctx);
}

static void on_gone(void *ctx, const json_t *object)
{
}

static void on_end(void *ctx)
{
	struct dialect *dialect = ctx;

	if (!dialect->decided)
		decide(dialect, dialect->pools ? DIALECT_CALICO : DIALECT_FLANNEL);
}

static void on_problem(void *ctx, const char *key, const char *text)
{
	struct dialect *dialect = ctx;

	if (!dialect->decided && !*key)
		dialect->events.problem(dialect->ctx, text);
}

static const struct objects_events watch_events = {.begin = on_begin, .put = on_put, .gone = on_gone, .end = on_end,
	.problem = on_problem};

/* -- life -- */

static void keep_looking(struct dialect *dialect)
{
	const struct objects_watch_options options = {.kind = KIND_IPPOOL};

	if (!dialect->watch)
		dialect->watch = objects_watch_new(dialect->objects, &options, &watch_events, dialect);
	if (!dialect->watch)
		soon(dialect, RETRY_S);
}

static void look(struct dialect *dialect)
{
	if (!dialect->kube) {
		keep_looking(dialect);
		return;
	}
	dialect->pools = 0;
	dialect->call = objects_list(dialect->objects, KIND_IPPOOL, NULL, count_pool, on_listed, dialect);
	if (!dialect->call)
		soon(dialect, RETRY_S);
}

static void stop_looking(struct dialect *dialect)
{
	objects_cancel(dialect->call);
	dialect->call = NULL;
	objects_watch_free(dialect->watch);
	dialect->watch = NULL;
	objects_free(dialect->objects);
	dialect->objects = NULL;
	if (dialect->kube)
		kube_free(dialect->kube);
	dialect->kube = NULL;
}

/* chosen() may open the same store: whatever of ours is not needed any more goes first. */
static void tell(struct dialect *dialect)
{
	dialect->told = true;
	if (dialect->name == DIALECT_CALICO || dialect->forbidden)
		stop_looking(dialect);
	dialect->events.chosen(dialect->ctx, dialect->name);
}

static void on_turn(evutil_socket_t fd, short what, void *ctx)
{
	struct dialect *dialect = ctx;

	if (!dialect->decided)
		look(dialect);
	else if (!dialect->told)
		tell(dialect);
	if (dialect->told && dialect->kube)
		keep_looking(dialect);
}

static int begin(struct dialect *dialect, const struct agent *agent, struct err *err)
{
	const struct options *options = &agent->options;

	if (strcmp(options->dialect, "auto") != 0 || strcmp(options->store, "etcd") == 0) {
		dialect->name = strcmp(options->dialect, "calico") == 0 ? DIALECT_CALICO : DIALECT_FLANNEL;
		dialect->decided = true;
		return 0;
	}
	return agent_open_objects(agent, &dialect->kube, &dialect->objects, err);
}

int dialect_new(struct agent *agent, const struct dialect_events *events, void *ctx, struct dialect **ret, struct err *err)
{
	struct dialect *dialect = calloc(1, sizeof(*dialect));
	int rc;

	if (!dialect)
		return err_set(err, -ENOMEM, "out of memory");
	dialect->events = *events;
	dialect->ctx = ctx;
	dialect->turn = event_new(agent->base, -1, 0, on_turn, dialect);
	rc = dialect->turn ? begin(dialect, agent, err) : err_set(err, -ENOMEM, "out of memory");
	if (rc < 0) {
		dialect_free(dialect);
		return rc;
	}
	soon(dialect, 0);
	*ret = dialect;
	return 0;
}

void dialect_free(struct dialect *dialect)
{
	if (!dialect)
		return;
	stop_looking(dialect);
	if (dialect->turn)
		event_free(dialect->turn);
	free(dialect);
}
