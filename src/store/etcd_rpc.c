/* SPDX-License-Identifier: Apache-2.0 */
#include "store/etcd_private.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

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
	struct etcd *etcd;
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
	DL_DELETE(rpc->etcd->rpcs, rpc);
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

static bool authenticate(struct etcd *etcd);
static void take_end(void *ctx, const struct grpc_status *status);

/* Sends it, or lets it wait for a token. False when there is no memory; nothing has been called then. */
static bool rpc_start(struct etcd_rpc *rpc)
{
	struct etcd_auth *auth = &rpc->etcd->auth;
	struct grpc_call_options options = {
		.method = rpc->method->name,
		.metadata = {auth->token_header},
		.deadline_ms = ETCD_DEADLINE_MS,
		.message = take_answer,
		.done = take_end,
		.ctx = rpc,
	};

	if (auth->username && !auth->token_header && !auth->off)
		return authenticate(rpc->etcd);
	rpc->generation = auth->generation;
	rpc->call = grpc_call_new(rpc->etcd->grpc, &options, rpc->request, rpc->len);
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
	if (etcd_auth_expired(rpc->etcd, status, rpc->generation) && !rpc->again) {
		rpc->again = true;
		rpc_restart(rpc);
		return;
	}
	rpc_finish(rpc, status);
}

struct etcd_rpc *etcd_rpc_new(struct etcd *etcd, const struct etcd_method *method, const ProtobufCMessage *request,
	etcd_answered answered, void *ctx)
{
	struct etcd_rpc *rpc = calloc(1, sizeof(*rpc));

	if (!rpc)
		return NULL;
	rpc->etcd = etcd;
	rpc->method = method;
	rpc->answered = answered;
	rpc->ctx = ctx;
	rpc->request = etcd_pack(request, &rpc->len);
	DL_APPEND(etcd->rpcs, rpc);
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

bool etcd_auth_expired(struct etcd *etcd, const struct grpc_status *status, unsigned generation)
{
	struct etcd_auth *auth = &etcd->auth;

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
static void release(struct etcd *etcd, const struct grpc_status *status)
{
	struct etcd_rpc *rpc;

	while (!etcd->auth.call) { /* else the waiting has begun anew */
		DL_FOREACH(etcd->rpcs, rpc)
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
	struct etcd *etcd = ctx;
	Etcd__AuthenticateResponse *answer = etcd__authenticate_response__unpack(NULL, len, data);
	char *header = NULL;

	if (answer && !answer->token[strcspn(answer->token, "\r\n")] &&
		asprintf(&header, "token: %s", answer->token) >= 0) {
		free(etcd->auth.token_header);
		etcd->auth.token_header = header;
		etcd->auth.generation++;
	}
	if (answer)
		etcd__authenticate_response__free_unpacked(answer, NULL);
}

static void token_end(void *ctx, const struct grpc_status *status)
{
	struct grpc_status bad = {GRPC_INTERNAL, "etcd: the answer to Authenticate cannot be read"};
	struct grpc_status fine = {0};
	struct etcd *etcd = ctx;

	etcd->auth.call = NULL;
	if (status->code == GRPC_FAILED_PRECONDITION && strstr(status->text, "not enabled")) {
		etcd->auth.off = true;
		etcd->auth.generation++;
		status = &fine;
	} else if (status->code == GRPC_OK && !etcd->auth.token_header) {
		status = &bad;
	}
	release(etcd, status);
}

static bool authenticate(struct etcd *etcd)
{
	Etcd__AuthenticateRequest request = ETCD__AUTHENTICATE_REQUEST__INIT;
	struct grpc_call_options options = {
		.method = "/etcdserverpb.Auth/Authenticate",
		.deadline_ms = ETCD_DEADLINE_MS,
		.message = take_token,
		.done = token_end,
		.ctx = etcd,
	};
	_cleanup_free_ uint8_t *data = NULL;
	size_t len = 0;

	if (etcd->auth.call)
		return true;
	request.name = etcd->auth.username;
	request.password = etcd->auth.password;
	data = etcd_pack(&request.base, &len);
	if (data)
		etcd->auth.call = grpc_call_new(etcd->grpc, &options, data, len);
	return etcd->auth.call != NULL;
}

void etcd_auth_done(struct etcd *etcd)
{
	grpc_call_cancel(etcd->auth.call, false);
	while (etcd->rpcs)
		rpc_free(etcd->rpcs);
	free(etcd->auth.username);
	free(etcd->auth.password);
	free(etcd->auth.token_header);
}
