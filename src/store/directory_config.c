/* SPDX-License-Identifier: Apache-2.0 */
#include "store/directory_private.h"

#include "base/cleanup.h"
#include "base/hash.h"
#include "flannel/flannel.h"
#include "objects/directory_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define NET_CONF "net-conf.json"
#define CNI_CONF "cni-conf.json"
#define FILES_MAX 10000

/* One of the two texts, as found so far. */
struct found {
	char *text;
	char *where; /* the file that holds it */
	bool contradiction;
};

struct scan {
	struct directory *dir;
	struct found net, cni;
	char **troubled; /* files that are told to be bad in this scan */
	size_t troubled_count;
	bool broken; /* the configuration may be in a file that cannot be read: keep the last one */
};

static void trouble(struct scan *scan, const char *name, const char *text)
{
	char **more = realloc(scan->troubled, (scan->troubled_count + 1) * sizeof(*more));

	directory_problem(scan->dir, name, text);
	if (!more)
		return;
	scan->troubled = more;
	more[scan->troubled_count] = strdup(name);
	if (more[scan->troubled_count])
		scan->troubled_count++;
}

/* Takes the text over. */
static void offer(struct scan *scan, struct found *found, char *text, const char *name, const char *key)
{
	char story[768];

	if (!text)
		return;
	if (!found->text) {
		found->text = text;
		found->where = strdup(name);
		return;
	}
	if (strcmp(found->text, text) != 0) {
		snprintf(story, sizeof(story), "%s and %s hold different texts of %s: expected one, nothing changes "
			"until one of them goes", found->where ? found->where : "?", name, key);
		trouble(scan, name, story);
		found->contradiction = true;
	}
	free(text);
}

/* -- other manifests lie here, too: they are not ours to judge, nor to read whenever one of them changes -- */

struct other_file {
	UT_hash_handle hh;
	struct stat st;
	bool seen; /* in the scan under way */
	char name[];
};

static struct other_file *find_other(const struct directory *dir, const char *name)
{
	struct other_file *other;

	HASH_FIND_STR(dir->others, name, other);
	return other;
}

static bool is_same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_known(struct directory *dir, const char *name, const struct stat *st)
{
	struct other_file *other = find_other(dir, name);

	if (!other || other->st.st_ino != st->st_ino || other->st.st_dev != st->st_dev || other->st.st_size != st->st_size ||
		!is_same(&other->st.st_mtim, &st->st_mtim) || !is_same(&other->st.st_ctim, &st->st_ctim))
		return false;
	other->seen = true;
	return true;
}

/* st is older than what was read. Of a file that has only just changed the next change may show the same times. */
static void remember(struct directory *dir, const char *name, const struct stat *st)
{
	struct other_file *other = find_other(dir, name);
	time_t age = time(NULL) - st->st_ctim.tv_sec;
	size_t len = strlen(name);

	if (age < 2)
		return;
	if (!other) {
		other = calloc(1, sizeof(*other) + len + 1);
		if (!other)
			return;
		memcpy(other->name, name, len + 1);
		HASH_ADD_KEYPTR(hh, dir->others, other->name, len, other);
	}
	other->st = *st;
	other->seen = true;
}

static void forget_unseen(struct directory *dir)
{
	struct other_file *other, *next;

	HASH_ITER(hh, dir->others, other, next) {
		bool gone = !other->seen;

		other->seen = false;
		if (!gone)
			continue;
		HASH_DEL(dir->others, other);
		free(other);
	}
}

/* 1: it may hold a part of the configuration, and is in buf. */
static int read_candidate(struct directory *dir, const char *name, struct buf *buf, struct err *err)
{
	char path[PATH_MAX + NAME_MAX + 2];
	struct stat st;
	int rc;

	snprintf(path, sizeof(path), "%s/%s", dir->path, name);
	if (stat(path, &st) < 0)
		st = (struct stat){0};
	else if (is_known(dir, name, &st))
		return 0;
	rc = directory_file_read(dir->path, name, true, buf, err);
	if (rc < 0 || strstr(buf_text(buf), "ConfigMap"))
		return rc < 0 ? rc : 1;
	if (st.st_ino)
		remember(dir, name, &st);
	return 0;
}

/* -- files -- */

static void read_manifest(struct scan *scan, const char *name)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(DIRECTORY_FILE_MAX);
	struct err err = ERR_INIT;
	char *net = NULL, *cni = NULL;
	int rc = read_candidate(scan->dir, name, &buf, &err);

	if (rc == -ENOENT || rc == 0)
		return;
	if (rc > 0)
		rc = 0;
	if (rc == 0)
		rc = flannel_manifest_parse(buf_text(&buf), buf.len, name, &net, &cni, &err);
	if (rc < 0 && rc != -ENOENT)
		trouble(scan, name, err_text(&err));
	if (rc < 0)
		return;
	offer(scan, &scan->net, net, name, NET_CONF);
	offer(scan, &scan->cni, cni, name, CNI_CONF);
}

