/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the parts of the directory store of objects (docs/objects.md): directory.c (life cycle, requests),
 * directory_index.c (what the files hold, and who claims which name), directory_scan.c (reading and
 * inotify), directory_write.c (changes under the lock), directory_watch.c (who is told of what).
 *
 * The index is as new as the last look at the inotify descriptor. A rename under the lock is in everybody's queue before
 * the lock is free again, so whoever has it and looks knows all that other agents wrote. Nothing below the loop's own
 * callbacks changes the index while a caller's callback runs: requests only queue up.
 */
#pragma once

#include "base/hash.h"
#include "objects/manifest.h"
#include "objects/private.h"

#include <limits.h>

#define OBJECTS_DIR "objects"
#define VERSION_MAX 48
#define ENTRY_KEY_MAX 640
#define FULL_PATH_MAX (2 * PATH_MAX + 2) /* no such path is that long; none is cut */

struct directory_watch;
struct directory_call;
struct claim;

/* Of a path relative to the directory: "pool.yaml", "objects/ipamblocks/10-0-0-0-26.json". */
struct manifest_file {
	UT_hash_handle hh;
	uint64_t digest;   /* of what was last read; 0: it could not be read */
	size_t documents;
	struct claim *claims;
	size_t count;
	char *trouble;     /* why it does not count as it is now; null: it does */
	int64_t missing_ms; /* since then; 0: it is there */
	bool seen;         /* in the scan under way */
	char path[];
};

/* One object in one file. */
struct claim {
	struct claim *prev, *next; /* of the entry, in the files' order */
	struct entry *entry;
	struct manifest_file *file;
	json_t *object;
};

/* One kind and name; the first claim is the object, the others wait. */
struct entry {
	UT_hash_handle hh;
	struct entry *next_touched;
	enum kind kind;
	struct entry *prev_double, *next_double;
	struct claim *claims;
	json_t *shown; /* what the watches were told; null: nothing */
	bool touched, doubled;
	char key[];
};

struct watched_dir {
	int wd;       /* -1: none */
	char path[NAME_MAX + sizeof(OBJECTS_DIR) + 1]; /* relative; "" is the directory itself */
};

struct objects_directory {
	struct objects objects; /* first */
	char path[PATH_MAX];
	int inotify;
	struct event *readable;
	struct event *settle;    /* files that went away, full scans, stories */
	struct event *turn;      /* the next request, or a watch's beginning */
	struct watched_dir *dirs;
	size_t dir_count;
	bool ready;              /* a whole scan has succeeded */
	bool rescan;             /* everything is to be read again */
	unsigned outages;        /* in a row */
	char *trouble;           /* of the directory as a whole; null: none */

	struct manifest_file *files;
	struct entry *entries;
	struct entry *touched;
	struct entry *doubles;   /* entries with several claims */
	size_t troubled, missing; /* files */

	struct directory_watch *watches;
	unsigned delivering;     /* watches are kept until this is 0 */
	struct story *stories;

	struct directory_call *calls;
	struct directory_call *running; /* null, or the one whose callbacks run now */
	bool running_gone;              /* it was cancelled meanwhile */
	bool swept;                     /* of what killed agents left, once */
	unsigned lock_tries;
	int64_t locked_since_ms;
};

static inline struct objects_directory *directory_of(struct objects *objects)
{
	return (struct objects_directory *)objects;
}

/* -- directory.c -- */
void directory_soon(struct event *event, int64_t ms);
int64_t directory_now_ms(void); /* monotonic */

/* -- directory_index.c -- */
struct manifest_file *index_file_find(struct objects_directory *directory, const char *path);
struct manifest_file *index_file_get(struct objects_directory *directory, const char *path); /* made if missing; null: no memory */
/* The file holds this now; manifest is emptied. The objects' versions are set. */
void index_file_take(struct objects_directory *directory, struct manifest_file *file, struct manifest *manifest);
void index_file_forget(struct objects_directory *directory, struct manifest_file *file);
void index_file_trouble(struct objects_directory *directory, struct manifest_file *file, const char *text); /* "" ends it */
void index_file_missing(struct objects_directory *directory, struct manifest_file *file, int64_t since_ms); /* 0: it is there */
struct entry *index_entry_find(struct objects_directory *directory, enum kind kind, const char *namespace,
	const char *name);
struct entry *index_next_touched(struct objects_directory *directory);
/* Frees it if nothing is left of it. */
void index_entry_settle(struct objects_directory *directory, struct entry *entry);
json_t *index_entry_object(const struct entry *entry); /* borrowed; null: nobody claims it */
void index_done(struct objects_directory *directory);

/* -- directory_scan.c -- */
int scan_init(struct objects_directory *directory, struct err *err);
void scan_done(struct objects_directory *directory);
/* Reads what inotify has told so far. -errno: there is no index yet, and no way to one. */
int scan_drain(struct objects_directory *directory, struct err *err);
/* Reads one file again and tells what changed. */
void scan_file(struct objects_directory *directory, const char *path);

/* -- directory_write.c -- */
struct directory_write {
	enum objects_verb verb;
	enum kind kind;
	const char *namespace, *name;
	const json_t *object; /* annotate: the annotations */
};
/* -EWOULDBLOCK: somebody else holds the lock. Else as objects_answer.rc; ret: borrowed from the index. */
int write_perform(struct objects_directory *directory, const struct directory_write *write, json_t **ret,
	struct err *err);

/* -- directory_watch.c -- */
struct objects_watch *directory_watch_new(struct objects *objects, const struct objects_watch_options *options,
	const struct objects_events *events, void *ctx);
void directory_watch_free(struct objects_watch *watch);
void watch_begin_all(struct objects_directory *directory); /* those that have not begun */
void watch_tell_changes(struct objects_directory *directory);
void watch_tell_stories(struct objects_directory *directory);
void watch_done(struct objects_directory *directory);
