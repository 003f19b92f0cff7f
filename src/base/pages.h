/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that holds what is on disk as well. For constants that the program needs once, such as the images of eBPF programs:
 * they lie in its own file, and count as resident from the first look on.
 */
#pragma once

#include <stddef.h>

/* Whole pages of constants go back; whoever looks at them again has them read again. */
void pages_give_back(const void *constants, size_t size);
