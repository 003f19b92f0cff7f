/* SPDX-License-Identifier: Apache-2.0
 *
 * Scope-exit cleanup for owning locals: _cleanup_free_ char *s = NULL; _cleanup_close_ int fd = -1;
 * Hand-over to a caller is marked: return TAKE_PTR(s); return TAKE_FD(fd).
 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)

#define TAKE_PTR(p)                        \
	({                                 \
		__typeof__(p) take_ = (p); \
		(p) = NULL;                \
		take_;                     \
	})
#define TAKE_FD(fd)            \
	({                     \
		int take_ = (fd); \
		(fd) = -1;     \
		take_;         \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
