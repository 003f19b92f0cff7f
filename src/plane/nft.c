/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/nft.h"

#include "base/cleanup.h"
#include "plane/nftables.h"

#include <errno.h>
#include <string.h>

#define TIMEOUT_MS 10000

int children_run(struct children *children, const char *const *argv, const char *input, size_t len,
	struct process_result *ret, struct err *err)
{
	int r = process_run(argv, input, len, TIMEOUT_MS, ret, err);

	if (r == 0)
		children->pids[children->next++ % CHILDREN_KEPT] = ret->pid;
	return r;
}

void nft_init(struct nft *nft, const char *program)
{
	*nft = (struct nft){.program = program, .dirty = true};
}

void nft_done(struct nft *nft)
{
	buf_free(&nft->applied);
}

/* FNV-1a. */
static uint64_t hash(const struct buf *buf)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < buf->len; i++)
		h = (h ^ (uint8_t)buf->data[i]) * 0x100000001b3;
	return h ? h : 1;
}

/* 0 in *ret when there is no such table. */
static int list(struct nft *nft, struct children *children, uint64_t *ret, struct err *err)
{
	const char *argv[] = {nft->program, "-s", "list", "table", "inet", NFT_TABLE, NULL};
	_cleanup_(process_result_free) struct process_result result = {0};
	int r = children_run(children, argv, NULL, 0, &result, err);

	if (r == 0)
		*ret = result.status == 0 ? hash(&result.out) : 0;
	return r;
}

static int load(struct nft *nft, const struct buf *text, struct children *children, struct err *err)
{
	const char *argv[] = {nft->program, "-f", "-", NULL};
	_cleanup_(process_result_free) struct process_result result = {0};
	char complaint[512];
	int r = children_run(children, argv, text->data, text->len, &result, err);

	if (r < 0)
		return r;
	if (result.status != 0)
		return err_set(err, -EINVAL, "%s -f -: %s", nft->program,
			process_complaint(&result, complaint, sizeof(complaint)));
	return 0;
}

int nft_remove(struct nft *nft, struct children *children, bool dry, bool *ret_there, struct err *err)
{
	static const char text[] = "delete table inet " NFT_TABLE "\n";
	struct buf command = {.data = (char *)text, .len = sizeof(text) - 1};
	uint64_t listing = 0;
	int r = list(nft, children, &listing, err);

	*ret_there = false;
	/* without nft there is no table of ours either */
	if (r == -ENOENT)
		return 0;
	if (r == 0 && listing) {
		r = dry ? 0 : load(nft, &command, children, err);
		*ret_there = r == 0;
	}
	return r;
}

static int put(struct nft *nft, const struct buf *text, struct children *children, struct err *err)
{
	int r = load(nft, text, children, err);

	if (r < 0)
		return r;
	buf_reset(&nft->applied);
	buf_add(&nft->applied, text->data, text->len);
	nft->listing = 0;
	list(nft, children, &nft->listing, NULL);
	return 0;
}

static bool is_applied(const struct nft *nft, const struct buf *text)
{
	return nft->known && text->len == nft->applied.len && memcmp(text->data, nft->applied.data, text->len) == 0;
}

static int put_none(struct nft *nft, enum nft_care care, struct children *children, struct err *err)
{
	bool removed;
	int r;

	if (care != NFT_CARE_NONE && !nft->applied.len)
		return 0;
	r = nft_remove(nft, children, false, &removed, err);
	if (r == 0) {
		buf_reset(&nft->applied);
		nft->known = true;
		nft->dirty = nft->kept = false;
	}
	return r;
}

/* Does a table stand that the new text would replace? */
static int look_for_standing(struct nft *nft, struct children *children, bool *ret, struct err *err)
{
	uint64_t listing = 0;
	int r = nft->kept && !nft->dirty ? 0 : list(nft, children, &listing, err);

	if (r < 0)
		return r;
	*ret = listing || (nft->kept && !nft->dirty);
	nft->kept = *ret;
	if (*ret)
		nft->dirty = false;
	return 0;
}

int nft_apply(struct nft *nft, const struct buf *text, enum nft_care care, struct children *children, bool *ret_repaired,
	struct err *err)
{
	bool same = text->len ? is_applied(nft, text) : nft->known && !nft->applied.len;
	bool stands = false;
	uint64_t listing = 0;
	int r;

	*ret_repaired = false;
	if (same && !nft->dirty)
		return 0;
	if (!text->len)
		return put_none(nft, care, children, err);
	if (care == NFT_CARE_STANDING && !same) {
		r = look_for_standing(nft, children, &stands, err);
		if (r < 0 || stands)
			return r;
	}
	if (same && nft->listing) {
		r = list(nft, children, &listing, err);
		if (r < 0)
			return r;
		nft->dirty = listing != nft->listing;
		if (!nft->dirty)
			return 0;
	}
	nft->dirty = true;
	r = put(nft, text, children, err);
	if (r < 0)
		return r;
	*ret_repaired = same;
	nft->known = true;
	nft->dirty = nft->kept = false;
	return 0;
}
