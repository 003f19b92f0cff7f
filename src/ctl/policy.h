/* SPDX-License-Identifier: Apache-2.0
 *
 * What the words of "tullectl policy" share: the verdict engine over a whole world (resources/policy_world.h),
 * and files.
 *
 * Life cycle of an engine: policy_engine_new; policy_engine_load as often as there are worlds; policy_engine_free before the
 * last world.
 */
#pragma once

#include "base/buf.h"
#include "ctl/ctl.h"
#include "plan/policy_words.h"
#include "plan/verdict.h"
#include "resources/netpol_case.h"

int policy_eval(const struct ctl *ctl);
int policy_explain(const struct ctl *ctl);
int policy_lint(const struct ctl *ctl);

/* What explain has found, as policy_flow.c prints it; exit status. */
int policy_show_flows(const struct ctl *ctl, const json_t *answer);

/* -- flags -- */

/* Is argv[*at] "flag VALUE" or "flag=VALUE"? *at moves on to the value; an empty one: it is missing. */
bool policy_flag(const struct ctl *ctl, int *at, const char *flag, const char **ret);

/* -- PROTOCOL[/PORT] -- */

struct policy_protocol {
	uint8_t number;
	uint16_t port; /* ICMP: type << 8 | code */
	char name[16];
};
/* CTL_OK, or CTL_USAGE with what is wrong told. */
int policy_protocol_parse(const char *word, struct policy_protocol *ret);
bool policy_protocol_has_ports(const struct policy_protocol *protocol);
/* 0 or -EINVAL. */
int policy_number(const char *text, unsigned max, unsigned *ret);

/* -- the engine -- */

struct policy_engine;

int policy_engine_new(struct policy_engine **ret);
void policy_engine_free(struct policy_engine *engine); /* null is fine */
/* The engine is told what differs from the world before, which may be freed afterwards; this one stays as it is until the
 * next load. All its pods are judged. */
int policy_engine_load(struct policy_engine *engine, const struct policy_world *world, struct err *err);
/* direction: NETPOL_EGRESS or NETPOL_INGRESS. May the probe pass there? */
bool policy_engine_allow(const struct policy_engine *engine, const struct netpol_probe *probe, enum netpol_side side);
/* False: nothing is judged there. */
bool policy_engine_why(const struct policy_engine *engine, const struct netpol_probe *probe, enum netpol_side side,
	struct verdict_why *ret);

/* -- files -- */

/* 0, or CTL_USAGE with what is wrong told. */
int policy_read_case(const char *path, struct netpol_case **ret);
int policy_read_manifests(const char *path, struct policy_world *world, struct err *err);
int policy_read_directory(const char *path, struct policy_world *world, struct err *err);
/* Tells on stderr what a policy says that could not be understood, or has no effect. */
extern const struct calico_remarks policy_remarks_on_stderr;
