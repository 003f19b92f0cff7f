/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal: an append-only file of small records that survives the process (kill -9 at any point: a record
 * is kept once journal_append has returned) but not the boot. It is therefore never synced: after a power
 * failure the boot id differs and everything in it is void. What the records mean is its caller's business
 * (attach/attach_record.h).
 *
 * File: a header (magic, layout version, boot id, CRC), then records, each in a frame (magic, length, CRC-32C
 * over boot id, length and payload) padded to 8 bytes, in host byte order. A torn end is cut off; a record
 * that is damaged inside the file is left out and the search goes on at the next frame; both are reported and
 * show in journal_damaged(). A file of a newer layout is refused; one of an older layout is read and goes on in
 * this one, so its records must still be understood.
 *
 * Life cycle: journal_open (replays what is there), journal_append ..., from time to time journal_rewrite,
 * journal_close. One process at a time: the directory is locked.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define JOURNAL_RECORD_MAX 65536u

struct journal;

struct journal_reader {
	/* Each sound record, oldest first. A negative return refuses the record: it is reported and left out.
	 */
	int (*each)(void *ctx, const void *data, size_t len, struct err *err);
	/* One sentence about something that was void, cut or left out. May be null. */
	void (*report)(void *ctx, const char *text);
	void *ctx;
};

/* dir is made when it is missing. boot_id null: that of the running kernel. -EBUSY: another process has it
 * open. */
int journal_open(const char *dir, const char *boot_id, const struct journal_reader *reader,
	struct journal **ret, struct err *err);
void journal_close(struct journal *journal);

/* Something was damaged when the journal was opened, so that records may be missing. */
bool journal_damaged(const struct journal *journal);
size_t journal_size(const struct journal *journal); /* bytes of the file */

/* Makes sure that bytes more can be appended even when the file system fills up. 0, or -ENOSPC and the like.
 */
int journal_reserve(struct journal *journal, size_t bytes, struct err *err);

/* One write. On failure the journal is as it was, and the next append tries again. */
int journal_append(struct journal *journal, const void *data, size_t len, struct err *err);

/* Replaces the whole content: emit calls journal_emit for each record that is to stay. On failure nothing
 * changed. */
struct journal_writer;
int journal_rewrite(struct journal *journal, int (*emit)(void *ctx, struct journal_writer *writer), void *ctx,
	struct err *err);
int journal_emit(struct journal_writer *writer, const void *data, size_t len);
