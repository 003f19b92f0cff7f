/* SPDX-License-Identifier: Apache-2.0
 *
 * What the runtime gives the plugin, and the checks of it, in the order of the reference library's newest skeleton
 * (reference/cni.md 2, "Version checks"): variables, stdin, JSON, name, command, operation at this version, version.
 * Called by main once; all functions return 0, or -1 with the problem set. Strings are borrowed from the environment.
 */
#pragma once

#include "cni/answer.h"
#include "cni/json_scan.h"

#include <stdbool.h>

struct input {
	/* never null; "" = absent, as the specification has it */
	const char *command, *container_id, *netns, *ifname, *args, *path;
	const char *plugin;  /* base name of argv[0] */
	bool netns_override; /* CNI_NETNS_OVERRIDE: the namespace may be our own */
	const char *conf;    /* stdin */
	size_t conf_len;
	char version[SCAN_TEXT_MAX]; /* cniVersion; "0.1.0" when absent */
};

void input_from_environment(struct input *in, const char *argv0);
int input_check_environment(const struct input *in, struct problem *problem);
/* Reads all of stdin, at most FRAME_STDIN_MAX bytes, for at most timeout_ms. */
int input_read_stdin(struct input *in, int timeout_ms, struct problem *problem);
int input_check_conf(struct input *in, struct problem *problem);
int input_check_operation(const struct input *in, struct problem *problem);
/* For VERSION: cniVersion of stdin if there is one within a second, else "". Never a problem. */
void input_read_version(struct input *in);
/* Opens CNI_NETNS: a descriptor, or -1 with the problem set. Own namespace and things that are none are refused. */
int input_open_netns(const struct input *in, struct problem *problem);
