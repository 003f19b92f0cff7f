/* SPDX-License-Identifier: Apache-2.0 */
#include "objects/directory_private.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

/* -- files -- */

struct manifest_file *index_file_find(struct objects_directory *directory, const char *path)
{
	struct manifest_file *file;

	HASH_FIND(hh, directory->files, path, strlen(path), file);
	return file;
}

struct manifest_file *index_file_get(struct objects_directory *directory, const char *path)
{
	struct manifest_file *file = index_file_find(directory, path);
	size_t len = strlen(path);

	if (file)
		return file;
	file = calloc(1, sizeof(*file) + len + 1);
	if (!file)
		return NULL;
	memcpy(file->path, path, len + 1);
	HASH_ADD_KEYPTR(hh, directory->files, file->path, len, file);
	return file;
}

void index_file_trouble(struct objects_directory *directory, struct manifest_file *file, const char *text)
{
	directory->troubled -= file->trouble != NULL;
	free(file->trouble);
	file->trouble = *text ? strdup(text) : NULL;
	directory->troubled += file->trouble != NULL;
}

void index_file_missing(struct objects_directory *directory, struct manifest_file *file, int64_t since_ms)
{
	directory->missing -= file->missing_ms != 0;
	file->missing_ms = since_ms;
	directory->missing += file->missing_ms != 0;
}

/* What people put there comes before what Tulle wrote itself; else by name. */
static int claim_order(const struct claim *a, const struct claim *b)
{
	bool a_deep = strchr(a->file->path, '/'), b_deep = strchr(b->file->path, '/');

	return a_deep != b_deep ? a_deep - b_deep : strcmp(a->file->path, b->file->path);
}

/* -- entries -- */

static void entry_key(enum kind kind, const char *namespace, const char *name, char ret[static ENTRY_KEY_MAX])
{
	snprintf(ret, ENTRY_KEY_MAX, "%d/%s/%s", (int)kind, namespace, name);
}

struct entry *index_entry_find(struct objects_directory *directory, enum kind kind, const char *namespace,
	const char *name)
{
	char key[ENTRY_KEY_MAX];
	struct entry *entry;

	entry_key(kind, namespace, name, key);
	HASH_FIND(hh, directory->entries, key, strlen(key), entry);
	return entry;
}

static struct entry *entry_get(struct objects_directory *directory, const struct manifest_object *object)
{
	struct entry *entry = index_entry_find(directory, object->kind, object->namespace, object->name);
	char key[ENTRY_KEY_MAX];

	if (entry)
		return entry;
	entry_key(object->kind, object->namespace, object->name, key);
	entry = calloc(1, sizeof(*entry) + strlen(key) + 1);
	if (!entry)
		return NULL;
	strcpy(entry->key, key);
	entry->kind = object->kind;
	HASH_ADD_KEYPTR(hh, directory->entries, entry->key, strlen(key), entry);
	return entry;
}

static void touch(struct objects_directory *directory, struct entry *entry)
{
	if (entry->touched)
		return;
	entry->touched = true;
	LL_PREPEND2(directory->touched, entry, next_touched);
}

static void count_claims(struct objects_directory *directory, struct entry *entry)
{
	bool doubled = entry->claims && entry->claims->next;

	if (doubled == entry->doubled)
		return;
	entry->doubled = doubled;
	if (doubled)
		DL_APPEND2(directory->doubles, entry, prev_double, next_double);
	else
		DL_DELETE2(directory->doubles, entry, prev_double, next_double);
}

struct entry *index_next_touched(struct objects_directory *directory)
{
	struct entry *entry = directory->touched;

	if (entry) {
		LL_DELETE2(directory->touched, entry, next_touched);
		entry->touched = false;
	}
	return entry;
}

void index_entry_settle(struct objects_directory *directory, struct entry *entry)
{
	if (entry->claims || entry->shown || entry->touched)
		return;
	HASH_DEL(directory->entries, entry);
	free(entry);
}

json_t *index_entry_object(const struct entry *entry)
{
	return entry && entry->claims ? entry->claims->object : NULL;
}

/* -- what a file holds -- */

static void drop_claims(struct objects_directory *directory, struct manifest_file *file)
{
	for (size_t i = 0; i < file->count; i++) {
		struct claim *claim = &file->claims[i];

		DL_DELETE(claim->entry->claims, claim);
		count_claims(directory, claim->entry);
		touch(directory, claim->entry);
		json_decref(claim->object);
	}
	free(file->claims);
	file->claims = NULL;
	file->count = 0;
}

/* "17-0123456789abcdef": the count of our own writes that the file carries, and its content: a change by hand counts as
 * one, and so does our writing of what was there already. */
static void set_version(const struct manifest_file *file, json_t *object)
{
	const char *count = object_version(object);
	size_t digits = strspn(count, "0123456789");
	char version[VERSION_MAX];

	snprintf(version, sizeof(version), "%.*s-%016llx", digits && digits < 20 ? (int)digits : 1,
		digits && digits < 20 ? count : "0", (unsigned long long)file->digest);
	json_object_set_new(json_object_get(object, "metadata"), "resourceVersion", json_string(version));
}

static void add_claim(struct objects_directory *directory, struct manifest_file *file,
	struct manifest_object *object)
{
	struct claim *claim = &file->claims[file->count];
	struct entry *entry = entry_get(directory, object);

	if (!entry)
		return;
	*claim = (struct claim){.entry = entry, .file = file, .object = object->object};
	object->object = NULL;
	set_version(file, claim->object);
	DL_INSERT_INORDER(entry->claims, claim, claim_order);
	count_claims(directory, entry);
	file->count++;
	touch(directory, entry);
}

void index_file_take(struct objects_directory *directory, struct manifest_file *file, struct manifest *manifest)
{
	drop_claims(directory, file);
	file->documents = manifest->documents;
	file->claims = calloc(manifest->count ? manifest->count : 1, sizeof(*file->claims));
	for (size_t i = 0; file->claims && i < manifest->count; i++)
		add_claim(directory, file, &manifest->objects[i]);
	manifest_free(manifest);
}

void index_file_forget(struct objects_directory *directory, struct manifest_file *file)
{
	drop_claims(directory, file);
	index_file_trouble(directory, file, "");
	index_file_missing(directory, file, 0);
	HASH_DEL(directory->files, file);
	free(file);
}

void index_done(struct objects_directory *directory)
{
	struct manifest_file *file, *next_file;
	struct entry *entry, *next;

	HASH_ITER(hh, directory->files, file, next_file)
		index_file_forget(directory, file);
	HASH_ITER(hh, directory->entries, entry, next) {
		HASH_DEL(directory->entries, entry);
		json_decref(entry->shown);
		free(entry);
	}
}
