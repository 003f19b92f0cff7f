/* SPDX-License-Identifier: Apache-2.0 */
#include "attach/journal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define HEADER_MAGIC "TULJRNL1"
#define LAYOUT_VERSION 2u
#define FRAME_MAGIC_WORD 0x4c4e524au /* "JRNL" */
#define FILE_NAME "journal"
#define FILE_NAME_NEW "journal.new"
#define BOOT_ID_MAX 40
#define RESERVE_STEP 65536u
#define FILE_MAX ((size_t)1 << 30)
#define WRITE_CHUNK 65536u

struct header {
	char magic[8];
	uint32_t version;
	uint32_t crc; /* of all other bytes */
	char boot_id[BOOT_ID_MAX];
};

struct frame {
	uint32_t magic;
	uint32_t len;
	uint32_t crc;
	uint32_t zero;
};

struct journal {
	int dir_fd; /* holds the lock */
	int fd;
	char path[512];
	char boot_id[BOOT_ID_MAX];
	uint32_t seed; /* CRC of the boot id: a record of another boot never verifies */
	size_t end;
	size_t reserved; /* the file has blocks up to here */
	bool damaged;
};

struct journal_writer {
	int fd;
	uint32_t seed;
	size_t end;
	struct buf buf;
	int error;
};

static uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	static const uint32_t table[16] = {
		0x00000000,
		0x105ec76f,
		0x20bd8ede,
		0x30e349b1,
		0x417b1dbc,
		0x5125dad3,
		0x61c69362,
		0x7198540d,
		0x82f63b78,
		0x92a8fc17,
		0xa24bb5a6,
		0xb21572c9,
		0xc38d26c4,
		0xd3d3e1ab,
		0xe330a81a,
		0xf36e6f75,
	};
	const uint8_t *p = data;

	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		crc = (crc >> 4) ^ table[crc & 15];
		crc = (crc >> 4) ^ table[crc & 15];
	}
	return ~crc;
}

static size_t padded(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

static uint32_t frame_crc(uint32_t seed, const void *payload, uint32_t len)
{
	return crc32c(crc32c(seed, &len, sizeof(len)), payload, len);
}

static uint32_t header_crc(const struct header *header)
{
	struct header copy = *header;

	copy.crc = 0;
	return crc32c(0, &copy, sizeof(copy));
}

static void header_fill(struct header *header, const char *boot_id)
{
	*header = (struct header){.version = LAYOUT_VERSION};
	memcpy(header->magic, HEADER_MAGIC, sizeof(header->magic));
	snprintf(header->boot_id, sizeof(header->boot_id), "%s", boot_id);
	header->crc = header_crc(header);
}

static int write_all_at(int fd, const void *data, size_t len, size_t offset)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
		data = (const char *)data + n;
		offset += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* -- reading -- */

__attribute__((format(printf, 2, 3))) static void report(
	const struct journal_reader *reader, const char *fmt, ...)
{
	char text[900];
	va_list ap;

	if (!reader->report)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reader->report(reader->ctx, text);
}

/* Length of the sound frame at this place, padding included; 0 when there is none. */
static size_t frame_at(const struct journal *journal, const char *file, size_t size, size_t pos)
{
	struct frame frame;

	if (size - pos < sizeof(frame))
		return 0;
	memcpy(&frame, file + pos, sizeof(frame));
	if (frame.magic != FRAME_MAGIC_WORD || frame.len > JOURNAL_RECORD_MAX || frame.zero)
		return 0;
	if (size - pos - sizeof(frame) < padded(frame.len))
		return 0;
	if (frame_crc(journal->seed, file + pos + sizeof(frame), frame.len) != frame.crc)
		return 0;
	return sizeof(frame) + padded(frame.len);
}

static void read_record(
	struct journal *journal, const char *file, size_t pos, const struct journal_reader *reader)
{
	struct err err = ERR_INIT;
	struct frame frame;

	memcpy(&frame, file + pos, sizeof(frame));
	if (reader->each(reader->ctx, file + pos + sizeof(frame), frame.len, &err) >= 0)
		return;
	journal->damaged = true;
	report(reader, "%s: the record at byte %zu was left out: %s", journal->path, pos, err_text(&err));
}

/* Walks the frames; returns where the last sound one ends. */
static size_t read_records(
	struct journal *journal, const char *file, size_t size, const struct journal_reader *reader)
{
	size_t pos = sizeof(struct header), end = pos;

	while (pos < size) {
		size_t len = frame_at(journal, file, size, pos);

		if (!len) {
			pos += 8;
			continue;
		}
		if (pos > end) {
			journal->damaged = true;
			report(reader,
				"%s: bytes %zu to %zu are damaged (no frame with a right checksum); what "
				"they said "
				"was left out",
				journal->path, end, pos - 1);
		}
		read_record(journal, file, pos, reader);
		pos += len;
		end = pos;
	}
	if (size > end) {
		journal->damaged = true;
		report(reader, "%s: the last %zu bytes are no complete record and were cut off",
			journal->path, size - end);
	}
	return end;
}

/* 1: records follow that may count; 0: start anew. */
static int read_header(struct journal *journal, const char *file, size_t size,
	const struct journal_reader *reader, struct err *err)
{
	struct header header;

	if (size == 0)
		return 0;
	if (size < sizeof(header)) {
		journal->damaged = true;
		report(reader, "%s: %zu bytes are too short for a journal; it was started anew",
			journal->path, size);
		return 0;
	}
	memcpy(&header, file, sizeof(header));
	if (header_crc(&header) != header.crc ||
		memcmp(header.magic, HEADER_MAGIC, sizeof(header.magic)) != 0) {
		journal->damaged = true;
		report(reader, "%s: the header is damaged; only records that verify as of this boot count",
			journal->path);
		return 1;
	}
	if (strncmp(header.boot_id, journal->boot_id, sizeof(header.boot_id)) != 0) {
		report(reader, "%s: it is of another boot (%.*s); its %zu bytes are void", journal->path,
			BOOT_ID_MAX, header.boot_id, size);
		return 0;
	}
	if (header.version == 0 || header.version > LAYOUT_VERSION)
		return err_set(err, -EPROTO,
			"%s: layout version %u, expected at most %u: start the release that wrote it, or restart "
			"the machine",
			journal->path, header.version, LAYOUT_VERSION);
	return 1;
}

static int read_file(
	struct journal *journal, size_t size, const struct journal_reader *reader, struct err *err)
{
	const char *file = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, journal->fd, 0) : "";
	int rc;

	if (file == MAP_FAILED)
		return err_set(err, -errno, "%s: cannot be read: %s", journal->path, strerror(errno));
	rc = read_header(journal, file, size, reader, err);
	if (rc > 0)
		journal->end = read_records(journal, file, size, reader);
	if (size)
		munmap((void *)file, size);
	return rc;
}

