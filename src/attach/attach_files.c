/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/attach_internal.h"

#include "attach/flannel_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct flannel_dirs dirs_of(const struct attacher *attacher)
{
	return (struct flannel_dirs){
		.flannel = attacher->options.flannel_dir, .host_local = attacher->options.host_local_dir};
}

int attach_files_write(struct attacher *attacher, const struct attachment *attachment,
	const struct attach_request *request, struct err *err)
{
	struct flannel_dirs dirs = dirs_of(attacher);
	struct flannel_delegate delegate = {.conf = request->flannel_conf,
		.network = attachment->network,
		.ifname = attachment->ifname,
		.ip_masq = request->ip_masq,
		.mtu = attacher->mtu};

	if (!attachment->flannel)
		return 0;
	memcpy(delegate.cluster, attacher->cluster, sizeof(delegate.cluster));
	memcpy(delegate.subnet, attacher->own, sizeof(delegate.subnet));
	memcpy(delegate.addr, attachment->addr, sizeof(delegate.addr));
	return flannel_files_write(&dirs, attachment->container_id, &delegate, err);
}

/* a: what the names in ret are borrowed from. */
static struct flannel_pod read_pod(const struct attach_pod *pod, struct attachment *a)
{
	struct flannel_pod ret;

	attach_pod_read(pod, a);
	ret = (struct flannel_pod){
		.network = a->network, .container_id = a->container_id, .ifname = a->ifname};
	memcpy(ret.addr, a->addr, sizeof(ret.addr));
	return ret;
}

int attach_files_remove(struct attacher *attacher, const struct attach_pod *pod, struct err *err)
{
	struct flannel_dirs dirs = dirs_of(attacher);
	struct flannel_pod files;
	struct attachment a;

	if (!pod->flannel)
		return 0;
	files = read_pod(pod, &a);
	return flannel_files_remove(&dirs, &files, err);
}

bool attach_files_undone(struct attacher *attacher, const struct attach_pod *pod)
{
	struct flannel_dirs dirs = dirs_of(attacher);
	struct flannel_pod files;
	struct attachment a;

	if (!pod->flannel)
		return false;
	files = read_pod(pod, &a);
	return flannel_files_undone(&dirs, &files);
}

void attach_files_keep(struct attacher *attacher, const struct attach_pod *pod)
{
	struct host_local owner = {.dir = attacher->options.host_local_dir};
	struct err err = ERR_INIT;
	struct attachment a;

	if (!pod->flannel)
		return;
	attach_pod_read(pod, &a);
	owner.network = a.network;
	owner.container_id = a.container_id;
	owner.ifname = a.ifname;
	if (host_local_reserve(&owner, pod->addr, &err) < 0)
		attach_report(attacher, "%s: Flannel's plugin may give its address again: %s", pod->key,
			err_text(&err));
}

/* Also one whose journal record is lost, so that only the interface tells. */
static bool is_attached(const struct attacher *attacher, const char *container_id, const char *ifname)
{
	char name[IFNAMSIZ];

	if (attach_pod_find(attacher, container_id, ifname))
		return true;
	attach_host_ifname("tul", container_id, ifname, name);
	return attach_pod_by_host_ifname(attacher, name) != NULL;
}

static bool keep_attached(void *ctx, const char *container_id, const struct flannel_state *state)
{
	return !state->ours || is_attached(ctx, container_id, state->ifname);
}

void attach_files_sweep(struct attacher *attacher)
{
	struct flannel_dirs dirs = dirs_of(attacher);
	struct err err = ERR_INIT;

	flannel_files_clear_torn(&dirs);
	if (flannel_files_clean(&dirs, keep_attached, attacher, &err) < 0)
		attach_report(attacher, "files of attachments that are gone: %s", err_text(&err));
}

/* -- GC -- */

struct gc {
	struct attacher *attacher;
	const char *network;
	const struct attach_key *valid;
	size_t count;
};

static int compare_id(const void *a, const void *b)
{
	return strcmp(
		((const struct attach_key *)a)->container_id, ((const struct attach_key *)b)->container_id);
}

/* Flannel's files do not tell the interface: whatever of the container is valid keeps them. */
static bool keep_valid(void *ctx, const char *container_id, const struct flannel_state *state)
{
	const struct gc *gc = ctx;
	struct attach_key key = {.container_id = container_id, .ifname = state->ifname};

	if (strcmp(state->network, gc->network) != 0)
		return true;
	if (state->ours && is_attached(gc->attacher, container_id, state->ifname))
		return true;
	return bsearch(
		&key, gc->valid, gc->count, sizeof(key), state->ours ? attach_key_compare : compare_id);
}

int attach_files_gc(struct attacher *attacher, const char *network, const struct attach_key *valid,
	size_t valid_count, struct err *err)
{
	struct flannel_dirs dirs = dirs_of(attacher);
	struct gc gc = {.attacher = attacher, .network = network, .valid = valid, .count = valid_count};
	int rc = flannel_files_clean(&dirs, keep_valid, &gc, err);

	return rc < 0 ? err_wrap(err, "GC of what Flannel's plugin attached") : 0;
}
