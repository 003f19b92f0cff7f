/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/attach_internal.h"

#include "attach/attach_link.h"
#include "base/cleanup.h"
#include "plane/plane.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

/* -- reading the journal -- */

static struct attach_pod *pod_by_serial(struct attacher *attacher, uint64_t serial)
{
	struct attach_pod *pod, *next;

	if (!attacher->pods)
		goto closing;
	/* the table keeps the order in which pods came, and most records concern the latest */
	pod = ELMT_FROM_HH(attacher->pods->hh.tbl, attacher->pods->hh.tbl->tail);
	if (pod->serial == serial)
		return pod;
	HASH_ITER(hh, attacher->pods, pod, next)
	{
		if (pod->serial == serial)
			return pod;
	}
closing:
	DL_FOREACH(attacher->closing, pod)
	{
		if (pod->serial == serial)
			return pod;
	}
	return NULL;
}

/* The later record of an address wins: that the earlier attachment ended is what a damaged journal has lost.
 */
static int hold_address(struct attacher *attacher, const struct addr *addr, uint64_t serial)
{
	struct attach_pod *loser;
	char text[ADDR_TEXT_MAX];
	uint64_t before;
	int rc;

	before = ipam_hold(attacher->ipam, addr, serial, &rc);
	loser = before ? pod_by_serial(attacher, before) : NULL;
	if (!loser)
		return rc;
	attach_report(attacher,
		"address %s: the journal gives it to %s and later to another; the later one has it",
		addr_format(addr, text), loser->key);
	loser->addr[family_index(addr_family(addr))] = (struct addr){{0}};
	return rc;
}

static void drop_pod(struct attacher *attacher, struct attach_pod *pod)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&pod->addr[f]))
			ipam_drop(attacher->ipam, &pod->addr[f], pod->serial);
	}
	attach_pod_remove(attacher, pod);
	attach_pod_free(pod);
}

/* An interface of this name was deleted before it was made again, even if the record of that is lost. */
static void forget_closed(struct attacher *attacher, const char *host_ifname)
{
	struct attach_pod *pod, *next;

	DL_FOREACH_SAFE(attacher->closing, pod, next)
	{
		if (strcmp(pod->host_ifname, host_ifname) == 0) {
			attach_pod_remove(attacher, pod);
			attach_pod_free(pod);
		}
	}
}

static int replay_begun(struct attacher *attacher, uint64_t serial, const struct attachment *attachment,
	const void *data, size_t len)
{
	struct attach_pod *pod = attach_pod_find(attacher, attachment->container_id, attachment->ifname);

	if (pod)
		drop_pod(attacher, pod);
	forget_closed(attacher, attachment->host_ifname);
	pod = attach_pod_new(serial, attachment, data, len);
	if (!pod)
		return -ENOMEM;
	attach_pod_add(attacher, pod);
	attacher->serial = serial > attacher->serial ? serial : attacher->serial;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&pod->addr[f]) && hold_address(attacher, &pod->addr[f], serial) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void replay_closing(struct attacher *attacher, struct attach_pod *pod, int64_t since)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&pod->addr[f]))
			ipam_rest(attacher->ipam, &pod->addr[f], pod->serial, since);
	}
	if (pod->closing_since)
		return;
	attach_pod_remove(attacher, pod);
	pod->closing_since = since ? since : 1;
	DL_APPEND(attacher->closing, pod);
}

int attach_replay(void *ctx, const void *data, size_t len, struct err *err)
{
	struct attacher *attacher = ctx;
	struct attach_record record;
	struct attach_pod *pod;
	int rc = attach_record_decode(data, len, &record, &attacher->scratch, err);

	if (rc < 0)
		return rc;
	if (record.type == RECORD_RESTING)
		return ipam_hold_resting(attacher->ipam, &record.addr, record.since);
	if (record.type == RECORD_BEGUN)
		return replay_begun(attacher, record.serial, &attacher->scratch, data, len);
	pod = pod_by_serial(attacher, record.serial);
	if (!pod)
		return 0; /* its beginning was damaged, which is told already */
	if (record.type == RECORD_ATTACHED) {
		pod->attached = true;
	} else if (record.type == RECORD_UNDONE) {
		drop_pod(attacher, pod);
	} else {
		replay_closing(attacher, pod, record.type == RECORD_CLOSING ? record.since : attach_now());
		if (record.type == RECORD_GONE) {
			attach_pod_remove(attacher, pod);
			attach_pod_free(pod);
		}
	}
	return 0;
}

