/* SPDX-License-Identifier: Apache-2.0
 *
 * A function that can stop in the middle and go on later, on a stack of its own; still one thread. IPAM's
 * protocol is a sequence of requests whose answers decide what comes next, and reads best as one (as QEMU's
 * block layer does).
 *
 * Life cycle: fiber_new, fiber_resume until it returns true (the function has returned), fiber_free. The
 * function calls fiber_pause to let its resumer go on. Stacks are small: nothing but our own code, jansson
 * and libcrypto may run on one. A fiber that has begun must be resumed to its end before it is freed.
 */
#pragma once

#include <stdbool.h>

struct fiber;

/* Null without memory. Nothing runs yet. */
struct fiber *fiber_new(void (*run)(void *ctx), void *ctx);
/* Runs it until it pauses (false) or has returned (true). */
bool fiber_resume(struct fiber *fiber);
/* Only from inside. */
void fiber_pause(struct fiber *fiber);
void fiber_free(struct fiber *fiber);
