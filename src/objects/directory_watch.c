/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/directory_private.h"

#include "base/cleanup.h"
#include "objects/directory_file.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define STORIES_MAX 1000
#define LOCK_PATIENCE_MS 5000 /* then it is told that somebody sits on the lock */

struct directory_watch {
	struct objects_watch common; /* first */
	struct directory_watch *prev, *next;
	bool begun, dead;
};

/* A trouble with the files, told to the oldest watch that it concerns: one is enough. */
struct story {
	UT_hash_handle hh;
	struct directory_watch *told; /* null: nobody yet */
	char *text;
	bool seen;
	char key[];
};

static bool wants(const struct directory_watch *watch, enum kind kind, const json_t *object)
{
	return object && watch->common.kind == kind && objects_field_match(watch->common.fields, object) &&
		objects_label_match(watch->common.labels, object);
}

static void sweep(struct objects_directory *directory)
{
	struct directory_watch *watch, *next;

	if (directory->delivering)
		return;
	DL_FOREACH_SAFE(directory->watches, watch, next) {
		if (!watch->dead)
			continue;
		DL_DELETE(directory->watches, watch);
		objects_watch_done(&watch->common);
		free(watch);
	}
}

static void deliver_begin(struct objects_directory *directory)
{
	directory->delivering++;
}

static void deliver_end(struct objects_directory *directory)
{
	directory->delivering--;
	sweep(directory);
}

/* -- objects -- */

static void begin_one(struct objects_directory *directory, struct directory_watch *watch)
{
	watch->begun = true;
	watch->common.events->begin(watch->common.ctx, false);
	for (struct entry *entry = directory->entries; entry && !watch->dead; entry = entry->hh.next)
		if (wants(watch, entry->kind, entry->shown))
			watch->common.events->put(watch->common.ctx, entry->shown);
	if (!watch->dead)
		watch->common.events->end(watch->common.ctx);
}

void watch_begin_all(struct objects_directory *directory)
{
	struct directory_watch *watch;

	if (!directory->ready)
		return;
	deliver_begin(directory);
	DL_FOREACH(directory->watches, watch)
		if (!watch->begun && !watch->dead)
			begin_one(directory, watch);
	deliver_end(directory);
}

static void tell(struct objects_directory *directory, enum kind kind, const json_t *old, const json_t *now)
{
	struct directory_watch *watch;

	DL_FOREACH(directory->watches, watch) {
		if (!watch->begun || watch->dead)
			continue;
		if (wants(watch, kind, now))
			watch->common.events->put(watch->common.ctx, now);
		else if (wants(watch, kind, old))
			watch->common.events->gone(watch->common.ctx, old);
	}
}

void watch_tell_changes(struct objects_directory *directory)
{
	struct entry *entry;

	deliver_begin(directory);
	while ((entry = index_next_touched(directory))) {
		json_t *old = entry->shown, *now = json_incref(index_entry_object(entry));

		entry->shown = now;
		if (old != now && (!old || !now || !json_equal(old, now)))
			tell(directory, entry->kind, old, now);
		json_decref(old);
		index_entry_settle(directory, entry);
	}
	deliver_end(directory);
}

/* -- stories -- */

static struct directory_watch *concerned(struct objects_directory *directory, enum kind kind)
{
	struct directory_watch *watch;

	DL_FOREACH(directory->watches, watch)
		if (!watch->dead && (kind == KIND_COUNT || watch->common.kind == kind))
			return watch;
	return NULL;
}

static struct story *story_get(struct objects_directory *directory, const char *key)
{
	size_t len = strlen(key);
	struct story *story;

	HASH_FIND(hh, directory->stories, key, len, story);
	if (story || HASH_COUNT(directory->stories) >= STORIES_MAX)
		return story;
	story = calloc(1, sizeof(*story) + len + 1);
	if (!story)
		return NULL;
	memcpy(story->key, key, len + 1);
	HASH_ADD_KEYPTR(hh, directory->stories, story->key, len, story);
	return story;
}

