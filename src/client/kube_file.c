/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_file.h"

#include "base/file.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FILE_MAX ((size_t)1 << 20)
#define READ_AGAIN_MS 60000

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + 1;
}

void kube_secret_free(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void kube_file_done(struct kube_file *file)
{
	kube_secret_free(&file->text);
	free(file->path);
	*file = (struct kube_file){0};
}

bool kube_token_valid(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || *text == 0x7f)
			return false;
	return true;
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
		a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int check(const struct kube_file *file, struct buf *buf, bool token, struct err *err)
{
	while (token && buf->len && isspace((unsigned char)buf->data[buf->len - 1]))
		buf->data[--buf->len] = 0;
	while (token && buf->len && isspace((unsigned char)buf->data[0]))
		buf_consume(buf, 1);
	if (!buf->len)
		return err_set(err, -EINVAL, "%s: is empty, expected a %s", file->path, token ? "token" : "PEM text");
	if (strlen(buf->data) != buf->len || (token && !kube_token_valid(buf->data)))
		return err_set(err, -EINVAL, "%s: has white space or control characters inside, expected %s", file->path,
			token ? "one token" : "PEM text");
	return 0;
}

int kube_file_refresh(struct kube_file *file, bool token, struct err *err)
{
	struct buf buf = BUF_INIT(FILE_MAX);
	int64_t now = now_ms();
	struct stat seen;
	int rc;

	if (!file->path)
		return 0;
	if (stat(file->path, &seen) < 0)
		return err_set(err, -errno, "%s: cannot be read: %s", file->path, strerror(errno));
	if (file->read_ms && same(&seen, &file->seen) && now - file->read_ms < READ_AGAIN_MS)
		return 0;
	rc = file_read(file->path, &buf, err);
	if (rc == 0)
		rc = check(file, &buf, token, err);
	if (rc < 0) {
		kube_secret_free(&buf.data);
		return rc;
	}
	kube_secret_free(&file->text);
	file->text = buf.data;
	file->len = buf.len;
	file->seen = seen;
	file->read_ms = now;
	return 0;
}
