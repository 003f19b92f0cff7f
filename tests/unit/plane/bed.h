/* SPDX-License-Identifier: Apache-2.0
 *
 * A test bed for the plane: a network namespace of the test's own with an uplink "up0" (one end of a veth pair, the
 * other is "up0x"), a loop, a plane whose changed() applies the wanted state again as the agent does, and ip, bridge
 * and nft as the outsider. bed_setup and bed_teardown are cmocka's; the bed is *state.
 */
#pragma once

#include "base/buf.h"
#include "plane/plane_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after them */
#include <cmocka.h>

struct bed {
	struct event_base *base;
	struct plane *plane;
	struct wanted wanted;
	unsigned changed;      /* calls */
	struct err err;        /* of the last apply */
	int result;
	int receive_buffer;
	const char *bpffs;     /* null: none that exists */
};

int bed_setup(void **state);
int bed_teardown(void **state);
void bed_start(struct bed *bed);   /* a new plane, as after a restart */
void bed_stop(struct bed *bed);
void bed_apply(struct bed *bed);   /* must succeed */
/* Runs the loop until check is true; fails the test after ten seconds, or TULLE_SLOW times as many where the
 * environment says so. */
void bed_wait(struct bed *bed, bool (*check)(struct bed *bed));
/* Runs the loop until nothing has been concerned for a while: shows that there is no endless loop. */
void bed_settle(struct bed *bed);

/* A command line, split at blanks, no quotes: must succeed. */
void bed_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, returning its exit code, with its output appended. */
int bed_try(struct buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void bed_feed(const char *program, const char *input); /* "nft": -f - */
/* Lines of the command's output that hold the text. */
size_t bed_count(const char *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Everything that the kernel holds and that somebody could miss, as text. */
char *bed_dump(void);

/* -- wanted -- */
struct addr bed_addr(const char *text);
struct prefix bed_prefix(const char *text);
struct mac bed_mac(const char *text);
void bed_want_vxlan(struct bed *bed, int family);        /* flannel.1 or flannel-v6.1 */
/* What flannel.md 4.1.6 wants of one peer; n from 1. */
void bed_want_peer(struct bed *bed, unsigned n, const char *mac, const char *public_ip);
void bed_want_peer6(struct bed *bed, unsigned n, const char *mac, const char *public_ip);
void bed_want_route(struct bed *bed, const char *dst, const char *via, const char *dev);
/* Forgets what is wanted, keeps the rest. */
void bed_want_none(struct bed *bed);
