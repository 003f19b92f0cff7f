/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * The carrier's programs in one object, because they share maps and are replaced together; those of one encapsulation are
 * loaded. One hook a header.
 */
#include "udp_tx.h"

#include "udp_rx.h"

#include "udp_guard.h"

#include "ipip_tx.h"

#include "ipip_rx.h"

#include "ipip_guard.h"

char program_license[] SEC("license") = "Dual BSD/GPL";
