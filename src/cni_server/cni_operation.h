/* SPDX-License-Identifier: Apache-2.0
 *
 * What each CNI command does: from a parsed request to pod attachment (attach/attach.h) and back to the text that the
 * plugin prints. Called by the CNI server for a connection's request and for a spooled DEL; keeps nothing.
 */
#pragma once

#include "attach/attach.h"
#include "cni_server/cni_request.h"
#include "cni_server/cni_server.h"

/* Runs the command; its output (often none) is appended to out. On failure -1 with error set, out as it was, and
 * nothing left behind. CNI_OPERATION_LATER: an ADD that has to wait for something; as if it had not been called.
 * waited_ms: since it was called first. */
#define CNI_OPERATION_LATER 1
int cni_operation_run(struct attacher *attacher, const struct cni_server_options *options,
	const struct cni_request *request, int64_t waited_ms, struct buf *out, struct cni_error *error);

/* Takes an ADD back whose answer reached nobody. */
void cni_operation_undo(struct attacher *attacher, const struct cni_request *request);
