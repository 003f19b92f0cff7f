/* SPDX-License-Identifier: Apache-2.0
 *
 * Host endpoints: an entry for each interface that has one, and the program where its packets come in. The one where packets
 * leave is that of all exits.
 */
#include "plane/policy_internal.h"

#include "base/cleanup.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

_Static_assert((int)VERDICT_LOCAL == (int)POLICY_TRAFFIC_LOCAL && (int)VERDICT_FORWARD == (int)POLICY_TRAFFIC_FORWARD &&
	(int)VERDICT_PRE_DNAT == (int)POLICY_TRAFFIC_PRE_DNAT && (int)VERDICT_UNTRACKED == (int)POLICY_TRAFFIC_UNTRACKED &&
	(int)VERDICT_TRAFFIC_COUNT == (int)POLICY_TRAFFIC_MAX, "kinds of traffic");

int policy_plane_list_hosts(struct policy_plane *plane, uint32_t **ret, size_t *ret_count, struct err *err)
{
	struct image image;
	uint32_t *list;
	int r = policy_maps_read(&plane->maps, POLICY_MAP_HOSTS, &image, err);

	if (r)
		return r;
	list = calloc(image.count + 1, sizeof(*list));
	for (size_t i = 0; list && i < image.count; i++)
		memcpy(&list[i], image.items + i * (image.key_size + image.value_size), sizeof(*list));
	*ret_count = image.count;
	image_free(&image);
	if (!list)
		return err_set(err, -ENOMEM, "no memory for host endpoints");
	*ret = list;
	return 0;
}

static bool is_among(const struct policy_host_port *hosts, size_t count, uint32_t ifindex)
{
	for (size_t i = 0; i < count; i++)
		if (hosts[i].ifindex == ifindex)
			return true;
	return false;
}

static int drop_others(struct policy_plane *plane, const struct policy_host_port *hosts, size_t count, struct err *err)
{
	_cleanup_free_ uint32_t *known = NULL;
	size_t known_count = 0;
	int r = policy_plane_list_hosts(plane, &known, &known_count, err);

	for (size_t i = 0; i < known_count && !r; i++) {
		if (is_among(hosts, count, known[i]))
			continue;
		r = policy_hooks_release_host(plane, known[i], err);
		if (!r && bpf_map_delete_elem(plane->maps.fd[POLICY_MAP_HOSTS], &known[i]) && errno != ENOENT)
			r = err_set(err, -errno, "policy map hosts: interface %u cannot be taken out: %s", known[i], strerror(errno));
	}
	return r;
}

/* The entry first: without one the program lets everything pass. */
static int put(struct policy_plane *plane, const struct policy_host_port *port, struct err *err)
{
	if (bpf_map_update_elem(plane->maps.fd[POLICY_MAP_HOSTS], &port->ifindex, &port->host, BPF_ANY))
		return err_set(err, -errno, "policy map hosts: interface %u cannot be entered: %s", port->ifindex, strerror(errno));
	return policy_hooks_guard_host(plane, port->ifindex, err);
}

int policy_plane_set_hosts(struct policy_plane *plane, const struct policy_host_port *hosts, size_t count, struct err *err)
{
	int r = drop_others(plane, hosts, count, err);

	for (size_t i = 0; i < count && !r; i++)
		r = put(plane, &hosts[i], err);
	return r;
}
