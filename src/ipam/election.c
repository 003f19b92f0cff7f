/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/election.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/call.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DURATION_S 30u

struct election {
	struct allocator *allocator;
	struct election_options options; /* strings are copies */
	struct event *timer;
	struct ipam_call *call;
	char *seen;         /* holder and time of renewal, as last read; null: nothing */
	int64_t seen_since; /* seconds, CLOCK_BOOTTIME */
	int64_t asked;      /* when the round under way began */
	int64_t won_until;
	bool troubled;
};

/* One look at the lease, and one write if it is ours or may be. */
struct elect_round {
	struct ipam_call call; /* first; count 1: won */
	char *namespace, *name, *seen;
	unsigned duration_s;
	bool stale; /* seen was seen for too long */
};

static int64_t uptime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec;
}

/* -- the object -- */

static const char *micro_time(int64_t nanoseconds, char text[static IPAM_TIME_MAX])
{
	size_t len;

	ipam_time_format(nanoseconds / 1000000000, text);
	len = strlen(text) - 1;
	snprintf(text + len, IPAM_TIME_MAX - len, ".%06uZ", (unsigned)(nanoseconds % 1000000000 / 1000));
	return text;
}

static void sign(struct elect_round *round, json_t *spec, bool taken_over)
{
	char now[IPAM_TIME_MAX];

	micro_time(task_now(&round->call.task), now);
	json_object_set_new(spec, "holderIdentity", json_string(round->call.task.env->node));
	json_object_set_new(spec, "leaseDurationSeconds", json_integer(round->duration_s));
	json_object_set_new(spec, "renewTime", json_string(now));
	if (!taken_over)
		return;
	json_object_set_new(spec, "acquireTime", json_string(now));
	json_object_set_new(spec, "leaseTransitions",
		json_integer(json_integer_value(json_object_get(spec, "leaseTransitions")) + 1));
}

static int create(struct elect_round *round, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object =
		json_pack("{s:s, s:s, s:{s:s, s:s}, s:{}}", "apiVersion", "coordination.k8s.io/v1", "kind",
			"Lease", "metadata", "namespace", round->namespace, "name", round->name, "spec");

	if (!object)
		return err_set(err, -ENOMEM, "no memory for a lease");
	sign(round, json_object_get(object, "spec"), true);
	return task_create(&round->call.task, KIND_LEASE, &object, err);
}

static char *describe(const json_t *spec)
{
	const char *holder = json_string_value(json_object_get(spec, "holderIdentity"));
	const char *time = json_string_value(json_object_get(spec, "renewTime"));
	char *text;

	return asprintf(&text, "%s %s", holder ? holder : "", time ? time : "") < 0 ? NULL : text;
}

static int renew(struct elect_round *round, const json_t *object, struct err *err)
{
	_cleanup_(json_cleanup) json_t *copy = json_deep_copy(object);
	json_t *spec = json_object_get(copy, "spec");
	const char *holder = json_string_value(json_object_get(spec, "holderIdentity"));
	_cleanup_free_ char *seen = describe(spec);
	bool own = holder && strcmp(holder, round->call.task.env->node) == 0;
	bool unchanged = seen && round->seen && strcmp(seen, round->seen) == 0;

	if (!spec || !seen)
		return err_set(
			err, -EINVAL, "Lease %s/%s: spec: expected an object", round->namespace, round->name);
	free(round->seen);
	round->seen = TAKE_PTR(seen);
	if (!own && holder && *holder && !(unchanged && round->stale))
		return -EBUSY;
	sign(round, spec, !own);
	return task_update(&round->call.task, KIND_LEASE, &copy, err);
}

static int round_run(struct ipam_call *call, struct err *err)
{
	struct elect_round *round = (struct elect_round *)call;
	_cleanup_(json_cleanup) json_t *object = NULL;
	int rc = task_get(&call->task, KIND_LEASE, round->namespace, round->name, &object, err);

	if (rc == 0)
		rc = renew(round, object, err);
	else if (rc == -ENOENT)
		rc = create(round, err);
	call->count = rc == 0;
	return rc == -EBUSY || rc == -ESTALE || rc == -EEXIST ? 0 : rc;
}

static void clean(struct ipam_call *call)
{
	struct elect_round *round = (struct elect_round *)call;

	free(round->namespace);
	free(round->name);
	free(round->seen);
}

/* -- rounds -- */

static void schedule(struct election *election)
{
	struct timeval wait = {.tv_sec = (time_t)election->options.duration_s / 3};

	if (wait.tv_sec == 0)
		wait.tv_usec = 300000;
	evtimer_add(election->timer, &wait);
}

static void ended(void *ctx, const struct ipam_result *result)
{
	struct election *election = ctx;
	struct elect_round *round = (struct elect_round *)election->call;

	election->call = NULL;
	if (result->rc == 0 && result->count == 1)
		election->won_until = election->asked + election->options.duration_s;
	else if (result->rc == 0)
		election->won_until = 0;
	if (round->seen && (!election->seen || strcmp(round->seen, election->seen) != 0)) {
		free(election->seen);
		election->seen = TAKE_PTR(round->seen);
		election->seen_since = election->asked;
	}
	if (election->options.report && (result->rc < 0) != election->troubled)
		election->options.report(election->options.ctx, result->text);
	election->troubled = result->rc < 0;
	schedule(election);
}

static void begin(evutil_socket_t fd, short what, void *ctx)
{
	struct election *election = ctx;
	struct elect_round *round = call_new(sizeof(*round), election->allocator, ended, election);

	election->asked = uptime();
	if (!round) {
		schedule(election);
		return;
	}
	round->call.work = round_run;
	round->call.clean = clean;
	round->namespace = strdup(election->options.namespace);
	round->name = strdup(election->options.name);
	round->seen = election->seen ? strdup(election->seen) : NULL;
	round->duration_s = election->options.duration_s;
	round->stale =
		election->seen && election->seen_since + election->options.duration_s <= election->asked;
	if (round->namespace && round->name)
		election->call = call_start(&round->call);
	else
		call_free(&round->call);
	if (!election->call)
		schedule(election);
}

int election_new(struct event_base *base, struct allocator *allocator, const struct election_options *options,
	struct election **ret)
{
	struct election *election = calloc(1, sizeof(*election));
	struct timeval now = {0};

	if (!election)
		return -ENOMEM;
	election->allocator = allocator;
	election->options = *options;
	election->options.duration_s = options->duration_s ? options->duration_s : DURATION_S;
	election->options.namespace = strdup(options->namespace);
	election->options.name = strdup(options->name);
	election->timer = evtimer_new(base, begin, election);
	if (!election->options.namespace || !election->options.name || !election->timer) {
		election_free(election);
		return -ENOMEM;
	}
	evtimer_add(election->timer, &now);
	*ret = election;
	return 0;
}

void election_free(struct election *election)
{
	if (!election)
		return;
	ipam_cancel(election->call);
	if (election->timer)
		event_free(election->timer);
	free((char *)election->options.namespace);
	free((char *)election->options.name);
	free(election->seen);
	free(election);
}

bool election_is_won(const struct election *election)
{
	return uptime() < election->won_until;
}
