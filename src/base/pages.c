/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pages.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

void pages_give_back(const void *constants, size_t size)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = ((uintptr_t)constants + page - 1) & ~(page - 1);
	uintptr_t end = ((uintptr_t)constants + size) & ~(page - 1);

	if (start < end)
		madvise((void *)start, end - start, MADV_DONTNEED); /* best effort: they only take room */
}