static int journal_load(struct journal *journal, const struct journal_reader *reader, struct err *err)
{
	struct header header;
	struct stat st;
	int rc;

	if (fstat(journal->fd, &st) < 0)
		return err_set(err, -errno, "%s: %s", journal->path, strerror(errno));
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > FILE_MAX)
		return err_set(
			err, -EINVAL, "%s: expected a file of at most %zu bytes", journal->path, FILE_MAX);
	rc = read_file(journal, (size_t)st.st_size, reader, err);
	if (rc < 0)
		return rc;
	if (rc == 0)
		journal->end = sizeof(header);
	header_fill(&header, journal->boot_id);
	/* the header goes first: a kill between the two leaves records that no longer verify, never a
	 * headless file */
	rc = write_all_at(journal->fd, &header, sizeof(header), 0);
	if (rc == 0 && ftruncate(journal->fd, (off_t)journal->end) < 0)
		rc = -errno;
	if (rc < 0)
		return err_set(err, rc, "%s: cannot be written: %s", journal->path, strerror(-rc));
	return 0;
}

/* -- life -- */

static int journal_boot_id(struct journal *journal, const char *boot_id, struct err *err)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(256);
	int rc = 0;

	if (!boot_id) {
		rc = file_read("/proc/sys/kernel/random/boot_id", &buf, err);
		boot_id = buf_text(&buf);
	}
	if (rc < 0)
		return rc;
	snprintf(journal->boot_id, sizeof(journal->boot_id), "%.*s", (int)strcspn(boot_id, "\n"), boot_id);
	if (!journal->boot_id[0])
		return err_set(err, -EINVAL, "boot id: expected some text, found none");
	journal->seed = crc32c(0, journal->boot_id, strlen(journal->boot_id));
	return 0;
}

