/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/bird_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A name with a line break in it shall not make lines of its own in anybody's log. */
static void make_one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

void bird_complain(const struct bird_plan *plan, const char *object, const char *fmt, ...)
{
	char text[512], name[320];
	va_list ap;

	if (!plan->input->complain)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(name, sizeof(name), "%s", object);
	make_one_line(name);
	make_one_line(text);
	plan->input->complain(plan->input->complain_ctx, name, text);
}

/* Without ctype.h: its answers hang on the locale. */
static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool consists_of(const char *text, const char *others)
{
	for (const char *c = text; *c; c++)
		if (!is_alnum(*c) && !strchr(others, *c))
			return false;
	return *text;
}

bool bird_name_is_plain(const char *name)
{
	return consists_of(name, "._-");
}

bool bird_interface_is_plain(const char *name)
{
	return consists_of(name, "._-*?+@:") && strlen(name) < IFNAMSIZ;
}

bool bird_text_is_plain(const char *text)
{
	for (const char *c = text; *c; c++)
		if (*c == '"' || (unsigned char)*c < 0x20 || *c == 0x7f)
			return false;
	return true;
}

void bird_name_shown(const char *name, char *ret, size_t size)
{
	size_t n = 0;

	for (const char *c = name; *c && n + 1 < size; c++)
		ret[n++] = is_alnum(*c) || strchr("._-", *c) ? *c : '?';
	ret[n] = 0;
}

void bird_protocol_name(const char *prefix, const struct addr *addr, uint16_t port, char ret[static BIRD_NAME_MAX])
{
	char text[ADDR_TEXT_MAX], suffix[16] = "";

	addr_format(addr, text);
	for (char *c = text; *c; c++)
		if (!is_alnum(*c))
			*c = '_';
	if (port)
		snprintf(suffix, sizeof(suffix), "_port_%u", port);
	snprintf(ret, BIRD_NAME_MAX, "%.8s%.40s%s", prefix, text, suffix);
}

/* FNV-1a. */
uint32_t bird_hash(const char *text)
{
	uint32_t h = 0x811c9dc5;

	for (const char *c = text; *c; c++)
		h = (h ^ (uint8_t)*c) * 0x01000193;
	return h;
}

void bird_function_name(const char *filter, const char *direction, int family, char ret[static BIRD_NAME_MAX])
{
	if (strlen(filter) <= 40)
		snprintf(ret, BIRD_NAME_MAX, "%s%c-%s", direction, bird_digit(family), filter);
	else
		snprintf(ret, BIRD_NAME_MAX, "%s%c-%.30s-%08x", direction, bird_digit(family), filter, bird_hash(filter));
}
