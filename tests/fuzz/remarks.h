/* SPDX-License-Identifier: Apache-2.0
 *
 * For targets that read objects: what people are told is one line of printable characters.
 */
#pragma once

#include "fuzz.h"

#include "resources/resources.h"

static void check_line(const char *text)
{
	FUZZ_CHECK(*text);
	for (; *text; text++)
		FUZZ_CHECK((unsigned char)*text >= 0x20 && (unsigned char)*text < 0x7f);
}

static void remark(void *ctx, const char *text)
{
	check_line(text);
}

static const struct calico_remarks remarks = {.remark = remark};
