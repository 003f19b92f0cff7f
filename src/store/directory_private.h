/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the parts of the directory transport; see directory.h.
 */
#pragma once

#include "base/buf.h"
#include "store/directory.h"

#include <event2/event.h>
#include <limits.h>
#include <sys/types.h>

#define LEASES_DIR "leases"
#define LEASE_FILE_MAX 65536

enum directory_write { WRITE_NONE, WRITE_CREATE, WRITE_REPLACE, WRITE_REMOVE };

struct directory {
	struct kv kv; /* first */
	struct event_base *base;
	char path[PATH_MAX];
	char leases[PATH_MAX];
	char net_conf[NAME_MAX + 1]; /* the file that may hold the configuration in itself */
	bool manifests; /* others may hold it, too */
	bool watching; /* leases are wanted, too */

	int inotify;
	int wd_config, wd_leases; /* -1: not watched */
	struct event *readable;
	struct event *rescan; /* make and watch what is missing, then read everything that is marked */
	bool config_changed, leases_changed;
	unsigned outages; /* in a row, for the back-off */

	char *config_said; /* what was last delivered, to tell real changes */
	char *cni_said;
	bool had_config;
	char **troubled;   /* files of the configuration with a problem told */
	size_t troubled_count;
	struct other_file *others; /* manifests without a part of it, not to be read again until they change */

	/* The write under way. */
	enum directory_write write;
	char key[NAME_MAX + 1 - sizeof(".json")];
	struct buf value;
	uint64_t revision;
	kv_done done;
	int64_t locked_since_ms; /* somebody else has held the lock since then; 0: not waiting */
	struct event *attempt; /* try the write */
	struct event *expire;  /* the earliest end of a lease that we know */
	int64_t next_expiry;   /* 0 = none */
};

void directory_problem(struct directory *dir, const char *key, const char *text);

/* -- directory_config.c -- */
void directory_config_scan(struct directory *dir);
void directory_config_done(struct directory *dir);

/* -- directory_lease.c -- */
int directory_lease_init(struct directory *dir);
/* Reads one file of leases/ by its name and delivers it: put, gone or a problem. */
void directory_lease_read(struct directory *dir, const char *name);
int directory_lease_scan(struct directory *dir, struct err *err);
void directory_create(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, kv_done done);
void directory_replace(struct kv *kv, const char *key, const char *value, size_t len, int64_t ttl, uint64_t revision,
	kv_done done);
void directory_remove(struct kv *kv, const char *key, uint64_t revision, kv_done done);
void directory_lease_done(struct directory *dir);