/* -- interfaces whose record is lost -- */

struct lost {
	uint32_t index;
	struct attachment *attachment;
};

static int read_neigh(const struct nlmsghdr *msg, void *arg)
{
	const struct ndmsg *m = mnl_nlmsg_get_payload(msg);
	const struct lost *lost = arg;
	struct addr addr = {{0}};
	const struct nlattr *attr;

	if ((uint32_t)m->ndm_ifindex != lost->index || !(m->ndm_state & NUD_PERMANENT))
		return 0;
	mnl_attr_for_each(attr, msg, sizeof(*m))
	{
		size_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == NDA_DST && len == (m->ndm_family == AF_INET ? 4 : 16))
			addr = addr_from_bytes(m->ndm_family, mnl_attr_get_payload(attr));
		if (mnl_attr_get_type(attr) == NDA_LLADDR && len == 6)
			memcpy(lost->attachment->mac.b, mnl_attr_get_payload(attr), 6);
	}
	if (!addr_is_multicast(&addr) && !addr_is_link_local(&addr) && addr_is_set(&addr))
		lost->attachment->addr[family_index(addr_family(&addr))] = addr;
	return 0;
}

static int adopt(struct attacher *attacher, const struct plane_link *link, struct err *err)
{
	struct attachment *a = &attacher->scratch;
	struct lost lost = {.index = link->index, .attachment = a};
	struct attach_pod *pod = NULL;
	struct nlmsghdr *msg = nl_begin(attacher->nl, RTM_GETNEIGH, 0);
	int rc;

	memset(a, 0, sizeof(*a));
	a->serial = attacher->serial + 1;
	memcpy(a->host_ifname, link->name, IFNAMSIZ);
	snprintf(a->container_id, sizeof(a->container_id), ATTACH_UNKNOWN "%s", link->name);
	snprintf(a->ifname, sizeof(a->ifname), "unknown");
	a->host_mac = podlink_host_mac();
	a->mtu = link->mtu;
	nl_extra(msg, sizeof(struct ndmsg));
	mnl_attr_put_u32(msg, NDA_IFINDEX, link->index);
	rc = nl_dump(attacher->nl, msg, read_neigh, &lost, err);
	if (rc == 0)
		rc = attach_begin(attacher, a, ++attacher->serial, &pod, err);
	if (rc < 0)
		return rc;
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (addr_is_set(&pod->addr[f]))
			hold_address(attacher, &pod->addr[f], pod->serial);
	}
	attach_pod_add(attacher, pod);
	attach_report(attacher, "%s: no record of this attachment; it is kept until its DEL", link->name);
	pod->attached = true;
	return attach_write(attacher, RECORD_ATTACHED, pod->serial, 0, err);
}

/* tul and 11 hex digits, with the gateway's MAC address: made by attach_add. */
static bool is_ours(const struct plane_link *link)
{
	struct mac mac = podlink_host_mac();

	if (strncmp(link->name, "tul", 3) != 0 || strlen(link->name) != 14 || strcmp(link->kind, "veth") != 0)
		return false;
	return strspn(link->name + 3, "0123456789abcdef") == 11 && mac_equal(&link->mac, &mac);
}

static int adopt_lost(struct attacher *attacher, struct err *err)
{
	_cleanup_free_ struct plane_link *links = NULL;
	size_t count = 0;
	int rc = plane_list_links(&links, &count, err);

	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (is_ours(&links[i]) && !attach_pod_by_host_ifname(attacher, links[i].name))
			rc = adopt(attacher, &links[i], err);
	}
	return rc;
}

