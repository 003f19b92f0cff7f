/* SPDX-License-Identifier: Apache-2.0
 *
 * What Calico's plugin writes on pods (reference/calico.md 4.6), so that real Calico on other nodes, and tools, find there
 * what they look for: podIP and podIPs with prefixes, containerID. Behind the answer: a pod works without. One request at
 * a time, in the order of ADDs and DELs; what fails is tried again later, and whoever may not write is told once.
 *
 * A pod that is there when the agent starts is looked at first, and mostly has been written on before. At a DEL, the
 * addresses are emptied if the container named there is the one that went: a successor of the same name is left alone.
 */
#include "agent/calico/internal.h"

#include "base/cleanup.h"
#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define PREFIX "cni.projectcalico.org/"
#define JOBS_MAX 4096
#define PAUSE_FIRST_S 2
#define PAUSE_MAX_S 60
#define PAUSE_FORBIDDEN_S 300
#define PROBLEM "pod annotations"

/* An attachment that was taken note of. */
struct noted {
	uint64_t serial;
	char *namespace, *name, *container;
	unsigned round; /* last one that saw it */
	UT_hash_handle hh;
};

struct job {
	struct job *prev, *next;
	char *namespace, *name, *container;
	char *ips;  /* "10.65.1.2/32,fd00::2/128"; null: they are to be emptied */
	bool look;  /* at the pod first */
};

struct annotate {
	struct calico *calico;
	struct noted *noted; /* by serial */
	struct job *jobs;
	size_t job_count;
	struct objects_call *call; /* of the first job */
	struct event *again;
	int pause_s;
	unsigned round;
	bool started;
};

static void work(struct annotate *annotate);

/* -- jobs -- */

static void job_free(struct annotate *annotate, struct job *job)
{
	DL_DELETE(annotate->jobs, job);
	annotate->job_count--;
	free(job->namespace);
	free(job->name);
	free(job->container);
	free(job->ips);
	free(job);
}

/* Takes over ips. Without memory the pod goes without. */
static void job_add(struct annotate *annotate, const struct noted *noted, char *ips, bool look)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		free(ips);
		return;
	}
	*job = (struct job){.namespace = strdup(noted->namespace), .name = strdup(noted->name), .container = strdup(noted->container),
		.ips = ips, .look = look};
	DL_APPEND(annotate->jobs, job);
	annotate->job_count++;
	if (!job->namespace || !job->name || !job->container)
		job_free(annotate, job);
	/* the oldest are the least true; the first may be under way */
	else if (annotate->job_count > JOBS_MAX)
		job_free(annotate, annotate->jobs->next);
}

/* -- requests -- */

static void pause_for(struct annotate *annotate, int seconds)
{
	const struct timeval wait = {.tv_sec = seconds};

	event_add(annotate->again, &wait);
}

/* The first job is over, or comes again. */
static void ended(struct annotate *annotate, const struct objects_answer *answer)
{
	struct problems *problems = annotate->calico->agent->problems;
	char text[600];

	annotate->call = NULL;
	if (answer->rc == 0 || answer->rc == -ENOENT || answer->rc == -EINVAL) { /* -ENOENT: the pod is gone */
		problems_set(problems, PROBLEM, answer->rc == -EINVAL ? answer->text : NULL);
		annotate->pause_s = PAUSE_FIRST_S;
		job_free(annotate, annotate->jobs);
		work(annotate);
		return;
	}
	if (answer->rc == -EACCES) {
		snprintf(text, sizeof(text), "tulled may not write them: expected the right to patch pods/status (%.400s)", answer->text);
		problems_set(problems, PROBLEM, text);
		pause_for(annotate, PAUSE_FORBIDDEN_S);
		return;
	}
	problems_set(problems, PROBLEM, answer->text);
	pause_for(annotate, annotate->pause_s);
	annotate->pause_s = annotate->pause_s * 2 > PAUSE_MAX_S ? PAUSE_MAX_S : annotate->pause_s * 2;
}

static void on_written(void *ctx, const struct objects_answer *answer)
{
	ended(ctx, answer);
}

static void write_pod(struct annotate *annotate)
{
	const struct job *job = annotate->jobs;
	struct object_key key = {.kind = KIND_POD, .namespace = job->namespace, .name = job->name};
	_cleanup_free_ char *first = job->ips ? strndup(job->ips, strcspn(job->ips, ",")) : strdup("");
	json_t *values = first ? json_pack("{s:s, s:s}", PREFIX "podIP", first, PREFIX "podIPs", job->ips ? job->ips : "") : NULL;

	if (values && job->ips)
		json_object_set_new(values, PREFIX "containerID", json_string(job->container));
	annotate->call = values ? objects_annotate(annotate->calico->objects, &key, values, on_written, annotate) : NULL;
	json_decref(values);
	if (!annotate->call)
		pause_for(annotate, PAUSE_FIRST_S);
}

static const char *annotation(const json_t *pod, const char *key)
{
	const json_t *all = json_object_get(json_object_get(pod, "metadata"), "annotations");
	const char *value = json_string_value(json_object_get(all, key));

	return value ? value : "";
}

