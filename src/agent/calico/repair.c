/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses that nobody gives back (ipam/repair.h): whose pods this agent knows to live, and which agent cleans up after
 * deleted nodes.
 */
#include "agent/calico/internal.h"

#include <errno.h>
#include <stdlib.h>

#define LEASE_NAME "tulle-ipam"
/* Of the time between scans: a minute of five for what was found once, half a minute for a leader that is gone. */
#define GRACE_SHARE 5
#define LEASE_SHARE 10
#define LEASE_LEAST_S 3 /* it is reckoned in whole seconds, and renewed three times in its life */

static void on_election(void *ctx, const char *text)
{
	struct calico *calico = ctx;

	problems_set(calico->agent->problems, "IPAM lease", text);
}

static void on_repair(void *ctx, const char *text)
{
	log_info("IPAM repair: %s", text);
}

/* Pods that are just being made have their addresses from the batch, whose books are looked at before. */
static bool lives(void *ctx, const char *handle, const struct addr *addr)
{
	const struct calico *calico = ctx;

	return calico_is_locked(calico) || attach_lives_at(calico->agent->attacher, addr);
}

static bool leads(void *ctx)
{
	const struct calico *calico = ctx;

	return !calico_is_locked(calico) && calico->election && election_is_won(calico->election);
}

static unsigned share(const struct calico *calico, unsigned of, unsigned least, unsigned most)
{
	unsigned seconds = (unsigned)calico->agent->options.ipam_repair_period / of;

	return seconds < least ? least : seconds > most ? most : seconds;
}

void calico_election_start(struct calico *calico)
{
	const char *namespace = getenv("POD_NAMESPACE");
	struct election_options options = {
		.namespace = namespace && *namespace ? namespace : "kube-system",
		.name = LEASE_NAME,
		.duration_s = share(calico, LEASE_SHARE, LEASE_LEAST_S, 30),
		.report = on_election,
		.ctx = calico,
	};

	if (!calico->election && allocator_world(calico->allocator) &&
		election_new(calico->agent->base, calico->allocator, &options, &calico->election) < 0)
		log_warning("IPAM lease: no memory to take part in its election");
}

int calico_repair_init(struct calico *calico)
{
	struct repair_options options = {
		.period_s = (unsigned)calico->agent->options.ipam_repair_period,
		.grace_s = share(calico, GRACE_SHARE, 1, 60),
		.lives = lives,
		.leads = leads,
		.report = on_repair,
		.ctx = calico,
	};

	return repair_new(calico->agent->base, calico->allocator, calico->reserve, &options, &calico->repair);
}

void calico_election_free(struct calico *calico)
{
	election_free(calico->election);
	calico->election = NULL;
}

void calico_repair_free(struct calico *calico)
{
	repair_free(calico->repair);
	calico->repair = NULL;
}
