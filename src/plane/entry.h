/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes, neighbours and FDB entries as one kind of thing: a small value with a key, kept in a sorted table of what the
 * kernel is known to have. table.c compares it with what is wanted and hands the difference to the kind's own put and
 * del; the monitor keeps the table up to date with what others do.
 *
 * Life cycle: table_init (nothing known: the first diff scans); table_diff fills the batch; after the flush
 * table_settle makes the outcome the new knowledge; table_free.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"
#include "plan/wanted.h"
#include "plane/netlink.h"
#include "plane/plane.h"
#include "plane/record.h"

enum entry_state {
	ENTRY_PRESENT,
	ENTRY_LOST,    /* was present, and somebody removed it: putting it back counts as a repair */
	ENTRY_PUT,     /* on its way into the kernel */
	ENTRY_REPAIR,  /* the same, and it had been lost */
	ENTRY_RETRY,   /* refused, but there is another way (table_kind.hard) */
	ENTRY_SECOND,  /* on its way again */
	ENTRY_DELETE,  /* on its way out */
	ENTRY_FAILED,  /* not put, or found gone: to be dropped */
};

/* Kept once for every route, neighbour and FDB entry of every peer: small. */
struct entry {
	struct addr addr;  /* route: destination; neighbour: its address; FDB: the peer's outer address */
	struct addr via;   /* route */
	struct addr source; /* route: preferred source of this node's own packets */
	uint32_t index;    /* device; 0: none (blackhole) or several */
	uint32_t metric;   /* route */
	struct mac mac;    /* neighbour, FDB */
	uint8_t len;       /* route: length of the destination, in its family's terms */
	uint8_t protocol;  /* route */
	uint8_t type;      /* route: RTN_*; others: 1 permanent, 0 the kernel's own */
	bool onlink;       /* route */
	uint8_t state;     /* enum entry_state */
};

/* Where scans and conversions learn about devices. */
struct devices {
	struct plane_link *links; /* all, sorted by index */
	size_t count;
	uint32_t *own;            /* indices of the wanted links that exist */
	size_t own_count;
	uint8_t protocol;         /* of our routes beside ROUTE_PROTOCOL_TULLE; 0: no other */
	struct record record;     /* what else is ours, or was */
	size_t last;              /* place of the last one found by name: thousands of entries name the same device */
};
const struct plane_link *devices_find(struct devices *devices, const char *name);
struct plane_link *devices_find_index(const struct devices *devices, uint32_t index);
bool devices_is_own(const struct devices *devices, uint32_t index);

struct entry_list {
	struct entry *entries;
	size_t count, room;
};
int entry_list_add(struct entry_list *list, const struct entry *entry);

struct table_kind {
	const char *name;
	int (*compare)(const void *a, const void *b);                    /* by key */
	bool (*equal)(const struct entry *known, const struct entry *wanted); /* the rest */
	/* Must an entry of the same key that differs be deleted, or does putting the wanted one replace it? */
	bool (*survives)(const struct entry *known, const struct entry *wanted);
	struct nlmsghdr *(*put)(struct nl *nl, const struct entry *entry);
	struct nlmsghdr *(*del)(struct nl *nl, const struct entry *entry);
	/* May be null. Was error the kernel's answer to a stumbling block that a stepping stone gets over? */
	bool (*hard)(const struct entry *entry, int error);
	struct nlmsghdr *(*stepping_stone)(struct nl *nl, const struct entry *entry); /* to be sent before put */
	int (*scan)(struct nl *nl, const struct devices *devices, struct entry_list *ret, struct err *err);
	size_t (*wanted_count)(const struct wanted *wanted);
	/* From the plan; false when its device is missing or down and the entry must wait. */
	bool (*wanted)(const struct wanted *wanted, size_t i, struct devices *devices, struct entry *ret);
	void (*format)(const struct entry *entry, const struct devices *devices, struct buf *buf);
	bool one_per_key; /* the kernel cannot hold two that differ in the rest only */
};

extern const struct table_kind route_kind, neigh_kind, fdb_kind;

/* From a message of a dump or of the monitor: true when it is such an entry that we may meet at all (a route of the
 * main table, a neighbour or FDB entry of an own device). A neighbour or FDB entry that is not permanent has type 0. */
bool route_entry_parse(const struct nlmsghdr *msg, struct entry *ret);
bool neigh_entry_parse(const struct nlmsghdr *msg, const struct devices *devices, struct entry *ret);
bool fdb_entry_parse(const struct nlmsghdr *msg, const struct devices *devices, struct entry *ret);
/* Of our protocols, or on a device of ours and not the kernel's doing: what the plane may delete. */
bool route_is_own(const struct entry *entry, const struct devices *devices);
/* Dumps what put together in msg selects; families that the kernel does not have are empty. */
int entry_dump(struct nl *nl, struct nlmsghdr *msg, int (*each)(const struct nlmsghdr *, void *), void *arg,
	struct err *err);

struct table {
	const struct table_kind *kind;
	struct entry_list known; /* sorted */
	struct entry_list next;  /* while a batch is under way; cookies point into it */
	bool dirty;              /* what is known may be wrong: scan */
	size_t waiting;          /* wanted entries whose device was missing at the last diff */
};

void table_init(struct table *table, const struct table_kind *kind);
void table_free(struct table *table);
/* Scans if dirty, compares with what is wanted and puts what is missing into the batch, with its struct entry in next
 * as cookie: whoever flushes sets the states from the outcome (entry_done). */
int table_diff(struct table *table, struct nl *nl, const struct wanted *wanted, struct devices *devices,
	struct err *err);
/* Puts the deletions that table_diff found into the batch, and the second try of what was refused: after the additions
 * have been flushed. Messages without a cookie are on nobody's account. */
int table_deletions(struct table *table, struct nl *nl, struct err *err);
/* True if error means success, or that it is tried once more. */
bool entry_done(struct table *table, struct entry *entry, int error);
/* The outcome of the batch becomes what is known. */
void table_settle(struct table *table);

/* -- what others did -- */

/* True when it changes what is known. */
bool table_removed(struct table *table, const struct entry *entry);
bool table_has_key(const struct table *table, const struct entry *entry);
bool table_appeared(struct table *table, const struct entry *entry);
/* The device is gone, and everything on it. */
void table_forget_device(struct table *table, uint32_t index);
bool table_uses_device(const struct table *table, uint32_t index);
size_t table_present(const struct table *table);
