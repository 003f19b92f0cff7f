/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/fiber.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_SIZE (256u * 1024) /* address space; what is not touched costs nothing */

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/common_interface_defs.h>
#else
/* Only the sanitizer wants to know on which stack we are. */
static inline void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size)
{
}
static inline void __sanitizer_finish_switch_fiber(void *fake, const void **bottom, size_t *size)
{
}
#endif

struct fiber {
	ucontext_t inside, outside;
	void (*run)(void *ctx);
	void *ctx;
	char *map; /* a page that faults, then the stack */
	size_t guard;
	bool done;
	void *fake_inside, *fake_outside;
	const void *outside_bottom;
	size_t outside_size;
};

/* makecontext hands over ints only. */
static void enter(unsigned high, unsigned low)
{
	struct fiber *fiber = (struct fiber *)((uintptr_t)high << 16 << 16 | (uintptr_t)low);

	__sanitizer_finish_switch_fiber(NULL, &fiber->outside_bottom, &fiber->outside_size);
	fiber->run(fiber->ctx);
	fiber->done = true;
	__sanitizer_start_switch_fiber(NULL, fiber->outside_bottom, fiber->outside_size);
	swapcontext(&fiber->inside, &fiber->outside);
}

static int map_stack(struct fiber *fiber)
{
	fiber->guard = (size_t)sysconf(_SC_PAGESIZE);
	fiber->map = mmap(NULL, fiber->guard + STACK_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (fiber->map == MAP_FAILED)
		return -1;
	if (mprotect(fiber->map, fiber->guard, PROT_NONE) == 0)
		return 0;
	munmap(fiber->map, fiber->guard + STACK_SIZE);
	return -1;
}

static void prepare(struct fiber *fiber)
{
	uintptr_t number = (uintptr_t)fiber;

	getcontext(&fiber->inside); /* fails for no reason that there is */
	fiber->inside.uc_stack.ss_sp = fiber->map + fiber->guard;
	fiber->inside.uc_stack.ss_size = STACK_SIZE;
	fiber->inside.uc_link = NULL;
	makecontext(
		&fiber->inside, (void (*)(void))enter, 2, (unsigned)(number >> 16 >> 16), (unsigned)number);
}

struct fiber *fiber_new(void (*run)(void *ctx), void *ctx)
{
	struct fiber *fiber = calloc(1, sizeof(*fiber));

	if (!fiber || map_stack(fiber) < 0) {
		free(fiber);
		return NULL;
	}
	fiber->run = run;
	fiber->ctx = ctx;
	prepare(fiber);
	return fiber;
}

bool fiber_resume(struct fiber *fiber)
{
	__sanitizer_start_switch_fiber(&fiber->fake_outside, fiber->map + fiber->guard, STACK_SIZE);
	swapcontext(&fiber->outside, &fiber->inside);
	__sanitizer_finish_switch_fiber(fiber->fake_outside, NULL, NULL);
	return fiber->done;
}

void fiber_pause(struct fiber *fiber)
{
	__sanitizer_start_switch_fiber(&fiber->fake_inside, fiber->outside_bottom, fiber->outside_size);
	swapcontext(&fiber->inside, &fiber->outside);
	__sanitizer_finish_switch_fiber(fiber->fake_inside, &fiber->outside_bottom, &fiber->outside_size);
}

void fiber_free(struct fiber *fiber)
{
	if (!fiber)
		return;
	munmap(fiber->map, fiber->guard + STACK_SIZE);
	free(fiber);
}
