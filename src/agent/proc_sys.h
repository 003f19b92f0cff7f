/* SPDX-License-Identifier: Apache-2.0
 *
 * /proc/sys/net, which the agent must write: forwarding, and the settings of pods' interfaces. Container runtimes show
 * it read-only to a container that is not privileged. Called once at start, before anything is opened.
 */
#pragma once

#include "base/err.h"

/* Where /proc/sys/net is read-only, makes it writable in a mount namespace of this process's own: nobody else's view
 * changes, and it ends with the process. Needs CAP_SYS_ADMIN, and a profile of the runtime's that lets it mount. */
int proc_sys_open(struct err *err);