/* Is there anything to write? */
static bool is_due(const struct job *job, const json_t *pod)
{
	bool ours = strcmp(annotation(pod, PREFIX "containerID"), job->container) == 0;

	if (!job->ips)
		return ours;
	return !ours || strcmp(annotation(pod, PREFIX "podIPs"), job->ips) != 0;
}

static void on_looked(void *ctx, const struct objects_answer *answer)
{
	struct annotate *annotate = ctx;

	if (answer->rc < 0 || !is_due(annotate->jobs, answer->object)) {
		ended(annotate, answer);
		return;
	}
	annotate->jobs->look = false;
	write_pod(annotate);
}

static void look_at_pod(struct annotate *annotate)
{
	const struct job *job = annotate->jobs;
	struct object_key key = {.kind = KIND_POD, .namespace = job->namespace, .name = job->name};

	annotate->call = objects_get(annotate->calico->objects, &key, on_looked, annotate);
	if (!annotate->call)
		pause_for(annotate, PAUSE_FIRST_S);
}

static void work(struct annotate *annotate)
{
	if (annotate->call || !annotate->jobs || event_pending(annotate->again, EV_TIMEOUT, NULL))
		return;
	if (calico_is_locked(annotate->calico))
		pause_for(annotate, PAUSE_FIRST_S);
	else if (annotate->jobs->look)
		look_at_pod(annotate);
	else
		write_pod(annotate);
}

static void on_again(evutil_socket_t fd, short what, void *ctx)
{
	work(ctx);
}

/* -- what is attached -- */

static void noted_free(struct annotate *annotate, struct noted *noted)
{
	HASH_DEL(annotate->noted, noted);
	free(noted->namespace);
	free(noted->name);
	free(noted->container);
	free(noted);
}

static char *ips_of(const struct attachment *attachment)
{
	char texts[FAMILY_COUNT][PREFIX_TEXT_MAX] = {"", ""};
	char *ips;

	for (int f = 0; f < FAMILY_COUNT; f++)
		if (addr_is_set(&attachment->addr[f])) {
			struct prefix host = prefix_host(&attachment->addr[f]);

			prefix_format(&host, texts[f]);
		}
	if (asprintf(&ips, "%s%s%s", texts[FAMILY_4], texts[FAMILY_4][0] && texts[FAMILY_6][0] ? "," : "", texts[FAMILY_6]) < 0)
		return NULL;
	return ips;
}

static void take_note(void *ctx, const struct attachment *attachment)
{
	struct annotate *annotate = ctx;
	struct noted *noted;
	char *ips;

	/* further interfaces of a pod are not its address */
	if (!attachment->pod_namespace[0] || !attachment->pod_name[0] || strcmp(attachment->ifname, "eth0") != 0)
		return;
	HASH_FIND(hh, annotate->noted, &attachment->serial, sizeof(attachment->serial), noted);
	if (noted) {
		noted->round = annotate->round;
		return;
	}
	noted = calloc(1, sizeof(*noted));
	if (!noted)
		return;
	*noted = (struct noted){.serial = attachment->serial, .round = annotate->round,
		.namespace = strdup(attachment->pod_namespace), .name = strdup(attachment->pod_name),
		.container = strdup(attachment->container_id)};
	HASH_ADD(hh, annotate->noted, serial, sizeof(noted->serial), noted);
	ips = noted->namespace && noted->name && noted->container ? ips_of(attachment) : NULL;
	if (ips)
		job_add(annotate, noted, ips, !annotate->started);
	else
		noted_free(annotate, noted);
}

void calico_annotate_go(struct calico *calico)
{
	struct annotate *annotate = calico->annotate;
	struct noted *noted, *next;

	if (!annotate)
		return;
	annotate->round++;
	attach_each(calico->agent->attacher, take_note, annotate);
	annotate->started = true;
	HASH_ITER (hh, annotate->noted, noted, next) {
		if (noted->round == annotate->round)
			continue;
		job_add(annotate, noted, NULL, true);
		noted_free(annotate, noted);
	}
	work(annotate);
}

/* -- life -- */

int calico_annotate_init(struct calico *calico)
{
	struct annotate *annotate;

	if (!calico->kube) /* elsewhere pods need not be objects */
		return 0;
	annotate = calico->annotate = calloc(1, sizeof(*annotate));
	if (!annotate)
		return -ENOMEM;
	annotate->calico = calico;
	annotate->pause_s = PAUSE_FIRST_S;
	annotate->again = event_new(calico->agent->base, -1, 0, on_again, annotate);
	return annotate->again ? 0 : -ENOMEM;
}

void calico_annotate_free(struct calico *calico)
{
	struct annotate *annotate = calico->annotate;
	struct noted *noted, *next;

	if (!annotate)
		return;
	objects_cancel(annotate->call);
	HASH_ITER (hh, annotate->noted, noted, next)
		noted_free(annotate, noted);
	while (annotate->jobs)
		job_free(annotate, annotate->jobs);
	if (annotate->again)
		event_free(annotate->again);
	free(annotate);
	calico->annotate = NULL;
}
