/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_error.h"

#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int cni_error_set(struct cni_error *error, enum cni_code code, const char *fmt, ...)
{
	va_list ap;

	error->code = code;
	error->details[0] = 0;
	va_start(ap, fmt);
	vsnprintf(error->msg, sizeof(error->msg), fmt, ap);
	va_end(ap);
	return -1;
}

int cni_error_details(struct cni_error *error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error->details, sizeof(error->details), fmt, ap);
	va_end(ap);
	return -1;
}

int cni_error_from_attach(struct cni_error *error, const struct err *err)
{
	static const struct {
		int error;
		enum cni_code code;
		const char *msg;
	} table[] = {
		{-EAGAIN, CNI_TRY_LATER, "the node's network is not ready"},
		{-ENOSPC, CNI_TRY_LATER, "no pod address is free on this node"},
		{-EEXIST, CNI_ALREADY_ATTACHED, "the container has such an interface already"},
		{-EINVAL, CNI_BAD_CONF, "the pod's network cannot be set up as it is asked for"},
		{-ENOENT, CNI_NO_CONTAINER, "the container's network namespace or attachment does not exist"},
	};

	cni_error_set(error, CNI_INTERNAL, "the pod's network cannot be set up or taken down");
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].error == err->code)
			cni_error_set(error, table[i].code, "%s", table[i].msg);
	return cni_error_details(error, "%s", err_text(err));
}

/* Texts come from file names and the like: what is no UTF-8 is shown as hexadecimal escapes. */
static json_t *text_value(const char *text)
{
	json_t *value = json_string(text);
	struct buf plain = BUF_INIT(0);

	if (value)
		return value;
	for (const char *p = text; *p; p++)
		buf_printf(&plain, (unsigned char)*p < 0x80 ? "%c" : "\\x%02x", (unsigned char)*p);
	value = json_string(buf_text(&plain));
	buf_free(&plain);
	return value;
}

int cni_error_format(const struct cni_error *error, const char *version, struct buf *buf)
{
	_cleanup_(json_cleanup) json_t *object = json_object();
	_cleanup_free_ char *text = NULL;

	json_object_set_new(object, "cniVersion", text_value(version));
	json_object_set_new(object, "code", json_integer(error->code));
	json_object_set_new(object, "msg", text_value(error->msg));
	if (error->details[0])
		json_object_set_new(object, "details", text_value(error->details));
	text = json_dumps(object, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	return buf_printf(buf, "%s\n", text);
}
