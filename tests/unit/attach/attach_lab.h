/* SPDX-License-Identifier: Apache-2.0
 *
 * A node for the kernel tests of pod attachment: a network namespace of the test process's own, pods as
 * further namespaces, a state directory, an attacher. lab_enter once in main, lab_setup and lab_teardown
 * around each test.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "attach/attach.h"
#include "attach/attach_internal.h"

#include <event2/event.h>

#define LAB_PODS 256

struct lab {
	char dir[64], host_local[96], flannel[96];
	struct event_base *base;
	struct attacher *attacher;
	struct network network;
	struct lease own;
	const char *boot_id;
	unsigned cooldown_s;
	int node;            /* network namespace */
	int netns[LAB_PODS]; /* of pods, -1 = none yet */
	json_t *flannel_conf; /* when set, requests are of conf type flannel */
	int changes;
	char reports[8192];
};

/* Into namespaces of its own; exits with 77 (skipped) without the right to. */
void lab_enter(void);
int lab_setup(void **state); /* dual stack, 10.1.2.0/24 and fd00:1:2::/64 */
int lab_teardown(void **state);
void lab_network(
	struct lab *lab, const char *v4, const char *v6); /* blocks; null: none. Told to the attacher */
void lab_start(struct lab *lab);                          /* the attacher, recovered */
void lab_stop(struct lab *lab);

int lab_pod(struct lab *lab, int n); /* namespace of pod n, made when it is missing */
void lab_pod_gone(struct lab *lab, int n);
/* Request for pod n: container "cN", eth0, default route. */
struct attach_request lab_request(struct lab *lab, int n);
void lab_add(struct lab *lab, int n, struct attachment *ret);
void lab_del(struct lab *lab, int n);
void lab_turn(struct lab *lab, int ms); /* runs the loop at most so long, until nothing is closing */

#define LAB_PLUGINS "/usr/lib/cni" /* Debian's bridge and host-local */
/* The state file of Flannel's plugin for pod n, in network "cbr0". */
void lab_write_state(struct lab *lab, int n);
/* Runs bridge for pod n with its state file on stdin, as Flannel's plugin does; DEL with or without the pod's
 * namespace. Fails the test unless that succeeds. */
void lab_bridge(struct lab *lab, const char *command, int n, bool netns);
void lab_bridge_add(struct lab *lab, int n); /* the state file, and ADD */

/* Runs a program (words separated by one space) inside a namespace (-1: the node's); its exit status. */
int lab_run(int netns, const char *words);
bool lab_pings(
	struct lab *lab, int n, const struct addr *to); /* from pod n (-1: the node), within a second */
bool lab_reaches(
	struct lab *lab, int n, const struct addr *to); /* within ten seconds: others' addresses need DAD */
/* No interface but lo, no route of ours, no file in Flannel's directories; and no eth0 in the pods. */
void lab_assert_clean(struct lab *lab);
/* State files in Flannel's directory, and reservations in host-local's. */
size_t lab_states(struct lab *lab);
size_t lab_reservations(struct lab *lab);
size_t lab_links(void); /* interfaces on the node, lo left out */
