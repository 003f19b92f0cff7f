/* SPDX-License-Identifier: Apache-2.0
 *
 * One agent a network namespace: routes of protocol 84 and table inet tulle have one owner, who removes what he did not put
 * there; two agents would undo each other's work for ever. (The state directory is locked by journal.c, the run directory
 * guarded by cni_server.c.)
 *
 * Life cycle: instance_claim once, before anything is touched; the claim ends with the process, also a killed one.
 */
#pragma once

#include "base/err.h"

struct event;
struct event_base;

/* -EBUSY when another agent runs, and still does after a second; the story names its process. Nobody but root can keep us from starting: *ret stays null
 * when somebody else sits on the name. The event, by which others can ask, is the caller's. */
int instance_claim(struct event_base *base, struct event **ret, struct err *err);
