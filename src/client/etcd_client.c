/* SPDX-License-Identifier: Apache-2.0 */
#include "client/etcd_client.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define DEADLINE_MS 5000

const struct etcd_method etcd_range = {"/etcdserverpb.KV/Range", &etcd__range_response__descriptor};
const struct etcd_method etcd_txn = {"/etcdserverpb.KV/Txn", &etcd__txn_response__descriptor};
const struct etcd_method etcd_lease_grant = {"/etcdserverpb.Lease/LeaseGrant",
	&etcd__lease_grant_response__descriptor};
const struct etcd_method etcd_lease_revoke = {"/etcdserverpb.Lease/LeaseRevoke",
	&etcd__lease_revoke_response__descriptor};
const struct etcd_method etcd_lease_ttl = {"/etcdserverpb.Lease/LeaseTimeToLive",
	&etcd__lease_time_to_live_response__descriptor};

struct etcd_rpc {
	struct etcd_rpc *prev, *next;
	struct etcd_client *client;
	const struct etcd_method *method;
	uint8_t *request;
	size_t len;
	struct grpc_call *call; /* null: waits for the token */
	unsigned generation;    /* of the token in use */
	bool again;             /* has been repeated with a new token */
	ProtobufCMessage *answer;
	etcd_answered answered;
	void *ctx;
};

uint8_t *etcd_pack(const ProtobufCMessage *message, size_t *ret_len)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *data = malloc(len ? len : 1);

	if (data)
		*ret_len = protobuf_c_message_pack(message, data);
	return data;
}

static void rpc_free(struct etcd_rpc *rpc)
{
	DL_DELETE(rpc->client->rpcs, rpc);
	grpc_call_cancel(rpc->call, false);
	if (rpc->answer)
		protobuf_c_message_free_unpacked(rpc->answer, NULL);
	free(rpc->request);
	free(rpc);
}

static void rpc_finish(struct etcd_rpc *rpc, const struct grpc_status *status)
{
	struct grpc_status bad = {GRPC_INTERNAL, "etcd: the answer cannot be read"};
	ProtobufCMessage *answer = TAKE_PTR(rpc->answer);
	etcd_answered answered = rpc->answered;
	void *ctx = rpc->ctx;

	if (status->code == GRPC_OK && !answer)
		status = &bad;
	rpc_free(rpc);
	if (answered)
		answered(ctx, status, status->code == GRPC_OK ? answer : NULL);
	if (answer)
		protobuf_c_message_free_unpacked(answer, NULL);
}

static void take_answer(void *ctx, const uint8_t *data, size_t len)
{
	struct etcd_rpc *rpc = ctx;

	if (!rpc->answer)
		rpc->answer = protobuf_c_message_unpack(rpc->method->answer, NULL, len, data);
}

static bool authenticate(struct etcd_client *client);
static void take_end(void *ctx, const struct grpc_status *status);

/* Sends it, or lets it wait for a token. False when there is no memory; nothing has been called then. */
static bool rpc_start(struct etcd_rpc *rpc)
{
	struct etcd_auth *auth = &rpc->client->auth;
	struct grpc_call_options options = {
		.method = rpc->method->name,
		.metadata = {auth->token_header},
		.deadline_ms = DEADLINE_MS,
		.message = take_answer,
		.done = take_end,
		.ctx = rpc,
	};

	if (auth->username && !auth->token_header && !auth->off)
		return authenticate(rpc->client);
	rpc->generation = auth->generation;
	rpc->call = grpc_call_new(rpc->client->grpc, &options, rpc->request, rpc->len);
	return rpc->call != NULL;
}

static void rpc_restart(struct etcd_rpc *rpc)
{
	struct grpc_status status = {GRPC_RESOURCE_EXHAUSTED, "etcd: no memory"};

	if (!rpc_start(rpc))
		rpc_finish(rpc, &status);
}

static void take_end(void *ctx, const struct grpc_status *status)
{
	struct etcd_rpc *rpc = ctx;

	rpc->call = NULL;
	if (etcd_auth_expired(rpc->client, status, rpc->generation) && !rpc->again) {
		rpc->again = true;
		rpc_restart(rpc);
		return;
	}
	rpc_finish(rpc, status);
}

struct etcd_rpc *etcd_rpc_new(struct etcd_client *client, const struct etcd_method *method,
	const ProtobufCMessage *request, etcd_answered answered, void *ctx)
{
	struct etcd_rpc *rpc = calloc(1, sizeof(*rpc));

	if (!rpc)
		return NULL;
	rpc->client = client;
	rpc->method = method;
	rpc->answered = answered;
	rpc->ctx = ctx;
	rpc->request = etcd_pack(request, &rpc->len);
	DL_APPEND(client->rpcs, rpc);
	if (!rpc->request || !rpc_start(rpc)) {
		rpc_free(rpc);
		return NULL;
	}
	return rpc;
}

