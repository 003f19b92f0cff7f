/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl: one verb a file. main.c reads the common flags and calls the verb.
 */
#pragma once

#include <stdbool.h>

enum { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2 };

struct ctl {
	const char *socket_path; /* --socket */
	bool json;               /* -o json */
	int argc;                /* what follows the verb */
	char **argv;
};

struct ctl_verb {
	const char *name;
	const char *arguments; /* for the usage line */
	const char *meaning;
	int (*run)(const struct ctl *ctl);
};

int ctl_status(const struct ctl *ctl);
int ctl_leases(const struct ctl *ctl);
int ctl_pods(const struct ctl *ctl);
int ctl_ipam(const struct ctl *ctl);
int ctl_metrics(const struct ctl *ctl);
int ctl_config(const struct ctl *ctl);
int ctl_cleanup(const struct ctl *ctl);
int ctl_bpffs(const struct ctl *ctl);
int ctl_bgp(const struct ctl *ctl);
int ctl_path(const struct ctl *ctl);
int ctl_policy(const struct ctl *ctl);
int ctl_drops(const struct ctl *ctl);

/* "tullectl: ..." on stderr; returns CTL_USAGE or CTL_FAILED as given. */
int ctl_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
