/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/policy_internal.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#define EVENTS_PER_POLL 256 /* the loop has others to serve */

static int on_event(void *ctx, void *data, size_t size)
{
	struct policy_plane *plane = ctx;
	struct policy_event event;

	if (size < sizeof(event))
		return 0;
	memcpy(&event, data, sizeof(event));
	plane->options.event(plane->options.ctx, &event);
	return ++plane->polled < EVENTS_PER_POLL ? 0 : -ECANCELED;
}

int policy_events_open(struct policy_plane *plane, struct err *err)
{
	if (!plane->options.event)
		return 0;
	plane->ring = ring_buffer__new(plane->maps.fd[POLICY_MAP_EVENTS], on_event, plane, NULL);
	return plane->ring ? 0 : err_set(err, -errno, "policy map events: cannot be read: %s", strerror(errno));
}

void policy_events_done(struct policy_plane *plane)
{
	if (plane->ring)
		ring_buffer__free(plane->ring);
	plane->ring = NULL;
}

int policy_plane_watch(struct policy_plane *plane, bool on, struct err *err)
{
	uint32_t was = plane->state.watch;
	int r;

	if (was == on)
		return 0;
	plane->state.watch = on;
	r = policy_plane_write_state(plane, err);
	if (r)
		plane->state.watch = was;
	return r;
}

int policy_plane_event_fd(const struct policy_plane *plane)
{
	return plane->ring ? ring_buffer__epoll_fd(plane->ring) : -1;
}

bool policy_plane_poll(struct policy_plane *plane)
{
	if (!plane->ring)
		return true;
	plane->polled = 0;
	/* What is left makes the descriptor readable again. */
	ring_buffer__consume(plane->ring);
	return plane->polled < EVENTS_PER_POLL;
}
