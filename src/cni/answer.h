/* SPDX-License-Identifier: Apache-2.0
 *
 * What the plugin itself prints on stdout: error objects and the answer to VERSION. Each goes out in one write, and
 * a write that fails is the process's failure. The texts are the CNI specification's (reference/cni.md 2 and 3).
 */
#pragma once

#include <stddef.h>

#define CNI_NEWEST "1.1.0"

/* Codes of the specification that the plugin uses. */
enum cni_code {
	CNI_VERSION_UNKNOWN = 1,
	CNI_NO_CONTAINER = 3,
	CNI_BAD_ENVIRONMENT = 4,
	CNI_IO = 5,
	CNI_UNDECODABLE = 6,
	CNI_BAD_CONF = 7,
	CNI_OWN_NETNS = 8,
	CNI_TRY_LATER = 11,
	CNI_NOT_READY = 50,
};

struct problem {
	enum cni_code code;
	char msg[512];     /* stable text, without container ids */
	char details[1024];
};

int problem_set(struct problem *problem, enum cni_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void problem_details(struct problem *problem, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Index 0.. of a version in the list that we serve, oldest first; -1 when it is not in it. */
int version_index(const char *version);
/* The list as JSON strings, separated by a comma and a space. */
const char *version_list(void);

/* 0 or negative errno. */
int write_all(int fd, const char *data, size_t len);

/* Both return the exit code of the process. version: cniVersion to show, "" for the newest. */
int answer_problem(const struct problem *problem, const char *version);
int answer_version(const char *version);
