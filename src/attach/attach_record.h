/* SPDX-License-Identifier: Apache-2.0
 *
 * What the journal's records say about attachments. Pure. Host byte order, strings with their length before
 * them; a change of this form is a new layout version of the journal. In layout 1 BEGUN ended before the pod's
 * namespace and name, and no address was marked as wished; such a record is read as one without them.
 *
 * An attachment's life: BEGUN (before the kernel is touched; holds all of it), ATTACHED (ADD may be
 * answered), CLOSING (DEL is answered, the address rests from that time, the interface still has to go),
 * GONE. UNDONE follows BEGUN when ADD failed. RESTING stands for what is left of attachments that are gone
 * when the journal is rewritten.
 */
#pragma once

#include "attach/attach.h"
#include "base/buf.h"

enum attach_record_type {
	RECORD_BEGUN = 1,
	RECORD_ATTACHED,
	RECORD_CLOSING,
	RECORD_GONE,
	RECORD_UNDONE,
	RECORD_RESTING,
};

struct attach_record {
	enum attach_record_type type;
	uint64_t serial;  /* of the attachment, never used twice; 0 for RESTING */
	int64_t since;    /* CLOSING, RESTING: CLOCK_BOOTTIME in milliseconds */
	struct addr addr; /* RESTING */
};

/* attachment: for BEGUN, otherwise null. 0 or negative errno. */
int attach_record_encode(
	const struct attach_record *record, const struct attachment *attachment, struct buf *buf);
/* attachment is filled for BEGUN only. -EINVAL when it is none of these. */
int attach_record_decode(const void *data, size_t len, struct attach_record *ret,
	struct attachment *attachment, struct err *err);
