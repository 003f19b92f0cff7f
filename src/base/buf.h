/* SPDX-License-Identifier: Apache-2.0
 *
 * A growing byte buffer with a maximum. Everything from outside is read into one; text towards outside is
 * built in one. After the first failure (-ENOMEM, -EMSGSIZE) the buffer is stuck: later appends do nothing
 * and return the same error, so a builder checks once at the end. The bytes are always followed by a 0.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

struct buf {
	char *data;  /* null while empty */
	size_t len;  /* bytes in use, without the closing 0 */
	size_t size; /* bytes allocated */
	size_t max;  /* largest len allowed; 0 means 16 MiB */
	int error;   /* first failure, negative errno */
};

#define BUF_INIT(maximum) ((struct buf){.max = (maximum)})

int buf_add(struct buf *buf, const void *data, size_t len);
int buf_add_str(struct buf *buf, const char *text);
int buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *buf, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Makes room for at least len more bytes and returns where they go (then add to buf->len yourself);
 * null on failure. */
void *buf_reserve(struct buf *buf, size_t len);

/* Removes len bytes (at most all) from the front. */
void buf_consume(struct buf *buf, size_t len);

/* Forgets the content and the error, keeps the memory. */
void buf_reset(struct buf *buf);

/* Text of the buffer, "" when empty; owned by the buffer. */
const char *buf_text(const struct buf *buf);

/* Frees the memory and leaves an empty buffer with the same maximum. */
void buf_free(struct buf *buf);
