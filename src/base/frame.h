/* SPDX-License-Identifier: Apache-2.0
 *
 * What travels on /run/tulle/cni.sock between the plugin and the agent: one request and one answer on a stream
 * socket, in host byte order (both ends are one machine).
 *
 * Request:  struct frame_request, then its fields back to back in the order of enum frame_field (each exactly
 *           field_len[] bytes, no closing 0), sent in one sendmsg; the first carries the opened CNI_NETNS as
 *           SCM_RIGHTS when there is one.
 * Answer:   struct frame_answer, then exit_code's output: len bytes that the plugin prints on stdout as they are.
 *
 * Pure and free of allocation, so that the plugin (no libraries) and the agent share it. A request that does not
 * obey is refused with a reason, never read past its length.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define FRAME_MAGIC 0x454c5554u /* "TULE" */
#define FRAME_VERSION 1u
#define FRAME_STDIN_MAX (1u << 20)  /* bytes of configuration that are accepted */
#define FRAME_VARIABLE_MAX 65536u   /* bytes of one environment variable */
#define FRAME_ANSWER_MAX (4u << 20)

/* How the plugin introduces itself; the agent tells by it which of the runtime's binaries are ours. */
#define FRAME_PLUGIN_ABOUT "CNI plugin tulle "

enum frame_field {
	FRAME_COMMAND,      /* CNI_COMMAND */
	FRAME_CONTAINER_ID, /* CNI_CONTAINERID */
	FRAME_NETNS,        /* CNI_NETNS, the text */
	FRAME_IFNAME,       /* CNI_IFNAME */
	FRAME_ARGS,         /* CNI_ARGS */
	FRAME_PATH,         /* CNI_PATH */
	FRAME_PLUGIN,       /* base name of argv[0]: tulle, flannel, calico */
	FRAME_STDIN,
	FRAME_FIELDS
};

struct frame_request {
	uint32_t magic;
	uint32_t version;
	uint32_t total; /* bytes of all fields */
	uint32_t flags; /* FRAME_HAS_NETNS */
	uint32_t field_len[FRAME_FIELDS];
};

#define FRAME_HAS_NETNS 1u /* a descriptor of the namespace travels along */

struct frame_answer {
	uint32_t magic;
	uint32_t version;
	int32_t exit_code;
	uint32_t len;
};

/* Null when the header is sound, otherwise the reason in a few words. */
const char *frame_request_check(const struct frame_request *request);
const char *frame_answer_check(const struct frame_answer *answer);
/* Largest length of one field. */
uint32_t frame_field_max(enum frame_field field);
/* Offset of a field behind the header; only after frame_request_check. */
size_t frame_field_offset(const struct frame_request *request, enum frame_field field);
