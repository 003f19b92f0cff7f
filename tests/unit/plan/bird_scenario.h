/* SPDX-License-Identifier: Apache-2.0
 *
 * A cluster as text, for the tests of BIRD's configuration: one JSON object with the members node, nodes, pools,
 * blocks, config, ports, peers, filters, services, slices, secrets; the words inside are those of Calico's resources.
 * bird_scenario_read, then input and complaints are there until bird_scenario_free.
 */
#pragma once

#include "plan/bird.h"

#include <jansson.h>

struct bird_scenario {
	struct bird_input input;
	struct bgp_config config;
	struct felix felix;
	struct buf complaints; /* "# object: text" a line, as input.complain collects them */
	json_t *json;
	struct bird_prefixes prefixes;
	void **kept;           /* everything allocated */
	size_t kept_count;
};

/* Ends the program with a message when the file is no scenario. */
void bird_scenario_read(const char *path, struct bird_scenario *ret);
void bird_scenario_free(struct bird_scenario *scenario);
