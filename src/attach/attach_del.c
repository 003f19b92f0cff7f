/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/attach_internal.h"

#include "attach/adopt.h"
#include "attach/attach_link.h"
#include "attach/takeover.h"
#include "base/cleanup.h"
#include "plane/shape.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>

#define TEARDOWN_IDLE_MS 100
#define TEARDOWN_LATEST_MS 1000

/* -- the interface goes -- */

void attach_teardown_soon(struct attacher *attacher)
{
	int64_t now = attach_now(), wait;
	struct timeval tv;

	if (!attacher->teardown_due)
		attacher->teardown_due = now + TEARDOWN_LATEST_MS;
	wait = attacher->teardown_due - now;
	wait = wait < 0 ? 0 : wait > TEARDOWN_IDLE_MS ? TEARDOWN_IDLE_MS : wait;
	tv = (struct timeval){.tv_sec = wait / 1000, .tv_usec = wait % 1000 * 1000};
	evtimer_add(attacher->teardown_timer, &tv);
}

static void forget(struct attacher *attacher, struct attach_pod *pod)
{
	struct err err = ERR_INIT;

	if (attach_write(attacher, RECORD_GONE, pod->serial, 0, &err) < 0)
		attach_report(attacher, "%s", err_text(&err));
	attach_pod_remove(attacher, pod);
	attach_pod_free(pod);
}

void attach_teardown(struct attacher *attacher)
{
	struct attach_pod *pod, *next;
	bool left = false, group_gone;

	attacher->teardown_due = 0;
	if (attacher->teardown_timer)
		evtimer_del(attacher->teardown_timer);
	if (!attacher->closing)
		return;
	group_gone = podlink_delete_closed(attacher->nl, NULL) == 0;
	if (attach_step(attacher, "torn-down", NULL) < 0)
		return;
	DL_FOREACH_SAFE(attacher->closing, pod, next)
	{
		struct err err = ERR_INIT;
		int rc = group_gone ? 0 : podlink_delete(attacher->nl, pod->host_ifname, &err);

		if (rc == 0 || rc == -ENODEV) {
			forget(attacher, pod);
			continue;
		}
		left = true;
		attach_report(
			attacher, "%s: cannot be deleted, tried again: %s", pod->host_ifname, err_text(&err));
	}
	attach_compact(attacher);
	if (left)
		evtimer_add(attacher->teardown_timer, &(struct timeval){.tv_sec = 1});
}

/* -- the pod is cut off -- */

int attach_close(struct attacher *attacher, struct attach_pod *pod, struct err *err)
{
	struct err story = ERR_INIT;
	int64_t now = attach_now();
	int rc, filed;

	/* first the journal: what is written is finished by the next start, whatever happens here */
	if (attach_write(attacher, RECORD_CLOSING, pod->serial, now, &story) < 0)
		attach_report(attacher, "%s", err_text(&story));
	rc = attach_step(attacher, "closing", err);
	if (rc == 0 && attacher->gate.gone)
		attacher->gate.gone(attacher->gate.ctx, pod->host_ifname);
	if (rc == 0)
		rc = podlink_close(attacher->nl, attacher->podprog, pod->host_ifname, pod->addr, err);
	if (rc < 0)
		return rc;
	attach_rest_addresses(attacher, pod, now);
	attach_pod_remove(attacher, pod);
	pod->closing_since = now;
	DL_APPEND(attacher->closing, pod);
	/* should this fail, the pod is closed all the same: the next try of this DEL goes by its state file
	 */
	filed = attach_files_remove(attacher, pod, err);
	if (rc == 0)
		forget(attacher, pod);
	else
		attach_teardown_soon(attacher);
	return filed < 0 ? filed : attach_step(attacher, "closed", err);
}

/* -- DEL -- */

static bool is_closing(const struct attacher *attacher, const char *host_ifname)
{
	const struct attach_pod *pod;

	DL_FOREACH(attacher->closing, pod)
	{
		if (strcmp(pod->host_ifname, host_ifname) == 0)
			return true;
	}
	return false;
}

/* An attachment that the journal does not know by its id: its record was lost, but the interface's name tells
 * it. */
static int del_by_name(struct attacher *attacher, const struct attach_request *request, struct err *err)
{
	char name[IFNAMSIZ];
	struct attach_pod *pod;
	int rc;

	attach_host_ifname(request->host_prefix, request->container_id, request->ifname, name);
	if (is_closing(attacher, name))
		return 0;
	pod = attach_pod_by_host_ifname(attacher, name);
	if (pod)
		return attach_close(attacher, pod, err);
	rc = podlink_delete(attacher->nl, name, err);
	return rc == -ENODEV ? 0 : rc;
}

/* A pod of Calico's that was adopted although nobody knew its container: its name tells. */
static int del_adopted(struct attacher *attacher, const struct attach_request *request, struct err *err)
{
	char name[IFNAMSIZ];
	struct attach_pod *pod;

	if (!request->pod_namespace || !request->pod_namespace[0] || !request->pod_name)
		return 0;
	attach_calico_ifname(request->pod_namespace, request->pod_name, name);
	pod = attach_pod_by_host_ifname(attacher, name);
	if (!pod || strncmp(pod->key, ATTACH_UNKNOWN, strlen(ATTACH_UNKNOWN)) != 0)
		return 0;
	return attach_close(attacher, pod, err);
}

