/* SPDX-License-Identifier: Apache-2.0
 *
 * BGP: from what the store says to BIRD's configuration, and what "tullectl bgp" shows of it. BIRD is a program of its own
 * (plane/bird.h): with --bird=adopt somebody else starts it, and where nobody does, there is no BGP.
 */
#include "agent/calico/internal.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "client/kube_base64.h"
#include "plan/bird.h"
#include "plane/bird.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BIRD_PROGRAM "/usr/sbin/bird"
#define CONF_MAX ((size_t)32 << 20)
#define ROUTES_SHOWN 2000
#define SECRETS_MAX 64
#define REST 9 /* times as long as a configuration took to write */

/* A password's Secret as it was last seen. */
struct secret {
	struct calico_bgp *bgp;
	struct secret *next;
	char *name, *key;
	char *value;               /* null: not seen yet, or not there */
	bool answered;             /* the store has said something of it, once */
	struct objects_call *call;
};

struct listing {
	struct calico_bgp *bgp;
	struct listing *next;
	struct http_request *request;
	struct bird_listing *call;
};

struct calico_bgp {
	struct calico *calico;
	struct bird *bird;
	struct secret *secrets;
	size_t secret_count;
	bool awaits;               /* a password that was asked for has not been answered yet */
	struct event *turn;        /* pending: the next configuration, when there has been enough rest */
	int64_t rest_until_us;
	struct listing *listings;
};

/* -- passwords -- */

static const char *secret_namespace(void)
{
	const char *own = getenv("POD_NAMESPACE");

	return own && *own ? own : "kube-tulle";
}

static char *read_secret(const json_t *object, const char *key)
{
	const char *plain = json_string_value(json_object_get(json_object_get(object, "stringData"), key));
	const char *coded = json_string_value(json_object_get(json_object_get(object, "data"), key));

	return plain ? strdup(plain) : coded ? kube_base64_decode(coded) : NULL;
}

static void on_secret(void *ctx, const struct objects_answer *answer)
{
	struct secret *secret = ctx;
	char *value = answer->rc == 0 ? read_secret(answer->object, secret->key) : NULL;

	secret->call = NULL;
	if (!secret->answered)
		agent_mark(secret->bgp->calico->agent);
	secret->answered = true;
	/* one that cannot be read for the moment keeps its value */
	if (!value && answer->rc < 0 && answer->rc != -ENOENT)
		return;
	if (value && secret->value && strcmp(value, secret->value) == 0) {
		free(value);
		return;
	}
	free(secret->value);
	secret->value = value;
	agent_mark(secret->bgp->calico->agent);
}

static void secret_look(struct secret *secret)
{
	struct object_key key = {.kind = KIND_SECRET, .namespace = secret_namespace(), .name = secret->name};

	if (!secret->call)
		secret->call = objects_get(secret->bgp->calico->objects, &key, on_secret, secret);
}

static const char *find_secret(void *ctx, const struct secret_ref *ref)
{
	struct calico_bgp *bgp = ctx;
	struct secret *secret;

	for (secret = bgp->secrets; secret; secret = secret->next)
		if (strcmp(secret->name, ref->name) == 0 && strcmp(secret->key, ref->key) == 0) {
			bgp->awaits |= !secret->answered;
			return secret->value;
		}
	secret = bgp->secret_count < SECRETS_MAX ? calloc(1, sizeof(*secret)) : NULL;
	if (!secret)
		return NULL;
	*secret = (struct secret){.bgp = bgp, .next = bgp->secrets, .name = strdup(ref->name), .key = strdup(ref->key)};
	bgp->secrets = secret;
	bgp->secret_count++;
	if (secret->name && secret->key)
		secret_look(secret);
	bgp->awaits |= secret->call != NULL;
	return NULL;
}

void calico_bgp_resync(struct calico *calico)
{
	if (!calico->bgp_unit)
		return;
	for (struct secret *secret = calico->bgp_unit->secrets; secret; secret = secret->next)
		if (secret->name && secret->key)
			secret_look(secret);
}

/* -- the configuration -- */

static void complain(void *ctx, const char *object, const char *text)
{
	struct calico_bgp *bgp = ctx;
	char name[320];

	snprintf(name, sizeof(name), "BGP: %s", object);
	if (problems_set(bgp->calico->agent->problems, name, text))
		cluster_remark(bgp->calico->store, object, text);
}

