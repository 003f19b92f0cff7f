/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/kube_private.h"

#include "base/cleanup.h"
#include "base/json.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define READ_MS 10000     /* of patience with each answer */
#define FRESH_MS 1000     /* a catalogue without Calico is not asked for more often than this by requests */
#define AGAIN_FIRST_MS 500
#define AGAIN_MAX_MS 30000 /* every node asks; most clusters without Calico's kinds remain so */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool catalogue_is_known(const struct objects_kube *kube)
{
	const struct catalogue *catalogue = &kube->catalogue;

	return catalogue->fixed || catalogue->group > GROUP_NONE ||
		(catalogue->group == GROUP_NONE && now_ms() - catalogue->read_ms < FRESH_MS);
}

bool catalogue_is_about(enum kind kind)
{
	return kind_info(kind)->v1_name || kind == KIND_CLUSTER_NETWORK_POLICY;
}

int catalogue_has(const struct objects_kube *kube, enum kind kind)
{
	const struct catalogue *catalogue = &kube->catalogue;

	if (!catalogue_is_about(kind) || catalogue->blind)
		return 1;
	if (catalogue->group == GROUP_UNKNOWN || !catalogue->read_ms)
		return -1;
	return catalogue->served[kind];
}

/* -- reading -- */

static bool ask(struct objects_kube *kube, const char *path, void (*done)(void *, const struct kube_answer *))
{
	const struct kube_request request = {.method = "GET", .path = path, .timeout_ms = READ_MS, .done = done,
		.ctx = kube};

	kube->catalogue.call = kube_call_new(kube->kube, &request);
	return kube->catalogue.call;
}

static void finish(struct objects_kube *kube, const char *trouble)
{
	struct catalogue *catalogue = &kube->catalogue;

	free(catalogue->trouble);
	catalogue->trouble = trouble ? strdup(trouble) : NULL;
	if (!trouble)
		catalogue->read_ms = now_ms();
	kube_objects_go_on(kube);
}

/* Nobody may keep us from guessing, as Calico itself does. */
static void go_blind(struct objects_kube *kube)
{
	kube->catalogue.blind = true;
	if (!kube->catalogue.fixed)
		kube->catalogue.group = GROUP_V1;
	finish(kube, NULL);
}

static void take_resources(struct objects_kube *kube, const json_t *resources)
{
	struct catalogue *catalogue = &kube->catalogue;
	const json_t *resource;
	size_t i;

	memset(catalogue->served, 0, sizeof(catalogue->served));
	catalogue->served[KIND_CLUSTER_NETWORK_POLICY] = catalogue->cluster_policies;
	json_array_foreach(resources, i, resource) {
		const char *name = json_string_value(json_object_get(resource, "name"));

		for (enum kind kind = 0; name && kind < KIND_COUNT; kind++) {
			const struct kind_info *info = kind_info(kind);

			if (info->v1_name && strcmp(name, catalogue->group == GROUP_V3 ? info->plural : info->v1_plural) == 0)
				catalogue->served[kind] = true;
		}
	}
}

static bool is_refusal(int status)
{
	return status == 401 || status == 403;
}

static void on_resources(void *ctx, const struct kube_answer *answer)
{
	_cleanup_(json_cleanup) json_t *body = NULL;
	struct objects_kube *kube = ctx;

	kube->catalogue.call = NULL;
	if (is_refusal(answer->status)) {
		go_blind(kube);
		return;
	}
	if (answer->status != 404 && *answer->text) {
		finish(kube, answer->text);
		return;
	}
	kube->catalogue.blind = false;
	kube->catalogue.group = kube->catalogue.found;
	body = answer->status == 404 ? NULL : json_loadb(answer->body, answer->len, 0, NULL);
	take_resources(kube, json_object_get(body, "resources"));
	finish(kube, NULL);
}

