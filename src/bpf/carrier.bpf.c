/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * The carrier's programs in one object, because they share maps and are replaced together. One hook a header.
 */
#include "carrier_tx.h"

#include "carrier_rx.h"

#include "carrier_guard.h"

char program_license[] SEC("license") = "Dual BSD/GPL";