static int build_with(struct calico_bgp *bgp, struct bird_input *input, struct buf *text)
{
	struct calico *calico = bgp->calico;
	struct bird_services services = {0};
	struct bird_prefixes announced = {0};
	_cleanup_free_ const void **all = collection_list(cluster_part(calico->store, CLUSTER_SERVICES), &services.service_count);
	_cleanup_free_ const void **slices = collection_list(cluster_part(calico->store, CLUSTER_SLICES), &services.slice_count);
	int rc;

	services.services = (const struct service *const *)all;
	services.slices = (const struct endpoint_slice *const *)slices;
	rc = all && slices ? bird_services(calico->bgp, calico_node_own(calico), &services, &announced) : -ENOMEM;
	input->services = announced.items;
	input->service_count = announced.count;
	if (rc == 0)
		rc = bird_build(input, text);
	bird_prefixes_free(&announced);
	return rc;
}

static int build(struct calico_bgp *bgp, struct buf *text)
{
	struct calico *calico = bgp->calico;
	struct bird_input input = {
		.node_name = calico->agent->options.node_name,
		.pools = calico->pools->items,
		.pool_count = calico->pools->count,
		.config = calico->bgp,
		.felix = &calico->felix,
		.secret = find_secret,
		.secret_ctx = bgp,
		.complain = complain,
		.complain_ctx = bgp,
	};
	_cleanup_free_ const void **nodes = collection_list(cluster_part(calico->store, CLUSTER_NODES), &input.node_count);
	_cleanup_free_ const void **blocks = collection_list(cluster_part(calico->store, CLUSTER_BLOCKS), &input.block_count);
	_cleanup_free_ const void **peers = collection_list(cluster_part(calico->store, CLUSTER_PEERS), &input.peer_count);
	_cleanup_free_ const void **filters = collection_list(cluster_part(calico->store, CLUSTER_FILTERS), &input.filter_count);
	_cleanup_free_ struct bgp_port *ports = NULL;

	if (!nodes || !blocks || !peers || !filters || cluster_bgp_ports(calico->store, &ports, &input.port_count) < 0)
		return -ENOMEM;
	input.ports = ports;
	input.nodes = (const struct node *const *)nodes;
	input.blocks = (const struct block *const *)blocks;
	input.peers = (const struct bgp_peer *const *)peers;
	input.filters = (const struct bgp_filter *const *)filters;
	return build_with(bgp, &input, text);
}

static bool announces_services(const struct bgp_config *config)
{
	return config->cluster_ip_count || config->external_ip_count || config->balancer_ip_count;
}

/* A BIRD that outlived us has sessions and routes that a half-read store would take away. */
static bool all_is_read(const struct calico *calico)
{
	static const enum cluster_part parts[] = {CLUSTER_PEERS, CLUSTER_FILTERS, CLUSTER_SERVICES, CLUSTER_SLICES};
	size_t count = announces_services(calico->bgp) ? ARRAY_SIZE(parts) : 2;

	for (size_t i = 0; i < count; i++)
		if (!collection_is_complete(cluster_part(calico->store, parts[i])))
			return false;
	return true;
}

static void apply(struct calico_bgp *bgp)
{
	struct problems *problems = bgp->calico->agent->problems;
	_cleanup_(buf_free) struct buf text = BUF_INIT(CONF_MAX);
	int64_t began = agent_now_us(), ended;
	int rc;

	bgp->awaits = false;
	problems_begin(problems, "BGP: ");
	rc = build(bgp, &text);
	problems_end(problems, "BGP: ");
	if (rc == 0 && !bgp->awaits)
		rc = bird_put(bgp->bird, buf_text(&text), text.len);
	problems_set(problems, "BGP", rc < 0 ? strerror(-rc) : NULL);
	ended = agent_now_us();
	bgp->rest_until_us = ended + REST * (ended - began);
}

static void on_turn(evutil_socket_t fd, short what, void *ctx)
{
	struct calico_bgp *bgp = ctx;

	/* Where something has changed since, what the last pass used may be gone; the next one comes by here. */
	if (!bgp->calico->changed && bgp->calico->pools && calico_node_own(bgp->calico))
		apply(bgp);
}

/* A mesh of thousands takes longer to write down than all else of a pass, and the node's own routes do not wait for it. */
void calico_bgp_apply(struct calico *calico)
{
	struct calico_bgp *bgp = calico->bgp_unit;
	struct timeval rest = {0};
	int64_t left;

	if (!bgp || !calico_node_own(calico))
		return;
	cluster_follow_services(calico->store, announces_services(calico->bgp));
	if (!all_is_read(calico) || event_pending(bgp->turn, EV_TIMEOUT, NULL))
		return;
	left = bgp->rest_until_us - agent_now_us();
	if (left <= 0) {
		apply(bgp);
		return;
	}
	rest.tv_sec = left / 1000000;
	rest.tv_usec = left % 1000000;
	event_add(bgp->turn, &rest);
}

/* -- what BIRD says -- */