/* The file of this very name wins over every manifest. */
static void read_plain(struct scan *scan, struct found *found, const char *name)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(DIRECTORY_FILE_MAX);
	struct err err = ERR_INIT;
	int rc = directory_file_read(scan->dir->path, name, true, &buf, &err);

	if (rc == -ENOENT)
		return;
	if (rc < 0) {
		trouble(scan, name, err_text(&err));
		scan->broken = true;
		return;
	}
	free(found->text);
	free(found->where);
	*found = (struct found){strdup(buf_text(&buf)), strdup(name), false};
}

static int is_manifest(const struct dirent *entry)
{
	const char *name = entry->d_name;

	if (*name == '.' || strcmp(name, NET_CONF) == 0 || strcmp(name, CNI_CONF) == 0)
		return 0;
	return directory_file_ends(name, ".yaml") || directory_file_ends(name, ".yml") ||
		directory_file_ends(name, ".json");
}

static void read_all(struct scan *scan)
{
	struct dirent **names = NULL;
	int n = scan->dir->manifests ? scandir(scan->dir->path, &names, is_manifest, alphasort) : 0;

	for (int i = 0; i < n; i++) {
		if (i < FILES_MAX)
			read_manifest(scan, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	forget_unseen(scan->dir);
	read_plain(scan, &scan->net, scan->dir->net_conf);
	read_plain(scan, &scan->cni, CNI_CONF);
}

/* Stories of files that are good again or gone end. */
static void end_stories(struct scan *scan)
{
	struct directory *dir = scan->dir;

	for (size_t i = 0; i < dir->troubled_count; i++) {
		bool still = false;

		for (size_t j = 0; j < scan->troubled_count && !still; j++)
			still = strcmp(dir->troubled[i], scan->troubled[j]) == 0;
		if (!still)
			directory_problem(dir, dir->troubled[i], "");
		free(dir->troubled[i]);
	}
	free(dir->troubled);
	dir->troubled = scan->troubled;
	dir->troubled_count = scan->troubled_count;
}

static bool said_before(char **said, const struct found *found)
{
	char *now = NULL;

	if (asprintf(&now, "%s\n%s", found->where ? found->where : "", found->text) < 0)
		return false;
	if (*said && strcmp(*said, now) == 0) {
		free(now);
		return true;
	}
	free(*said);
	*said = now;
	return false;
}

static void tell_absence(struct scan *scan)
{
	struct directory *dir = scan->dir;

	char story[PATH_MAX + NAME_MAX + 256];

	snprintf(story, sizeof(story), "%s: expected %s/%s%s%s",
		dir->had_config ? "the network configuration is gone" : "there is no network configuration", dir->path,
		dir->net_conf, dir->manifests ? " or a ConfigMap that holds it" : "",
		dir->had_config ? "; the last one stays in force" : "");
	dir->kv.events->config(dir->kv.ctx, NULL, 0, dir->net_conf);
	trouble(scan, dir->net_conf, story);
	free(dir->config_said);
	dir->config_said = NULL;
}

static void deliver(struct scan *scan)
{
	struct directory *dir = scan->dir;
	const struct kv_events *events = dir->kv.events;

	if (scan->cni.text && !scan->cni.contradiction && !said_before(&dir->cni_said, &scan->cni))
		events->cni_conf(dir->kv.ctx, scan->cni.text);
	if (scan->broken || !scan->net.text || !scan->net.where || scan->net.contradiction)
		return;
	dir->had_config = true;
	if (!said_before(&dir->config_said, &scan->net))
		events->config(dir->kv.ctx, scan->net.text, strlen(scan->net.text), scan->net.where);
}

void directory_config_scan(struct directory *dir)
{
	struct scan scan = {.dir = dir};

	read_all(&scan);
	if (!scan.broken && !scan.net.text)
		tell_absence(&scan);
	end_stories(&scan);
	deliver(&scan);
	free(scan.net.text);
	free(scan.net.where);
	free(scan.cni.text);
	free(scan.cni.where);
}

void directory_config_done(struct directory *dir)
{
	for (size_t i = 0; i < dir->troubled_count; i++)
		free(dir->troubled[i]);
	free(dir->troubled);
	forget_unseen(dir);
	free(dir->config_said);
	free(dir->cni_said);
}