static int del_foreign(struct attacher *attacher, const struct attach_request *request, struct err *err)
{
	struct takeover_request takeover = {
		.flannel_dir = attacher->options.flannel_dir,
		.host_local_dir = attacher->options.host_local_dir,
		.container_id = request->container_id,
		.ifname = request->ifname,
		.netns_fd = request->netns_fd,
		.own_netns = attacher->netns,
	};
	struct err note = ERR_INIT;
	int rc = del_by_name(attacher, request, err);

	if (rc == 0)
		rc = del_adopted(attacher, request, err);
	if (rc < 0)
		return rc;
	rc = takeover_del(&takeover, &note);
	if (rc > 0 && note.code)
		attach_report(attacher, "%s; interface and reservations of the container were removed",
			err_text(&note));
	return rc < 0 ? err_set(err, rc, "%s", err_text(&note)) : 0;
}

int attach_del(struct attacher *attacher, const struct attach_request *request, struct err *err)
{
	struct attach_pod *pod = attach_pod_find(attacher, request->container_id, request->ifname);
	int rc = pod ? attach_close(attacher, pod, err) : del_foreign(attacher, request, err);

	if (rc < 0)
		attacher->stats.failures++;
	else
		attacher->stats.dels++;
	attach_compact(attacher);
	attach_changed(attacher);
	return rc < 0 ? rc : 0;
}

/* -- GC -- */

int attach_key_compare(const void *a, const void *b)
{
	const struct attach_key *x = a, *y = b;
	int rc = strcmp(x->container_id, y->container_id);

	return rc ? rc : strcmp(x->ifname, y->ifname);
}

int attach_gc(struct attacher *attacher, const char *network, const struct attach_key *valid,
	size_t valid_count, struct err *err)
{
	_cleanup_free_ struct attach_key *sorted = calloc(valid_count + 1, sizeof(*sorted));
	struct attach_pod *pod, *next;
	int first = 0, rc;

	if (!sorted)
		return err_set(err, -ENOMEM, "no memory for %zu valid attachments", valid_count);
	if (valid_count)
		memcpy(sorted, valid, valid_count * sizeof(*sorted));
	qsort(sorted, valid_count, sizeof(*sorted), attach_key_compare);
	HASH_ITER(hh, attacher->pods, pod, next)
	{
		struct attachment *a = &attacher->scratch;
		struct err story = ERR_INIT;

		attach_pod_read(pod, a);
		if (strcmp(a->network, network) != 0)
			continue;
		if (bsearch(&(struct attach_key){a->container_id, a->ifname}, sorted, valid_count,
			    sizeof(*sorted), attach_key_compare))
			continue;
		if (attach_close(attacher, pod, &story) < 0 && first == 0) {
			first = story.code;
			err_set(err, first, "GC of container %s, interface %s: %s", a->container_id,
				a->ifname, err_text(&story));
		}
	}
	rc = attach_files_gc(attacher, network, sorted, valid_count, first ? NULL : err);
	attach_compact(attacher);
	attach_changed(attacher);
	return first ? first : rc;
}

/* -- CHECK -- */

static int check_pod(struct attacher *attacher, const struct attachment *a, int netns_fd, struct err *err)
{
	struct nl *nl = NULL;
	int rc = netns_enter(netns_fd, err);

	if (rc < 0)
		return rc;
	rc = nl_open(&nl, err);
	if (rc == 0)
		rc = podlink_check_pod(nl, a, err);
	if (rc == 0 && (a->bandwidth.ingress_rate || a->bandwidth.egress_rate))
		rc = shape_check(attacher->nl, a->host_ifname, nl, a->ifname, &a->bandwidth, err);
	nl_close(nl);
	netns_leave(attacher->netns);
	return rc;
}

/* Which namespace it was attached to, and what else is in there, only its maker knew (attach/adopt.h). */
static bool is_adopted(const struct attachment *a)
{
	return !a->netns_ino;
}

static int check_netns(struct attacher *attacher, const struct attach_request *request, const struct attachment *a,
	struct err *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int rc;

	if (is_adopted(a))
		return 0;
	fd = request->netns_fd >= 0 ? fcntl(request->netns_fd, F_DUPFD_CLOEXEC, 3)
				    : open(a->netns_path, O_RDONLY | O_CLOEXEC);
	rc = netns_check(fd, a->netns_path, err);
	if (rc < 0)
		return rc;
	if (fstat(fd, &st) < 0 || st.st_dev != a->netns_dev || st.st_ino != a->netns_ino)
		return err_set(err, -ENODEV,
			"container %s, interface %s: the namespace is not the one that it was attached to",
			request->container_id, request->ifname);
	return check_pod(attacher, a, fd, err);
}

int attach_check(struct attacher *attacher, const struct attach_request *request, struct attachment *ret,
	struct err *err)
{
	const struct attachment *a = attach_find(attacher, request->container_id, request->ifname);
	int rc;

	if (!a)
		return err_set(err, -ENOENT, "container %s, interface %s: no such attachment",
			request->container_id, request->ifname);
	rc = check_netns(attacher, request, a, err);
	if (rc == 0)
		rc = podlink_check_host(attacher->nl, a, err);
	if (rc == 0)
		*ret = *a;
	return rc;
}
