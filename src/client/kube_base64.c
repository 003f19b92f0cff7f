/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_base64.h"

#include <stdlib.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int base64_digit(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

char *kube_base64_decode(const char *text)
{
	char *out = malloc(strlen(text) / 4 * 3 + 4);
	unsigned bits = 0, count = 0, padding = 0;
	size_t len = 0;

	for (; out && *text; text++) {
		int digit = base64_digit(*text);

		if (*text == '\n' || *text == '\r')
			continue;
		if (*text == '=')
			padding++;
		else if (digit < 0 || padding)
			break;
		bits = bits << 6 | (unsigned)(digit < 0 ? 0 : digit);
		if (++count % 4)
			continue;
		out[len++] = (char)(bits >> 16);
		out[len++] = (char)(bits >> 8);
		out[len++] = (char)bits;
	}
	if (!out || *text || count % 4 || padding > 2) {
		free(out);
		return NULL;
	}
	len -= padding;
	out[len] = 0;
	if (strlen(out) == len)
		return out;
	free(out);
	return NULL;
}

char *kube_base64_encode(const char *text)
{
	size_t len = strlen(text), n = 0;
	char *out = malloc((len + 2) / 3 * 4 + 1);

	for (size_t i = 0; out && i < len; i += 3) {
		const unsigned char *at = (const unsigned char *)text + i;
		size_t have = len - i < 3 ? len - i : 3;
		unsigned bits = (unsigned)at[0] << 16;

		if (have > 1)
			bits |= (unsigned)at[1] << 8;
		if (have > 2)
			bits |= at[2];
		out[n++] = digits[bits >> 18];
		out[n++] = digits[bits >> 12 & 63];
		out[n++] = have > 1 ? digits[bits >> 6 & 63] : '=';
		out[n++] = have > 2 ? digits[bits & 63] : '=';
	}
	if (out)
		out[n] = 0;
	return out;
}
