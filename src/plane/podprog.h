/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs on a pod's host-side interface. Today one: "closed", which lets nothing pass in either direction from the
 * moment it stands, so that DEL can answer long before the kernel has taken the device down. Used by pod attachment.
 *
 * It sits on the device's clsact qdisc in front of all other filters, needs no pin and disappears with the device. (A tcx
 * program on the same device would run before it.)
 *
 * Life cycle: podprog_new loads it once; podprog_close any number of times; podprog_free (what is closed stays so).
 */
#pragma once

#include "base/err.h"
#include "plane/netlink.h"

#include <stdint.h>

struct podprog;

int podprog_new(struct podprog **ret, struct err *err);
/* nl: a socket of the device's namespace. One write, about 100 microseconds. -ENODEV when there is no such device. Closing
 * twice is fine. */
int podprog_close(const struct podprog *podprog, struct nl *nl, uint32_t ifindex, struct err *err);
void podprog_free(struct podprog *podprog);
