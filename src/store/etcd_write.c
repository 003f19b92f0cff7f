/* SPDX-License-Identifier: Apache-2.0 */
#include "store/etcd_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static ProtobufCBinaryData bytes(const void *data, size_t len)
{
	return (ProtobufCBinaryData){len, (uint8_t *)data};
}

static ProtobufCBinaryData text(const char *string)
{
	return bytes(string, strlen(string));
}

/* Nobody waits for the answer; a lease that cannot be revoked runs out. */
static void revoke(struct etcd *etcd, etcd_answered answered)
{
	Etcd__LeaseRevokeRequest request = ETCD__LEASE_REVOKE_REQUEST__INIT;
	struct etcd_rpc *rpc;

	request.id = etcd->write.lease;
	rpc = etcd_rpc_new(&etcd->client, &etcd_lease_revoke, &request.base, answered, etcd);
	if (answered)
		etcd->write.rpc = rpc;
}

static void finish(struct etcd *etcd, int rc, uint64_t revision, const char *story)
{
	struct kv_result result = {.rc = rc, .revision = revision, .expires = etcd->write.expires, .text = story};
	kv_done done = etcd->write.done;

	etcd->write.kind = ETCD_WRITE_NONE;
	etcd->write.rpc = NULL;
	free(etcd->write.value);
	etcd->write.value = NULL;
	done(etcd->kv.ctx, &result);
}

/* Ends a write whose etcd lease is not needed after all. */
static void fail(struct etcd *etcd, int rc, const char *story)
{
	if (etcd->write.lease)
		revoke(etcd, NULL);
	etcd->write.lease = 0;
	finish(etcd, rc, 0, story);
}

/* A call could not even begin: the answer must still come from the loop. */
static void fail_later(struct etcd *etcd)
{
	event_active(etcd->write.give_up, 0, 0);
}

static void on_give_up(evutil_socket_t fd, short what, void *arg)
{
	fail(arg, -ENOMEM, "etcd: no memory");
}

/* -- the transaction -- */

static void take_withdrawn(void *ctx, const struct grpc_status *status, const ProtobufCMessage *answer)
{
	struct etcd *etcd = ctx;

	etcd->write.lease = 0;
	if (status->code == GRPC_OK)
		finish(etcd, -EEXIST, 0, "etcd: another lease overlaps it");
	else
		finish(etcd, -EIO, 0, status->text);
}

/* The keys that were there at the very moment of our creation: of two that overlap, the later one sees the earlier. */
static bool is_blocked(struct etcd *etcd, const Etcd__TxnResponse *answer)
{
	const struct kv *kv = &etcd->kv;
	size_t head = strlen(etcd->subnets);

	for (size_t i = 0; i < answer->n_responses; i++) {
		const Etcd__ResponseOp *op = answer->responses[i];

		if (op->response_case != ETCD__RESPONSE_OP__RESPONSE_RESPONSE_RANGE || !op->response_range)
			continue;
		for (size_t j = 0; j < op->response_range->n_kvs; j++) {
			const ProtobufCBinaryData *key = &op->response_range->kvs[j]->key;
			char other[LEASE_KEY_MAX];

			if (key->len <= head || key->len - head >= sizeof(other))
				continue;
			snprintf(other, sizeof(other), "%.*s", (int)(key->len - head), (const char *)key->data + head);
			if (strcmp(other, etcd->write.key) != 0 &&
				kv->events->blocks(kv->ctx, etcd->write.key, other))
				return true;
		}
	}
	return false;
}

static void take_txn(void *ctx, const struct grpc_status *status, const ProtobufCMessage *message)
{
	const Etcd__TxnResponse *answer = (const Etcd__TxnResponse *)message;
	struct etcd *etcd = ctx;

	etcd->write.rpc = NULL;
	if (!answer || !answer->header) {
		/* Revoking also takes back a key that was written without our knowledge. */
		fail(etcd, -EIO, status->text);
	} else if (!answer->succeeded) {
		fail(etcd, etcd->write.kind == ETCD_WRITE_CREATE ? -EEXIST : -ESTALE, "etcd: somebody else was faster");
	} else if (etcd->write.kind == ETCD_WRITE_CREATE && is_blocked(etcd, answer)) {
		revoke(etcd, take_withdrawn);
		if (!etcd->write.rpc)
			fail_later(etcd);
	} else {
		finish(etcd, 0, (uint64_t)answer->header->revision, "");
	}
}