static void tell_story(struct objects_directory *directory, enum kind kind, const char *key, const char *text)
{
	struct directory_watch *watch = concerned(directory, kind);
	struct story *story = story_get(directory, key);
	bool news;

	if (!story)
		return;
	story->seen = true;
	news = !story->text || strcmp(story->text, text) != 0;
	if (news) {
		free(story->text);
		story->text = strdup(text);
	}
	if (watch && (news || story->told != watch)) {
		story->told = watch;
		watch->common.events->problem(watch->common.ctx, story->key, text);
	}
}

static void tell_doubles(struct objects_directory *directory, const struct entry *entry)
{
	const struct claim *first = entry->claims;
	const json_t *object = first->object;
	char title[OBJECT_TITLE_MAX], text[OBJECT_TITLE_MAX + 700];

	objects_title(entry->kind, object_namespace(object), object_name(object), title);
	snprintf(text, sizeof(text),
		"%s is in %.300s and in %.300s: expected one file for it, the first one counts", title,
		first->file->path, first->next->file->path);
	tell_story(directory, entry->kind, title, text);
}

static void tell_lock(struct objects_directory *directory)
{
	char text[PATH_MAX + 128];

	if (!directory->locked_since_ms || directory_now_ms() - directory->locked_since_ms < LOCK_PATIENCE_MS)
		return;
	snprintf(text, sizeof(text),
		"%s/" OBJECTS_DIR "/" DIRECTORY_LOCK ": another process has held the lock for more than "
		"%d seconds", directory->path, LOCK_PATIENCE_MS / 1000);
	tell_story(directory, KIND_COUNT, OBJECTS_DIR "/" DIRECTORY_LOCK, text);
}

static void end_old_stories(struct objects_directory *directory)
{
	struct story *story, *next;

	HASH_ITER(hh, directory->stories, story, next) {
		bool over = !story->seen;

		story->seen = false;
		if (!over)
			continue;
		if (story->told)
			story->told->common.events->problem(story->told->common.ctx, story->key, "");
		HASH_DEL(directory->stories, story);
		free(story->text);
		free(story);
	}
}

void watch_tell_stories(struct objects_directory *directory)
{
	deliver_begin(directory);
	if (directory->trouble)
		tell_story(directory, KIND_COUNT, "", directory->trouble);
	/* Of very many files and objects few have one, and this is called often. */
	for (struct manifest_file *file = directory->troubled ? directory->files : NULL; file; file = file->hh.next)
		if (file->trouble)
			tell_story(directory, KIND_COUNT, file->path, file->trouble);
	for (struct entry *entry = directory->doubles; entry; entry = entry->next_double)
		tell_doubles(directory, entry);
	tell_lock(directory);
	end_old_stories(directory);
	deliver_end(directory);
}

/* -- life cycle -- */

struct objects_watch *directory_watch_new(struct objects *objects, const struct objects_watch_options *options,
	const struct objects_events *events, void *ctx)
{
	struct objects_directory *directory = directory_of(objects);
	struct directory_watch *watch = calloc(1, sizeof(*watch));

	assert(objects_field_check(options->field_selector, NULL) == 0);
	assert(objects_label_check(options->label_selector, NULL) == 0);
	if (!watch)
		return NULL;
	if (!objects_watch_init(&watch->common, objects, options, events, ctx)) {
		objects_watch_done(&watch->common);
		free(watch);
		return NULL;
	}
	DL_APPEND(directory->watches, watch);
	directory_soon(directory->turn, 0);
	directory_soon(directory->settle, 0); /* stories that nobody was there to hear */
	return &watch->common;
}

void directory_watch_free(struct objects_watch *watch)
{
	struct directory_watch *mine = (struct directory_watch *)watch;
	struct objects_directory *directory = directory_of(watch->objects);

	mine->dead = true;
	for (struct story *story = directory->stories; story; story = story->hh.next)
		if (story->told == mine)
			story->told = NULL;
	sweep(directory);
	directory_soon(directory->settle, 0);
}

void watch_done(struct objects_directory *directory)
{
	struct directory_watch *watch;
	struct story *story, *next;

	DL_FOREACH(directory->watches, watch)
		watch->dead = true;
	sweep(directory);
	HASH_ITER(hh, directory->stories, story, next) {
		HASH_DEL(directory->stories, story);
		free(story->text);
		free(story);
	}
}
