/* SPDX-License-Identifier: Apache-2.0
 *
 * What BIRD says, line by line, as structs: "show status", "show protocols all", "show route all". Pure. Lines that are
 * not understood are passed over: another BIRD may say more.
 */
#pragma once

#include "base/addr.h"

#include <stddef.h>

#define BIRD_WORD 64
#define BIRD_SENTENCE 192

struct bird_session {
	char name[BIRD_WORD];            /* Mesh_10_0_0_2 */
	char description[BIRD_SENTENCE]; /* "mesh with node b", "BGPPeer rack1" */
	char state[24];                  /* Established, Active, Connect, Idle, OpenSent, OpenConfirm, Passive, Close, Down */
	char since[24];                  /* of the protocol's state: for an established one, how long it stands */
	char error[BIRD_SENTENCE];       /* what BIRD says of the last failure; "" */
	struct addr neighbor;
	uint32_t neighbor_as, local_as;
	uint32_t imported, exported, limit;
	bool established, limit_hit;
};

struct bird_sessions {
	struct bird_session *items;
	size_t count, room;
	bool in_bgp; /* the lines belong to the last of items */
};

/* One line of "show protocols all". 0 or -ENOMEM. */
int bird_sessions_line(struct bird_sessions *sessions, int code, const char *text);
void bird_sessions_free(struct bird_sessions *sessions);

struct bird_daemon {
	char version[BIRD_WORD]; /* "BIRD 2.0.12" */
	char router_id[24];
	char started[32], configured[32];
};

void bird_daemon_line(struct bird_daemon *daemon, int code, const char *text);

struct bird_route {
	struct prefix prefix;
	char kind[24];             /* unicast, blackhole, unreachable, prohibit */
	char protocol[BIRD_WORD];  /* Mesh_10_0_0_2, kernel4, blocks4 … */
	char since[24];
	bool best;
	uint32_t preference;
	struct addr via;           /* the first next hop; unset: none */
	char dev[16];
	unsigned hops;             /* next hops in all */
	uint32_t local_pref;       /* 0: none */
	char as_path[BIRD_SENTENCE];
	struct addr next_hop;      /* as BGP has it */
};

struct bird_routes {
	struct bird_route *items;
	size_t count, room, max;
	bool more;                 /* there were more than max */
	bool in_route;
	struct prefix prefix;      /* of the lines that follow */
};

/* One line of "show route all". 1: enough, there are more than max. 0, -ENOMEM. */
int bird_routes_line(struct bird_routes *routes, int code, const char *text);
void bird_routes_free(struct bird_routes *routes);

/* What 8002 says: "/run/x/bird.conf:12:5 syntax error" → 12 and "syntax error"; 0 when there is no line in it. */
unsigned bird_error_line(const char *text, const char **ret_what);