static void send_txn(struct etcd *etcd)
{
	Etcd__Compare compare = ETCD__COMPARE__INIT, *compares[] = {&compare};
	Etcd__RequestOp change = ETCD__REQUEST_OP__INIT, look = ETCD__REQUEST_OP__INIT, *ops[] = {&change, &look};
	Etcd__DeleteRangeRequest delete = ETCD__DELETE_RANGE_REQUEST__INIT;
	Etcd__TxnRequest request = ETCD__TXN_REQUEST__INIT;
	Etcd__RangeRequest range = ETCD__RANGE_REQUEST__INIT;
	Etcd__PutRequest put = ETCD__PUT_REQUEST__INIT;
	struct etcd_write *write = &etcd->write;
	char key[ETCD_KEY_MAX + LEASE_KEY_MAX];

	snprintf(key, sizeof(key), "%s%s", etcd->subnets, write->key);
	compare.key = put.key = delete.key = text(key);
	compare.result = ETCD__COMPARE__COMPARE_RESULT__EQUAL;
	if (write->kind == ETCD_WRITE_CREATE) {
		compare.target = ETCD__COMPARE__COMPARE_TARGET__VERSION;
		compare.target_union_case = ETCD__COMPARE__TARGET_UNION_VERSION;
		compare.version = 0;
	} else {
		compare.target = ETCD__COMPARE__COMPARE_TARGET__MOD;
		compare.target_union_case = ETCD__COMPARE__TARGET_UNION_MOD_REVISION;
		compare.mod_revision = (int64_t)write->revision;
	}
	put.value = bytes(write->value, write->len);
	put.lease = write->lease;
	change.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
	change.request_put = &put;
	if (write->kind == ETCD_WRITE_REMOVE) {
		change.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
		change.request_delete_range = &delete;
	}
	range.key = text(etcd->leases.key);
	range.range_end = text(etcd->leases.end);
	range.keys_only = true;
	look.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE;
	look.request_range = &range;
	request.compare = compares;
	request.n_compare = 1;
	request.success = ops;
	request.n_success = write->kind == ETCD_WRITE_CREATE ? 2 : 1;
	write->rpc = etcd_rpc_new(&etcd->client, &etcd_txn, &request.base, take_txn, etcd);
	if (!write->rpc)
		fail_later(etcd);
}

/* -- the lease -- */

static void take_grant(void *ctx, const struct grpc_status *status, const ProtobufCMessage *message)
{
	const Etcd__LeaseGrantResponse *answer = (const Etcd__LeaseGrantResponse *)message;
	struct etcd *etcd = ctx;

	etcd->write.rpc = NULL;
	if (!answer || !answer->id || answer->ttl <= 0) {
		fail(etcd, -EIO, !answer ? status->text : *answer->error ? answer->error : "etcd: no lease was granted");
		return;
	}
	etcd->write.lease = answer->id;
	etcd->write.expires = time(NULL) + answer->ttl;
	send_txn(etcd);
}

static void begin(struct kv *kv, enum etcd_write_kind kind, const char *key, uint64_t revision, kv_done done)
{
	struct etcd *etcd = (struct etcd *)kv;
	struct event *give_up = etcd->write.give_up;

	etcd->write = (struct etcd_write){.kind = kind, .revision = revision, .done = done, .give_up = give_up};
	snprintf(etcd->write.key, sizeof(etcd->write.key), "%s", key);
}

static void begin_put(struct kv *kv, const char *value, size_t len, int64_t ttl)
{
	Etcd__LeaseGrantRequest request = ETCD__LEASE_GRANT_REQUEST__INIT;
	struct etcd *etcd = (struct etcd *)kv;

	etcd->write.value = malloc(len ? len : 1);
	if (!etcd->write.value) {
		fail_later(etcd);
		return;
	}
	memcpy(etcd->write.value, value, len);
	etcd->write.len = len;
	if (!ttl) {
		send_txn(etcd);
		return;
	}
	request.ttl = ttl;
	etcd->write.rpc = etcd_rpc_new(&etcd->client, &etcd_lease_grant, &request.base, take_grant, etcd);
	if (!etcd->write.rpc)
		fail_later(etcd);
}

void etcd_create(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, kv_done done)
{
	begin(kv, ETCD_WRITE_CREATE, key, 0, done);
	begin_put(kv, value, len, ttl);
}

void etcd_replace(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, uint64_t revision,
	kv_done done)
{
	begin(kv, ETCD_WRITE_REPLACE, key, revision, done);
	begin_put(kv, value, len, ttl);
}

void etcd_remove(struct kv *kv, const char *key, uint64_t revision, kv_done done)
{
	begin(kv, ETCD_WRITE_REMOVE, key, revision, done);
	send_txn((struct etcd *)kv);
}

/* -- when does it end -- */

static void take_expiry(void *ctx, const struct grpc_status *status, const ProtobufCMessage *message)
{
	const Etcd__LeaseTimeToLiveResponse *answer = (const Etcd__LeaseTimeToLiveResponse *)message;
	struct etcd *etcd = ctx;

	if (answer)
		etcd->write.expires = time(NULL) + (answer->ttl > 0 ? answer->ttl : 0);
	finish(etcd, answer ? 0 : -EIO, 0, status->text);
}

void etcd_expiry(struct kv *kv, uint64_t handle, kv_done done)
{
	Etcd__LeaseTimeToLiveRequest request = ETCD__LEASE_TIME_TO_LIVE_REQUEST__INIT;
	struct etcd *etcd = (struct etcd *)kv;

	begin(kv, ETCD_WRITE_EXPIRY, "", 0, done);
	request.id = (int64_t)handle;
	etcd->write.rpc = etcd_rpc_new(&etcd->client, &etcd_lease_ttl, &request.base, take_expiry, etcd);
	if (!etcd->write.rpc)
		fail_later(etcd);
}

int etcd_write_init(struct etcd *etcd)
{
	etcd->write.give_up = event_new(etcd->client.base, -1, 0, on_give_up, etcd);
	return etcd->write.give_up ? 0 : -ENOMEM;
}

void etcd_write_done(struct etcd *etcd)
{
	free(etcd->write.value);
	if (etcd->write.give_up)
		event_free(etcd->write.give_up);
}