void etcd_rpc_cancel(struct etcd_rpc *rpc)
{
	if (rpc)
		rpc_free(rpc);
}

/* -- user authentication -- */

bool etcd_auth_expired(struct etcd_client *client, const struct grpc_status *status, unsigned generation)
{
	struct etcd_auth *auth = &client->auth;

	if (!auth->username || status->code == GRPC_OK)
		return false;
	/* Token unknown or too old; the users were changed; authentication was switched on. */
	if (status->code != GRPC_UNAUTHENTICATED && !strstr(status->text, "invalid auth token") &&
		!strstr(status->text, "revision in header is old") && !strstr(status->text, "user name is empty"))
		return false;
	if (generation == auth->generation) {
		free(auth->token_header);
		auth->token_header = NULL;
		auth->off = false;
	}
	return true;
}

/* All that wait for the token go on, or share its failure. Their callbacks may end others and begin new ones, so each
 * round looks from the start. */
static void release(struct etcd_client *client, const struct grpc_status *status)
{
	struct etcd_rpc *rpc;

	while (!client->auth.call) { /* else the waiting has begun anew */
		DL_FOREACH(client->rpcs, rpc)
			if (!rpc->call)
				break;
		if (!rpc)
			return;
		if (status->code == GRPC_OK)
			rpc_restart(rpc);
		else
			rpc_finish(rpc, status);
	}
}

static void take_token(void *ctx, const uint8_t *data, size_t len)
{
	struct etcd_client *client = ctx;
	Etcd__AuthenticateResponse *answer = etcd__authenticate_response__unpack(NULL, len, data);
	char *header = NULL;

	if (answer && !answer->token[strcspn(answer->token, "\r\n")] &&
		asprintf(&header, "token: %s", answer->token) >= 0) {
		free(client->auth.token_header);
		client->auth.token_header = header;
		client->auth.generation++;
	}
	if (answer)
		etcd__authenticate_response__free_unpacked(answer, NULL);
}

static void token_end(void *ctx, const struct grpc_status *status)
{
	struct grpc_status bad = {GRPC_INTERNAL, "etcd: the answer to Authenticate cannot be read"};
	struct grpc_status fine = {0};
	struct etcd_client *client = ctx;

	client->auth.call = NULL;
	if (status->code == GRPC_FAILED_PRECONDITION && strstr(status->text, "not enabled")) {
		client->auth.off = true;
		client->auth.generation++;
		status = &fine;
	} else if (status->code == GRPC_OK && !client->auth.token_header) {
		status = &bad;
	}
	release(client, status);
}

static bool authenticate(struct etcd_client *client)
{
	Etcd__AuthenticateRequest request = ETCD__AUTHENTICATE_REQUEST__INIT;
	struct grpc_call_options options = {
		.method = "/etcdserverpb.Auth/Authenticate",
		.deadline_ms = DEADLINE_MS,
		.message = take_token,
		.done = token_end,
		.ctx = client,
	};
	_cleanup_free_ uint8_t *data = NULL;
	size_t len = 0;

	if (client->auth.call)
		return true;
	request.name = client->auth.username;
	request.password = client->auth.password;
	data = etcd_pack(&request.base, &len);
	if (data)
		client->auth.call = grpc_call_new(client->grpc, &options, data, len);
	return client->auth.call != NULL;
}

/* -- life cycle -- */

void etcd_client_done(struct etcd_client *client)
{
	grpc_call_cancel(client->auth.call, false);
	while (client->rpcs)
		rpc_free(client->rpcs);
	free(client->auth.username);
	free(client->auth.password);
	free(client->auth.token_header);
	grpc_free(client->grpc);
}

int etcd_client_init(struct etcd_client *client, const struct etcd_client_options *options, struct event_base *base,
	struct err *err)
{
	const struct grpc_options grpc = {options->endpoints, options->keyfile, options->certfile, options->cafile};
	int rc;

	client->base = base;
	rc = grpc_new(&grpc, base, &client->grpc, err);
	if (rc < 0 || !options->username || !*options->username)
		return rc;
	client->auth.username = strdup(options->username);
	client->auth.password = strdup(options->password ? options->password : "");
	if (!client->auth.username || !client->auth.password)
		return err_set(err, -ENOMEM, "etcd: no memory");
	return 0;
}
