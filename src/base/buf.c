/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_DEFAULT_MAX ((size_t)16 << 20)

void *buf_reserve(struct buf *buf, size_t len)
{
	size_t max = buf->max ? buf->max : BUF_DEFAULT_MAX;
	size_t size;
	char *data;

	if (buf->error)
		return NULL;
	if (len > max || buf->len > max - len) {
		buf->error = -EMSGSIZE;
		return NULL;
	}
	if (buf->data && buf->len + len < buf->size)
		return buf->data + buf->len;
	size = buf->size ? buf->size : 64;
	while (size <= buf->len + len)
		size *= 2;
	data = realloc(buf->data, size);
	if (!data) {
		buf->error = -ENOMEM;
		return NULL;
	}
	buf->data = data;
	buf->size = size;
	return buf->data + buf->len;
}

int buf_add(struct buf *buf, const void *data, size_t len)
{
	char *to = buf_reserve(buf, len);

	if (!to)
		return buf->error;
	if (len)
		memcpy(to, data, len);
	buf->len += len;
	buf->data[buf->len] = 0;
	return 0;
}

int buf_add_str(struct buf *buf, const char *text)
{
	return buf_add(buf, text, strlen(text));
}

int buf_vprintf(struct buf *buf, const char *fmt, va_list ap)
{
	va_list again;
	char *to;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		return buf->error = -EINVAL;
	to = buf_reserve(buf, (size_t)n);
	if (!to)
		return buf->error;
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	buf->len += (size_t)n;
	return 0;
}

int buf_printf(struct buf *buf, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = buf_vprintf(buf, fmt, ap);
	va_end(ap);
	return rc;
}

void buf_consume(struct buf *buf, size_t len)
{
	if (len > buf->len)
		len = buf->len;
	if (!len)
		return;
	memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
	buf->data[buf->len] = 0;
}

void buf_reset(struct buf *buf)
{
	buf->len = 0;
	buf->error = 0;
	if (buf->data)
		buf->data[0] = 0;
}

const char *buf_text(const struct buf *buf)
{
	return buf->data && buf->len ? buf->data : "";
}

void buf_free(struct buf *buf)
{
	free(buf->data);
	*buf = BUF_INIT(buf->max);
}
