/* SPDX-License-Identifier: Apache-2.0
 *
 * What is asked of a device by ioctl: its index, address and type, and that it leaves segmentation or checksums to the
 * kernel.
 */
#pragma once

#include "base/addr.h"
#include "base/err.h"

struct device {
	uint32_t index;
	struct mac mac;
	bool ethernet, up;
};

/* -ENODEV with a text when there is none of that name. */
int device_get(const char *name, struct device *ret, struct err *err);
enum offload { OFFLOAD_SEGMENTATION = 1, OFFLOAD_CHECKSUM = 2 };
/* Switches every offload for sending of these kinds off, as "ethtool -K NAME tso off tx off ..." does. */
int device_stop_offloads(const char *name, unsigned offloads, struct err *err);
