/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_operation.h"

#include "base/cleanup.h"
#include "cni_server/cni_result.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct operation {
	struct attacher *attacher;
	const struct cni_server_options *options;
	const struct cni_request *request;
	int64_t waited_ms;
	struct buf *out;
	struct cni_error *error;
};

static const char *not_ready(const struct operation *op)
{
	return op->options->not_ready ? op->options->not_ready(op->options->ctx) : NULL;
}

static int print(const struct operation *op, const json_t *object)
{
	_cleanup_free_ char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	if (!text || buf_printf(op->out, "%s\n", text) < 0)
		return cni_error_set(op->error, CNI_INTERNAL, "out of memory");
	return 0;
}

/* -- ADD -- */

static int parse_wanted(const struct operation *op, struct cni_conf *ret)
{
	const struct cni_request *request = op->request;
	struct cni_wishes wishes = {0};
	struct err err = ERR_INIT;

	if (cni_args_parse(request->text[FRAME_ARGS], &wishes, &err) < 0)
		return cni_error_set(op->error, CNI_BAD_ENVIRONMENT, "%s", err_text(&err));
	if (cni_conf_parse(
		    request->conf, request->text[FRAME_PLUGIN], op->options->ip_masq, &wishes, ret, &err) < 0)
		return cni_error_set(op->error, CNI_BAD_CONF, "%s", err_text(&err));
	return 0;
}

/* Called alone, or as a later plugin of a chain: then what came before stays in the result. */
static json_t *make_result(const struct operation *op, const struct attachment *attachment, const json_t *dns)
{
	const struct cni_request *request = op->request;
	_cleanup_(json_cleanup) json_t *result = cni_result_read(json_find(request->conf, "prevResult"));
	struct err err = ERR_INIT;
	json_t *written = NULL;

	if (result && cni_result_add(result, attachment, request->text[FRAME_NETNS], dns) == 0)
		written = cni_result_write(result, request->version, &err);
	if (!written)
		cni_error_set(op->error, CNI_INTERNAL, "%s", err.code ? err_text(&err) : "out of memory");
	return written;
}

/* 0: go on. */
static int admit(const struct operation *op, const struct attach_request *wanted)
{
	struct err err = ERR_INIT;
	int rc = op->options->admit ? op->options->admit(op->options->ctx, wanted, &err) : 0;

	if (rc == -EINPROGRESS && op->waited_ms < CNI_WAIT_MAX_MS)
		return CNI_OPERATION_LATER;
	if (rc == -EINPROGRESS) {
		cni_error_set(op->error, CNI_TRY_LATER, "the node is not ready for this pod");
		return cni_error_details(op->error, "%s", err_text(&err));
	}
	return rc < 0 ? cni_error_from_attach(op->error, &err) : 0;
}

static int add_with(const struct operation *op, const struct cni_conf *conf)
{
	struct attach_request wanted = cni_request_attach(op->request);
	_cleanup_(json_cleanup) json_t *result = NULL;
	struct attachment attachment;
	struct err err = ERR_INIT;
	int rc;

	wanted.pod_namespace = conf->wishes.pod_namespace;
	wanted.pod_name = conf->wishes.pod_name;
	wanted.mtu = conf->mtu;
	wanted.default_route = conf->default_route;
	wanted.routes = conf->routes;
	wanted.route_count = conf->route_count;
	memcpy(wanted.ips, conf->wishes.ips, sizeof(wanted.ips));
	wanted.ip_count = conf->wishes.ip_count;
	wanted.mac = conf->wishes.mac;
	wanted.bandwidth = conf->bandwidth;
	wanted.flannel_conf = conf->type == CNI_TYPE_FLANNEL ? op->request->conf : NULL;
	wanted.ip_masq = op->options->ip_masq;
	rc = admit(op, &wanted);
	if (rc)
		return rc;
	if (attach_add(op->attacher, &wanted, &attachment, &err) < 0)
		return cni_error_from_attach(op->error, &err);
	result = make_result(op, &attachment, conf->dns);
	if (result && print(op, result) == 0)
		return 0;
	cni_operation_undo(op->attacher, op->request);
	return -1;
}

static int run_add(const struct operation *op)
{
	const json_t *prev = json_find(op->request->conf, "prevResult");
	const char *reason = not_ready(op);
	struct cni_conf conf;

	if (parse_wanted(op, &conf) < 0)
		return -1;
	if (prev && !json_is_object(prev))
		return cni_error_set(op->error, CNI_BAD_CONF, "key \"prevResult\" is no object");
	if (op->request->netns_fd < 0)
		return cni_error_set(op->error, CNI_BAD_ENVIRONMENT, "CNI_NETNS came without its descriptor");
	if (reason) {
		cni_error_set(op->error, CNI_TRY_LATER, "the node's network is not ready");
		return cni_error_details(op->error, "%s", reason);
	}
	return add_with(op, &conf);
}

