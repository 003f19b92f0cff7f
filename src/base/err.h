/* SPDX-License-Identifier: Apache-2.0
 *
 * The story of a failure. A function that can fail for a reason worth telling takes a struct err * as its
 * last parameter, returns 0 or a negative errno, and on failure leaves one sentence in it that names the
 * object, the field, the value and what was expected. Callers on the way up add context with err_wrap();
 * only the edge (main, a request's answer, a log line) shows it. A null pointer is allowed everywhere.
 */
#pragma once

#include <stdarg.h>

struct err {
	int code;        /* negative errno, 0 while there is no error */
	char text[768];  /* one line, always terminated */
};

#define ERR_INIT ((struct err){0})

/* Sets code (negative errno) and text; an earlier text is overwritten. Returns code, so that
 * "return err_set(err, -EINVAL, ...)" reads as one statement. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the text. Returns the code already stored (-EIO if none was). */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Text of the error, or strerror of its code when no text was given. Never null. */
const char *err_text(const struct err *err);
