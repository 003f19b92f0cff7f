/* SPDX-License-Identifier: Apache-2.0
 *
 * One CNI call as the agent sees it: the frame's fields, checked again in the plugin's order (who speaks on the
 * socket need not be our plugin), and the configuration as a JSON tree. Made and freed by the CNI server; borrowed
 * strings live as long as the request.
 */
#pragma once

#include "base/frame.h"
#include "base/json.h"
#include "cni_server/cni_conf.h"
#include "cni_server/cni_error.h"

enum cni_command { CNI_ADD, CNI_DEL, CNI_CHECK, CNI_GC, CNI_STATUS, CNI_VERSION, CNI_COMMAND_COUNT };

/* In order of age; the names are in cni_version_name(). */
enum cni_version { CNI_0_1_0, CNI_0_2_0, CNI_0_3_0, CNI_0_3_1, CNI_0_4_0, CNI_1_0_0, CNI_1_1_0, CNI_VERSION_COUNT };

struct cni_request {
	enum cni_command command;      /* CNI_COMMAND_COUNT: unknown */
	enum cni_version version;
	char *text[FRAME_FIELDS];      /* never null; FRAME_STDIN is "" here */
	json_t *conf;                  /* null for VERSION */
	const char *network;           /* conf "name" */
	int netns_fd;                  /* borrowed from the connection, -1 = none */
};

const char *cni_command_name(enum cni_command command);
const char *cni_version_name(enum cni_version version);
enum cni_version cni_version_find(const char *name); /* CNI_VERSION_COUNT when unknown */

/* Container ids and network names, reference/cni.md 1.1. */
bool cni_name_is_valid(const char *text);

/* head must have passed frame_request_check; fields are head->total bytes. On failure -1 and error is set; ret is
 * sound in both cases (command and version as far as they were understood) and must be freed. */
int cni_request_parse(const struct frame_request *head, const char *fields, int netns_fd, struct cni_request *ret,
	struct cni_error *error);
void cni_request_free(struct cni_request *request);

/* For attach_del and its sisters: ids, network, namespace, host prefix. */
struct attach_request cni_request_attach(const struct cni_request *request);
