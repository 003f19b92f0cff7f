/* SPDX-License-Identifier: Apache-2.0
 *
 * A node that ran real Calico, or comes back from it (docs/takeover.md): pods that Calico's plugin attached become
 * attachments of ours (attach/adopt.h), with the handles by which the blocks show them; attachments that Calico's
 * plugin undid while this agent was away are forgotten. That comes before the first ADD is admitted and before the
 * batch of addresses begins to work; a pod that Calico's plugin was still at work on is found half a minute later.
 *
 * Life cycle: calico_takeover_go at each pass until calico_takeover_is_done; calico_takeover_free before the allocator.
 */
#pragma once

#include "base/addr.h"

#include <stdbool.h>

struct calico;
struct options;

void calico_takeover_go(struct calico *calico);
bool calico_takeover_is_done(const struct calico *calico);
/* The address that our Node has already, which other nodes know it by: unless flags choose an interface or an address,
 * it is put into options (--public-ip, --public-ipv6) as long as an interface has it. text: what they point to then. */
void calico_takeover_address(
	const struct calico *calico, struct options *options, char text[FAMILY_COUNT][ADDR_TEXT_MAX]);
/* After a pass that reached the kernel: tells the log what was removed. */
void calico_takeover_tell(struct calico *calico);
void calico_takeover_free(struct calico *calico);