static void ask_resources(struct objects_kube *kube)
{
	if (!ask(kube, kube->catalogue.found == GROUP_V3 ? "/apis/" CALICO_V3 : "/apis/" CALICO_V1, on_resources))
		finish(kube, "no memory");
}

static bool lists_group(const json_t *groups, const char *name)
{
	const json_t *group;
	size_t i;

	json_array_foreach(groups, i, group) {
		const char *text = json_string_value(json_object_get(group, "name"));

		if (text && strcmp(text, name) == 0)
			return true;
	}
	return false;
}

static bool lists_version(const json_t *groups, const char *name)
{
	const json_t *group, *version;
	size_t i, j;

	json_array_foreach(groups, i, group)
		json_array_foreach(json_object_get(group, "versions"), j, version) {
			const char *text = json_string_value(json_object_get(version, "groupVersion"));

			if (text && strcmp(text, name) == 0)
				return true;
		}
	return false;
}

/* v3 alone is native; beside v1 it is the aggregated server in front of that (reference/calico.md 1.1). */
static void on_groups(void *ctx, const struct kube_answer *answer)
{
	_cleanup_(json_cleanup) json_t *body = NULL;
	struct objects_kube *kube = ctx;
	const json_t *groups;

	kube->catalogue.call = NULL;
	if (is_refusal(answer->status)) {
		go_blind(kube);
		return;
	}
	body = *answer->text ? NULL : json_loadb(answer->body, answer->len, 0, NULL);
	groups = json_object_get(body, "groups");
	if (!json_is_array(groups)) {
		finish(kube, *answer->text ? answer->text : "the answer to /apis has no list of groups");
		return;
	}
	kube->catalogue.cluster_policies = lists_version(groups, CLUSTER_POLICY_VERSION);
	if (kube->catalogue.fixed)
		kube->catalogue.found = kube->catalogue.group;
	else if (lists_group(groups, "crd.projectcalico.org"))
		kube->catalogue.found = GROUP_V1;
	else
		kube->catalogue.found = lists_group(groups, "projectcalico.org") ? GROUP_V3 : GROUP_NONE;
	if (kube->catalogue.found != GROUP_NONE) {
		ask_resources(kube);
		return;
	}
	kube->catalogue.blind = false;
	kube->catalogue.group = GROUP_NONE;
	take_resources(kube, NULL);
	finish(kube, NULL);
}

void catalogue_read(struct objects_kube *kube)
{
	if (kube->catalogue.call)
		return;
	if (!ask(kube, "/apis", on_groups))
		catalogue_read_later(kube);
}

void catalogue_read_later(struct objects_kube *kube)
{
	struct catalogue *catalogue = &kube->catalogue;
	int64_t ms = AGAIN_FIRST_MS;
	struct timeval tv;

	if (catalogue->call || event_pending(catalogue->timer, EV_TIMEOUT, NULL))
		return;
	for (unsigned i = 0; i < catalogue->failures && ms < AGAIN_MAX_MS; i++)
		ms *= 2;
	catalogue->failures++;
	if (ms > AGAIN_MAX_MS)
		ms = AGAIN_MAX_MS;
	ms = ms / 2 + arc4random_uniform((uint32_t)(ms / 2) + 1);
	tv = (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	event_add(catalogue->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	catalogue_read(arg);
}

int catalogue_init(struct objects_kube *kube, const char *group)
{
	struct catalogue *catalogue = &kube->catalogue;

	if (group && *group) {
		catalogue->fixed = true;
		catalogue->group = catalogue->found = strcasecmp(group, CALICO_V3) == 0 ? GROUP_V3 : GROUP_V1;
	}
	catalogue->timer = event_new(kube->objects.base, -1, 0, on_timer, kube);
	return catalogue->timer ? 0 : -1;
}

void catalogue_done(struct objects_kube *kube)
{
	kube_call_cancel(kube->catalogue.call);
	if (kube->catalogue.timer)
		event_free(kube->catalogue.timer);
	free(kube->catalogue.trouble);
}
