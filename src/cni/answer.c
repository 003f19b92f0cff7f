/* SPDX-License-Identifier: Apache-2.0 */
#include "cni/answer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const versions[] = {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};

int version_index(const char *version)
{
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		if (strcmp(versions[i], version) == 0)
			return (int)i;
	return -1;
}

const char *version_list(void)
{
	return "\"0.1.0\", \"0.2.0\", \"0.3.0\", \"0.3.1\", \"0.4.0\", \"1.0.0\", \"1.1.0\"";
}

int problem_set(struct problem *problem, enum cni_code code, const char *fmt, ...)
{
	va_list ap;

	problem->code = code;
	problem->details[0] = 0;
	va_start(ap, fmt);
	vsnprintf(problem->msg, sizeof(problem->msg), fmt, ap);
	va_end(ap);
	return -1;
}

void problem_details(struct problem *problem, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(problem->details, sizeof(problem->details), fmt, ap);
	va_end(ap);
}

int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Length of the UTF-8 sequence at text, 0 when it is none (overlong, surrogate, cut off). */
static size_t utf8_len(const unsigned char *text)
{
	size_t n = text[0] < 0x80   ? 1
		   : text[0] < 0xc2 ? 0
		   : text[0] < 0xe0 ? 2
		   : text[0] < 0xf0 ? 3
		   : text[0] < 0xf5 ? 4
				    : 0;

	for (size_t i = 1; i < n; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
		(text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
		return 0;
	return n;
}

/* Appends text as the inside of a JSON string; ret has room for six bytes for each byte of text. */
static char *add_escaped(char *to, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	while (*p) {
		size_t n = utf8_len(p);

		if (*p == '"' || *p == '\\') {
			*to++ = '\\';
			*to++ = (char)*p++;
		} else if (*p < 0x20 || n == 0) {
			to += sprintf(to, "\\u%04x", *p < 0x20 ? *p : 0xfffdu);
			p++;
		} else {
			memcpy(to, p, n);
			to += n;
			p += n;
		}
	}
	return to;
}

static int print(const char *text, size_t len)
{
	return write_all(STDOUT_FILENO, text, len) == 0;
}

int answer_problem(const struct problem *problem, const char *version)
{
	char out[6 * (sizeof(problem->msg) + sizeof(problem->details)) + 256];
	char *to = out;

	to += sprintf(to, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"",
		version_index(version) < 0 ? CNI_NEWEST : version, (int)problem->code);
	to = add_escaped(to, problem->msg);
	if (problem->details[0]) {
		to += sprintf(to, "\",\"details\":\"");
		to = add_escaped(to, problem->details);
	}
	to += sprintf(to, "\"}\n");
	print(out, (size_t)(to - out));
	return 1;
}

int answer_version(const char *version)
{
	char out[6 * 512 + 256];
	char *to = out;

	to += sprintf(to, "{\"cniVersion\":\"");
	to = add_escaped(to, version[0] ? version : CNI_NEWEST);
	to += sprintf(to, "\",\"supportedVersions\":[%s]}\n", version_list());
	return print(out, (size_t)(to - out)) ? 0 : 1;
}