static void on_changed(void *ctx)
{
	struct calico_bgp *bgp = ctx;
	const struct bird_status *status = bird_status(bgp->bird);
	bool wanted = collection_count(cluster_part(bgp->calico->store, CLUSTER_PEERS)) > 0;

	/* Without a BIRD nodes of one network still reach each other; who has peers wants to know. */
	problems_set(bgp->calico->agent->problems, "BIRD",
		status->problem[0] && (status->state != BIRD_ABSENT || wanted) ? status->problem : NULL);
}

json_t *calico_bgp_status(const struct calico *calico)
{
	return calico->bgp_unit ? bird_status_json(bird_status(calico->bgp_unit->bird)) : NULL;
}

static void reply(struct http_request *request, int status, json_t *json, const char *text)
{
	struct http_answer answer = {.status = status, .content_type = json ? "application/json" : "text/plain; charset=utf-8",
		.body = BUF_INIT((size_t)64 << 20)};
	_cleanup_free_ char *dumped = json ? json_dumps(json, JSON_COMPACT) : NULL;

	buf_add_str(&answer.body, json ? (dumped ? dumped : "{}") : text);
	buf_add_str(&answer.body, "\n");
	http_reply(request, &answer);
	buf_free(&answer.body);
	json_decref(json);
}

static void listing_free(struct listing *listing)
{
	for (struct listing **at = &listing->bgp->listings; *at; at = &(*at)->next)
		if (*at == listing) {
			*at = listing->next;
			break;
		}
	free(listing);
}

static void on_listed(void *ctx, int rc, const struct bird_routes *routes)
{
	struct listing *listing = ctx;

	if (rc < 0)
		reply(listing->request, 503, NULL, "BIRD gives no answer");
	else
		reply(listing->request, 200, bird_routes_json(routes), NULL);
	listing_free(listing);
}

void calico_bgp_routes(struct calico *calico, struct http_request *request)
{
	struct calico_bgp *bgp = calico->bgp_unit;
	struct listing *listing = bgp ? calloc(1, sizeof(*listing)) : NULL;

	if (!listing) {
		reply(request, 503, NULL, "this agent speaks no BGP (--bird)");
		return;
	}
	*listing = (struct listing){.bgp = bgp, .next = bgp->listings, .request = request};
	bgp->listings = listing;
	if (bird_list_routes(bgp->bird, ROUTES_SHOWN, on_listed, listing, &listing->call) < 0) {
		reply(request, 503, NULL, "BIRD cannot be asked");
		listing_free(listing);
	}
}

/* -- life -- */

int calico_bgp_init(struct calico *calico, struct err *err)
{
	const struct options *options = &calico->agent->options;
	char directory[4096];
	struct bird_options bird = {.directory = directory, .program = access(BIRD_PROGRAM, X_OK) == 0 ? BIRD_PROGRAM : NULL,
		.start = strcmp(options->bird, "start") == 0, .changed = on_changed};

	if (strcmp(options->bird, "off") == 0)
		return 0;
	if (bird.start && !bird.program)
		return err_set(err, -ENOENT, "--bird: the value is \"start\", but there is no " BIRD_PROGRAM);
	if (snprintf(directory, sizeof(directory), "%s/bird", options->run_dir) >= (int)sizeof(directory))
		return err_set(err, -ENAMETOOLONG, "--run-dir: the path is too long");
	calico->bgp_unit = calloc(1, sizeof(*calico->bgp_unit));
	if (!calico->bgp_unit)
		return err_set(err, -ENOMEM, "out of memory");
	calico->bgp_unit->calico = calico;
	calico->bgp_unit->turn = event_new(calico->agent->base, -1, 0, on_turn, calico->bgp_unit);
	if (!calico->bgp_unit->turn)
		return err_set(err, -ENOMEM, "out of memory");
	bird.ctx = calico->bgp_unit;
	return bird_new(calico->agent->base, &bird, &calico->bgp_unit->bird, err);
}

void calico_bgp_free(struct calico *calico)
{
	struct calico_bgp *bgp = calico->bgp_unit;

	if (!bgp)
		return;
	while (bgp->listings) {
		bird_listing_cancel(&bgp->listings->call);
		reply(bgp->listings->request, 503, NULL, "the agent is stopping");
		listing_free(bgp->listings);
	}
	if (bgp->turn)
		event_free(bgp->turn);
	bird_free(&bgp->bird);
	while (bgp->secrets) {
		struct secret *next = bgp->secrets->next;

		objects_cancel(bgp->secrets->call);
		free(bgp->secrets->name);
		free(bgp->secrets->key);
		free(bgp->secrets->value);
		free(bgp->secrets);
		bgp->secrets = next;
	}
	free(bgp);
	calico->bgp_unit = NULL;
}
