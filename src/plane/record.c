/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/record.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>

#define FILE_MAX 4096

bool record_has_device(const struct record *record, const char *name)
{
	for (size_t i = 0; i < record->device_count; i++)
		if (strcmp(record->devices[i], name) == 0)
			return true;
	return false;
}

bool record_has_protocol(const struct record *record, uint8_t protocol)
{
	return memchr(record->protocols, protocol, record->protocol_count) != NULL;
}

bool record_add_device(struct record *record, const char *name)
{
	if (!name[0] || strlen(name) >= IFNAMSIZ || record->device_count == RECORD_DEVICES_MAX || record_has_device(record, name))
		return false;
	snprintf(record->devices[record->device_count++], IFNAMSIZ, "%s", name);
	return true;
}

bool record_add_protocol(struct record *record, uint8_t protocol)
{
	if (!protocol || record->protocol_count == RECORD_PROTOCOLS_MAX || record_has_protocol(record, protocol))
		return false;
	record->protocols[record->protocol_count++] = protocol;
	return true;
}

static void read_line(const char *line, struct record *ret)
{
	unsigned long number;
	char *end;

	if (strncmp(line, "device ", 7) == 0)
		record_add_device(ret, line + 7);
	if (strncmp(line, "protocol ", 9) != 0)
		return;
	number = strtoul(line + 9, &end, 10);
	if (!*end && number <= UINT8_MAX)
		record_add_protocol(ret, (uint8_t)number);
}

void record_read(const char *path, struct record *ret)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(FILE_MAX);
	char *rest = NULL;

	*ret = (struct record){0};
	if (file_read(path, &text, NULL) < 0 || !text.len)
		return;
	for (char *line = strtok_r(text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		read_line(line, ret);
}

int record_write(const char *path, const struct record *record, struct err *err)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(FILE_MAX);

	for (size_t i = 0; i < record->device_count; i++)
		buf_printf(&text, "device %s\n", record->devices[i]);
	for (size_t i = 0; i < record->protocol_count; i++)
		buf_printf(&text, "protocol %u\n", record->protocols[i]);
	return file_write_atomic(path, buf_text(&text), text.len, 0600, false, err);
}
