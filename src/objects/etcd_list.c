/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/etcd_private.h"

#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>
#include <string.h>

#define PAGE 500 /* keys; fewer when values are so large that the answer would not fit */

static bool next_page(struct etcd_objects_call *call);

static void take(struct etcd_objects_call *call, const Etcd__KeyValue *kv)
{
	const struct objects_request *request = &call->base.request;
	_cleanup_(json_cleanup) json_t *object = NULL;

	/* A damaged value is a watch's story; here it counts as absent. */
	if (etcd_objects_parse(request->kind, kv, &object, NULL) == 0 &&
		objects_label_match(request->label_selector, object))
		request->each(request->ctx, object);
}

/* The page's objects; where the next one begins. False: no memory. */
static bool take_all(struct etcd_objects_call *call, const Etcd__RangeResponse *page)
{
	const Etcd__KeyValue *last = page->n_kvs ? page->kvs[page->n_kvs - 1] : NULL;

	call->base.inside = true;
	for (size_t i = 0; i < page->n_kvs && !call->base.cancelled; i++)
		take(call, page->kvs[i]);
	call->base.inside = false;
	free(call->next_key);
	call->next_key = page->more && last ? strndup((const char *)last->key.data, last->key.len) : NULL;
	return !page->more || call->next_key;
}

static void on_page(void *ctx, const struct grpc_status *status, const ProtobufCMessage *message)
{
	const Etcd__RangeResponse *page = (const Etcd__RangeResponse *)message;
	struct etcd_objects_call *call = ctx;
	bool going = true;

	call->rpc = NULL;
	if (status->code == GRPC_RESOURCE_EXHAUSTED && call->page_size > 1) {
		call->page_size /= 2;
		going = next_page(call);
	} else if (!page || !page->header) {
		objects_remote_finish(&call->base, page ? -EIO : etcd_objects_code(status), NULL,
			page ? "etcd: a page of the list cannot be used" : status->text);
		return;
	} else {
		if (!call->revision)
			call->revision = page->header->revision;
		going = take_all(call, page);
		if (call->base.cancelled || (going && !call->next_key)) {
			objects_remote_finish(&call->base, 0, NULL, "");
			return;
		}
		going = going && next_page(call);
	}
	if (!going)
		objects_remote_finish(&call->base, -ENOMEM, NULL, "no memory");
}

static bool next_page(struct etcd_objects_call *call)
{
	Etcd__RangeRequest request = ETCD__RANGE_REQUEST__INIT;
	char prefix[CALICO_KEY_MAX], end[CALICO_KEY_MAX];

	calico_etcd_range(call->base.request.kind, prefix, end);
	request.key = etcd_text(prefix);
	if (call->next_key) { /* the key behind it: with its closing 0 */
		request.key = etcd_text(call->next_key);
		request.key.len++;
	}
	request.range_end = etcd_text(end);
	request.limit = call->page_size;
	/* All pages are of the first one's moment. */
	request.revision = call->revision;
	call->rpc = etcd_rpc_new(&etcd_of(call->base.call.objects)->client, &etcd_range, &request.base, on_page, call);
	return call->rpc;
}

bool etcd_objects_list(struct etcd_objects_call *call)
{
	call->page_size = PAGE;
	return next_page(call);
}
