/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char old[sizeof(err->text)];
	va_list ap;
	int n;

	if (!err)
		return -EIO;
	if (!err->code)
		err->code = -EIO;
	snprintf(old, sizeof(old), "%s", err_text(err));
	va_start(ap, fmt);
	n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n + 3 > sizeof(err->text))
		return err->code;
	memcpy(err->text + n, ": ", 2);
	/* a story longer than the buffer loses its end */
	memcpy(err->text + n + 2, old, sizeof(err->text) - (size_t)n - 2);
	err->text[sizeof(err->text) - 1] = 0;
	return err->code;
}

const char *err_text(const struct err *err)
{
	if (!err)
		return "unknown error";
	return err->text[0] ? err->text : strerror(-err->code);
}