/* -- finishing and undoing -- */

static void finish_closing(struct attacher *attacher)
{
	struct attach_pod *pod, *next;

	DL_FOREACH_SAFE(attacher->closing, pod, next)
	{
		struct err err = ERR_INIT;

		/* one that is not in the group of closed ones would be forgotten though it stays */
		if (podlink_close(attacher->nl, attacher->podprog, pod->host_ifname, pod->addr, &err) < 0 &&
			podlink_delete(attacher->nl, pod->host_ifname, &err) < 0 && err.code != -ENODEV)
			attach_report(attacher, "%s: %s", pod->host_ifname, err_text(&err));
	}
	attach_teardown(attacher);
}

static int undo_begun(struct attacher *attacher, struct attach_pod *pod, struct err *err)
{
	struct attachment *a = &attacher->scratch;
	struct err story = ERR_INIT;
	int rc;

	attach_pod_read(pod, a);
	if (!a->netns_ino) { /* adopted (attach/adopt.h): it was there before its record */
		pod->attached = true;
		return attach_write(attacher, RECORD_ATTACHED, pod->serial, 0, err);
	}
	if (journal_damaged(attacher->journal) && podlink_check_host(attacher->nl, a, NULL) == 0) {
		attach_report(attacher,
			"%s: taken as attached, because it is complete and the journal is damaged", pod->key);
		pod->attached = true;
		return attach_write(attacher, RECORD_ATTACHED, pod->serial, 0, err);
	}
	rc = podlink_delete(attacher->nl, pod->host_ifname, err);
	if (rc < 0 && rc != -ENODEV)
		return err_wrap(err, "%s: an attachment that was begun cannot be undone", pod->host_ifname);
	if (attach_files_remove(attacher, pod, &story) < 0)
		attach_report(attacher, "%s: %s", pod->key, err_text(&story));
	rc = attach_write(attacher, RECORD_UNDONE, pod->serial, 0, err);
	drop_pod(attacher, pod);
	return rc;
}

/* Flannel's plugin was asked to undo it while we were away. */
static void forget_undone(struct attacher *attacher, struct attach_pod *pod)
{
	struct err err = ERR_INIT;

	attach_report(attacher, "%s: Flannel's plugin has undone it meanwhile; its address rests", pod->key);
	if (attach_close(attacher, pod, &err) < 0)
		attach_report(attacher, "%s", err_text(&err));
}

static void restore(struct attacher *attacher, struct attach_pod *pod)
{
	struct attachment *a = &attacher->scratch;
	struct err err = ERR_INIT;
	int rc;

	attach_pod_read(pod, a);
	rc = podlink_set_host(attacher->nl, a, &err);
	if (rc == -ENODEV && attach_files_undone(attacher, pod)) {
		forget_undone(attacher, pod);
		return;
	}
	attach_files_keep(attacher, pod);
	if (rc == -ENODEV)
		attach_report(attacher,
			"%s: its interface %s is gone without a DEL; its address stays taken until DEL or GC",
			pod->key, pod->host_ifname);
	else if (rc < 0 || podlink_prepare_host(a, &err) < 0)
		attach_report(attacher, "%s: %s", pod->key, err_text(&err));
}

int attach_recover(struct attacher *attacher, struct err *err)
{
	struct attach_pod *pod, *next;
	int rc = 0;

	finish_closing(attacher);
	HASH_ITER(hh, attacher->pods, pod, next)
	{
		if (pod->attached)
			restore(attacher, pod);
		else if (rc == 0)
			rc = undo_begun(attacher, pod, err);
	}
	if (rc == 0)
		rc = adopt_lost(attacher, err);
	if (rc == 0)
		attach_files_sweep(attacher);
	attach_compact(attacher);
	attach_changed(attacher);
	return rc;
}