/* -- the others -- */

static int run_del(const struct operation *op)
{
	struct attach_request request = cni_request_attach(op->request);
	struct cni_wishes wishes = {0};
	struct err err = ERR_INIT;

	cni_args_parse(op->request->text[FRAME_ARGS], &wishes, NULL); /* a DEL does not fail because of them */
	request.pod_namespace = wishes.pod_namespace;
	request.pod_name = wishes.pod_name;
	if (attach_del(op->attacher, &request, &err) < 0)
		return cni_error_from_attach(op->error, &err);
	return 0;
}

static int run_check(const struct operation *op)
{
	struct attach_request request = cni_request_attach(op->request);
	const json_t *prev = json_find(op->request->conf, "prevResult");
	_cleanup_(json_cleanup) json_t *result = NULL;
	struct attachment attachment;
	struct err err = ERR_INIT;

	if (!json_is_object(prev))
		return cni_error_set(
			op->error, CNI_BAD_CONF, "CHECK needs a \"prevResult\" in the network configuration");
	if (!attach_find(op->attacher, request.container_id, request.ifname))
		return cni_error_set(op->error, CNI_NO_CONTAINER, "the container has no such attachment");
	if (attach_check(op->attacher, &request, &attachment, &err) == 0) {
		result = cni_result_read(prev);
		if (result && cni_result_compare(result, &attachment, &err) == 0)
			return 0;
	}
	cni_error_set(op->error, CNI_CHECK_FAILED, "the pod's network is not as ADD left it");
	return cni_error_details(op->error, "%s", err_text(&err));
}

static int gc_key(const json_t *item, struct attach_key *ret)
{
	ret->container_id = json_string_value(json_find(item, "containerID"));
	ret->ifname = json_string_value(json_find(item, "ifname"));
	return ret->container_id && ret->ifname ? 0 : -1;
}

static int run_gc(const struct operation *op)
{
	const json_t *list = json_find(op->request->conf, "cni.dev/valid-attachments");
	_cleanup_free_ struct attach_key *keys = NULL;
	struct err err = ERR_INIT;
	size_t count;

	if (!list)
		list = json_find(op->request->conf, "cni.dev/attachments");
	/* absent is not empty: an empty list takes every pod's network away */
	if (!json_is_array(list))
		return cni_error_set(op->error, CNI_BAD_CONF,
			"GC needs the list \"cni.dev/valid-attachments\" in the "
			"network configuration");
	count = json_array_size(list);
	keys = calloc(count + 1, sizeof(*keys));
	if (!keys)
		return cni_error_set(op->error, CNI_INTERNAL, "out of memory");
	for (size_t i = 0; i < count; i++)
		if (gc_key(json_array_get(list, i), &keys[i]) < 0)
			return cni_error_set(op->error, CNI_BAD_CONF,
				"\"cni.dev/valid-attachments\": item %zu is no object "
				"with \"containerID\" and \"ifname\"",
				i);
	if (attach_gc(op->attacher, op->request->network, keys, count, &err) < 0)
		return cni_error_from_attach(op->error, &err);
	return 0;
}

static int run_status(const struct operation *op)
{
	const char *reason = not_ready(op);

	if (!reason)
		return 0;
	cni_error_set(op->error, CNI_NOT_READY, "the node's network is not ready");
	return cni_error_details(op->error, "%s", reason);
}

static int run_version(const struct operation *op)
{
	json_t *list = json_array();
	_cleanup_(json_cleanup) json_t *object =
		json_pack("{s:s, s:o}", "cniVersion", cni_version_name(CNI_1_1_0), "supportedVersions", list);

	for (enum cni_version version = 0; version < CNI_VERSION_COUNT; version++)
		json_array_append_new(list, json_string(cni_version_name(version)));
	return print(op, object);
}

int cni_operation_run(struct attacher *attacher, const struct cni_server_options *options,
	const struct cni_request *request, int64_t waited_ms, struct buf *out, struct cni_error *error)
{
	static int (*const run[CNI_COMMAND_COUNT])(const struct operation *) = {
		[CNI_ADD] = run_add,
		[CNI_DEL] = run_del,
		[CNI_CHECK] = run_check,
		[CNI_GC] = run_gc,
		[CNI_STATUS] = run_status,
		[CNI_VERSION] = run_version,
	};
	const struct operation op = {attacher, options, request, waited_ms, out, error};

	return run[request->command](&op);
}

void cni_operation_undo(struct attacher *attacher, const struct cni_request *request)
{
	struct attach_request undo = cni_request_attach(request);

	attach_del(attacher, &undo, NULL);
}