static int journal_open_files(struct journal *journal, const char *dir, struct err *err)
{
	int rc = file_make_dirs(dir, 0700, err);

	if (rc < 0)
		return rc;
	journal->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (journal->dir_fd < 0)
		return err_set(err, -errno, "%s: cannot be opened: %s", dir, strerror(errno));
	if (flock(journal->dir_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, errno == EWOULDBLOCK ? -EBUSY : -errno,
			"%s: another agent uses this directory (%s)", dir, strerror(errno));
	unlinkat(journal->dir_fd, FILE_NAME_NEW, 0);
	journal->fd = openat(journal->dir_fd, FILE_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (journal->fd < 0)
		return err_set(
			err, -errno, "%s: cannot be opened for writing: %s", journal->path, strerror(errno));
	return 0;
}

int journal_open(const char *dir, const char *boot_id, const struct journal_reader *reader,
	struct journal **ret, struct err *err)
{
	struct journal *journal = calloc(1, sizeof(*journal));
	int rc;

	if (!journal)
		return err_set(err, -ENOMEM, "no memory for the journal");
	journal->dir_fd = journal->fd = -1;
	snprintf(journal->path, sizeof(journal->path), "%s/%s", dir, FILE_NAME);
	rc = journal_boot_id(journal, boot_id, err);
	if (rc == 0)
		rc = journal_open_files(journal, dir, err);
	if (rc == 0)
		rc = journal_load(journal, reader, err);
	if (rc < 0) {
		journal_close(journal);
		return rc;
	}
	*ret = journal;
	return 0;
}

void journal_close(struct journal *journal)
{
	if (!journal)
		return;
	if (journal->fd >= 0)
		close(journal->fd);
	if (journal->dir_fd >= 0)
		close(journal->dir_fd);
	free(journal);
}

bool journal_damaged(const struct journal *journal)
{
	return journal->damaged;
}

size_t journal_size(const struct journal *journal)
{
	return journal->end;
}

/* -- writing -- */

int journal_reserve(struct journal *journal, size_t bytes, struct err *err)
{
	size_t want = journal->end + bytes;

	if (want <= journal->reserved)
		return 0;
	want += RESERVE_STEP;
	if (fallocate(journal->fd, FALLOC_FL_KEEP_SIZE, (off_t)journal->end, (off_t)(want - journal->end)) <
			0 &&
		errno != EOPNOTSUPP && errno != ENOSYS) {
		int code = -errno;

		return err_set(err, code, "%s: no room for %zu more bytes: %s", journal->path,
			want - journal->end, strerror(-code));
	}
	journal->reserved = want;
	return 0;
}

static int put_frame(struct buf *buf, uint32_t seed, const void *data, size_t len)
{
	static const char zero[8];
	struct frame frame = {.magic = FRAME_MAGIC_WORD, .len = (uint32_t)len};

	frame.crc = frame_crc(seed, data, frame.len);
	buf_add(buf, &frame, sizeof(frame));
	buf_add(buf, data, len);
	return buf_add(buf, zero, padded(len) - len);
}

int journal_append(struct journal *journal, const void *data, size_t len, struct err *err)
{
	_cleanup_(buf_free) struct buf buf = BUF_INIT(0);
	int rc;

	if (len > JOURNAL_RECORD_MAX)
		return err_set(err, -EMSGSIZE, "%s: a record of %zu bytes, at most %u are allowed",
			journal->path, len, JOURNAL_RECORD_MAX);
	rc = put_frame(&buf, journal->seed, data, len);
	if (rc == 0)
		rc = write_all_at(journal->fd, buf.data, buf.len, journal->end);
	if (rc < 0) {
		/* half a frame must not stand before a later, shorter one; a failure here is mended by
		 * overwriting */
		if (ftruncate(journal->fd, (off_t)journal->end) == 0)
			journal->reserved = 0;
		return err_set(err, rc, "%s: cannot be written: %s", journal->path, strerror(-rc));
	}
	journal->end += buf.len;
	return 0;
}

static int writer_flush(struct journal_writer *writer)
{
	if (!writer->error && writer->buf.len)
		writer->error = write_all_at(writer->fd, writer->buf.data, writer->buf.len, writer->end);
	writer->end += writer->buf.len;
	buf_reset(&writer->buf);
	return writer->error;
}

int journal_emit(struct journal_writer *writer, const void *data, size_t len)
{
	if (len > JOURNAL_RECORD_MAX)
		return -EMSGSIZE;
	if (!writer->error)
		writer->error = put_frame(&writer->buf, writer->seed, data, len);
	if (writer->buf.len >= WRITE_CHUNK)
		writer_flush(writer);
	return writer->error;
}

int journal_rewrite(struct journal *journal, int (*emit)(void *ctx, struct journal_writer *writer), void *ctx,
	struct err *err)
{
	_cleanup_close_ int fd = openat(
		journal->dir_fd, FILE_NAME_NEW, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct journal_writer writer = {.fd = fd, .seed = journal->seed, .buf = BUF_INIT(0)};
	struct header header;
	int rc;

	if (fd < 0)
		return err_set(err, -errno, "%s: cannot be rewritten: %s", journal->path, strerror(errno));
	header_fill(&header, journal->boot_id);
	buf_add(&writer.buf, &header, sizeof(header));
	rc = emit(ctx, &writer);
	if (rc >= 0)
		rc = writer_flush(&writer);
	buf_free(&writer.buf);
	if (rc >= 0 && renameat(journal->dir_fd, FILE_NAME_NEW, journal->dir_fd, FILE_NAME) < 0)
		rc = -errno;
	if (rc < 0) {
		unlinkat(journal->dir_fd, FILE_NAME_NEW, 0);
		return err_set(err, rc, "%s: cannot be rewritten: %s", journal->path, strerror(-rc));
	}
	close(journal->fd);
	journal->fd = TAKE_FD(fd);
	journal->end = writer.end;
	journal->reserved = 0;
	return 0;
}
