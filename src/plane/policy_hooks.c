/* SPDX-License-Identifier: Apache-2.0
 *
 * The programs, and where they are attached: <bpffs>/policy/links/<interface index>-<role> is a pinned tcx link, or, where a
 * clsact filter does it, a directory that only says so. So a successor finds all that have the programs, whichever
 * way they were attached.
 */
#include "plane/policy_internal.h"

#include "base/cleanup.h"
#include "base/pages.h"

#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy.skel.h"

#define VERIFIER_LOG_SIZE (64 * 1024)
#define LEAVING_A_CALL 4 /* pins that are looked at while something else is done */

enum role { ROLE_FROM, ROLE_TO, ROLE_EXIT, ROLE_NET, ROLE_UPLINK, ROLE_TUNNEL, ROLE_COUNT };

/* Filters' priorities where the guard has one, too (83): at the uplinks' ingress. */
enum { PRIORITY_EXPRESS = 81, PRIORITY_NET = 82 };

static const struct {
	const char *name;
	enum hook_point point;
	unsigned priority;
} roles[ROLE_COUNT] = {
	[ROLE_FROM] = {"from", HOOK_INGRESS},
	[ROLE_TO] = {"to", HOOK_EGRESS},
	[ROLE_EXIT] = {"exit", HOOK_EGRESS},
	[ROLE_NET] = {"net", HOOK_INGRESS, PRIORITY_NET},
	[ROLE_UPLINK] = {"uplink", HOOK_INGRESS, PRIORITY_EXPRESS},
	[ROLE_TUNNEL] = {"tunnel", HOOK_INGRESS, PRIORITY_EXPRESS},
};

/* One of the places, with the path that hook.pin points to. */
struct place {
	struct hook hook;
	enum role role;
	char pin[PATH_MAX];
};

static void place_init(const struct policy_plane *plane, uint32_t ifindex, enum role role, struct place *ret)
{
	*ret = (struct place){.role = role, .hook = {.kind = role >= ROLE_EXIT ? plane->exit_kind : plane->pod_kind,
		.ifindex = ifindex, .point = roles[role].point, .first = true, .priority = roles[role].priority}};
	snprintf(ret->pin, sizeof(ret->pin), "%s/%u-%s", plane->links_dir, ifindex, roles[role].name);
	ret->hook.pin = ret->pin;
}

/* How it was attached; 0: it was not. */
static enum hook_kind recorded_kind(const struct place *place)
{
	struct stat st;

	if (lstat(place->pin, &st))
		return 0;
	return S_ISDIR(st.st_mode) ? HOOK_CLSACT : HOOK_TCX;
}

static bool is_attached(const struct place *place)
{
	struct hook hook = place->hook;

	hook.kind = recorded_kind(place);
	return hook.kind && hook_check(&hook);
}

/* -- programs -- */

static int share_maps(struct policy_bpf *programs, const struct policy_maps *maps)
{
	int r = 0;

	for (int i = 0; i < POLICY_MAP_COUNT && !r; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(programs->obj, policy_map_name(i));

		r = map ? bpf_map__reuse_fd(map, maps->fd[i]) : -ENOENT;
	}
	return r;
}

static struct policy_bpf *open_programs(char *log, bool conntrack, bool express)
{
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, opts, .kernel_log_buf = log, .kernel_log_size = VERIFIER_LOG_SIZE);
	struct policy_bpf *programs = policy_bpf__open_opts(&opts);

	if (!programs)
		return NULL;
	((struct policy_config *)(void *)&programs->rodata->config)->conntrack = conntrack;
	((struct policy_config *)(void *)&programs->rodata->config)->express = express;
	return programs;
}

static void close_all(int *fds)
{
	for (int role = 0; fds && role < ROLE_COUNT; role++)
		if (fds[role] > 0)
			close(fds[role]);
	free(fds);
}

/* The programs alone: what libbpf keeps of an object is a megabyte, and so are the pages that it was read from. */
static int keep_programs(const struct policy_bpf *programs, int **ret)
{
	const struct bpf_program *const all[ROLE_COUNT] = {
		[ROLE_FROM] = programs->progs.policy_from_pod,
		[ROLE_TO] = programs->progs.policy_to_pod,
		[ROLE_EXIT] = programs->progs.policy_exit,
		[ROLE_NET] = programs->progs.policy_from_net,
		[ROLE_UPLINK] = programs->progs.express_from_net,
		[ROLE_TUNNEL] = programs->progs.express_from_tunnel,
	};
	int *fds = calloc(ROLE_COUNT, sizeof(*fds));

	for (int role = 0; fds && role < ROLE_COUNT; role++) {
		fds[role] = fcntl(bpf_program__fd(all[role]), F_DUPFD_CLOEXEC, 3);
		if (fds[role] < 0) {
			int r = -errno;

			close_all(fds);
			return r;
		}
	}
	*ret = fds;
	return fds ? 0 : -ENOMEM;
}

static int load(const struct policy_plane *plane, bool conntrack, int **ret, struct err *err)
{
	_cleanup_free_ char *log = calloc(1, VERIFIER_LOG_SIZE);
	struct policy_bpf *programs;
	int r;

	if (!log)
		return err_set(err, -ENOMEM, "no memory to load the policy programs");
	programs = open_programs(log, conntrack, plane->options.express);
	if (!programs)
		return err_set(err, -errno, "opening the policy programs: %s", strerror(errno));
	r = share_maps(programs, &plane->maps);
	if (!r)
		r = policy_bpf__load(programs);
	if (!r)
		r = keep_programs(programs, ret);
	policy_bpf__destroy(programs);
	return r ? err_set(err, r, "loading the policy programs: %s; %s", strerror(-r), verifier_words(log)) : 0;
}

int policy_hooks_load(struct policy_plane *plane, struct err *err)
{
	size_t size;
	const void *elf = policy_bpf__elf_bytes(&size);
	int r = load(plane, true, &plane->program_fds, NULL);

	plane->conntrack = r == 0;
	if (r)
		r = load(plane, false, &plane->program_fds, err);
	pages_give_back(elf, size);
	return r;
}

void policy_hooks_done(struct policy_plane *plane)
{
	close_all(plane->program_fds);
	plane->program_fds = NULL;
	free(plane->leaving);
	plane->leaving = NULL;
	plane->leaving_count = plane->leaving_room = 0;
}

/* -- attaching -- */

static int detach(const struct place *place, struct err *err)
{
	struct hook hook = place->hook;
	int r;

	hook.kind = recorded_kind(place);
	if (!hook.kind)
		return 0;
	r = hook_detach(&hook, err);
	if (!r && hook.kind == HOOK_CLSACT)
		rmdir(place->pin);
	return r;
}

/* Nothing goes by a device while it gets its clsact qdisc. A pod that has packets under way gets none, if there is another way,
 * and keeps that. */
static enum hook_kind kind_for(const struct policy_plane *plane, const struct place *place, enum hook_kind old, bool running)
{
	if (place->role < ROLE_EXIT && plane->exit_kind == HOOK_TCX && (old == HOOK_TCX || (running && !old)))
		return HOOK_TCX;
	return place->hook.kind;
}

/* The other way than the one that is recorded: the new one stands before the old one goes. */
static int change_kind(const struct place *place, const struct hook *hook, int prog_fd, struct err *err)
{
	struct hook old = place->hook;
	int r;

	old.kind = recorded_kind(place);
	if (old.kind == HOOK_CLSACT)
		rmdir(place->pin);
	r = hook_attach(hook, prog_fd, err);
	if (!r)
		r = hook_detach(&old, err);
	return r;
}

static int attach(const struct policy_plane *plane, const struct place *place, bool running, struct err *err)
{
	enum hook_kind old = recorded_kind(place);
	int prog = plane->program_fds[place->role], r;
	struct hook hook = place->hook;

	hook.kind = kind_for(plane, place, old, running);
	if (old && old != hook.kind)
		r = change_kind(place, &hook, prog, err);
	else
		r = hook_attach(&hook, prog, err);
	if (r)
		return err_wrap(err, "policy"), r;
	if (hook.kind == HOOK_CLSACT && mkdir(place->pin, 0700) && errno != EEXIST)
		return err_set(err, -errno, "%s: cannot be made: %s", place->pin, strerror(errno));
	return 0;
}

/* -- all that have programs -- */

static bool parse_place(const struct policy_plane *plane, const char *name, struct place *ret)
{
	char *end;
	unsigned long ifindex = strtoul(name, &end, 10);

	for (int i = 0; i < ROLE_COUNT; i++)
		if (*end == '-' && ifindex && ifindex <= INT_MAX && !strcmp(end + 1, roles[i].name)) {
			place_init(plane, (uint32_t)ifindex, i, ret);
			return true;
		}
	return false;
}

/* A link that was being replaced when its maker died. */
static void drop_unfinished(const struct policy_plane *plane, const char *name)
{
	char path[PATH_MAX + NAME_MAX];

	if (name[0] == '.')
		return;
	snprintf(path, sizeof(path), "%s/%s", plane->links_dir, name);
	unlink(path);
}

/* Calls each for all, whatever fails, and returns the first failure. */
static int each_place(const struct policy_plane *plane,
	int (*each)(const struct policy_plane *plane, const struct place *place, struct err *err), struct err *err)
{
	struct dirent **list;
	int count = scandir(plane->links_dir, &list, NULL, NULL), first = 0;

	if (count < 0)
		return errno == ENOENT ? 0 : err_set(err, -errno, "%s: %s", plane->links_dir, strerror(errno));
	for (int i = 0; i < count; i++) {
		struct place place;

		if (parse_place(plane, list[i]->d_name, &place)) {
			int r = each(plane, &place, first ? NULL : err);

			first = first ? first : r;
		} else {
			drop_unfinished(plane, list[i]->d_name);
		}
		free(list[i]);
	}
	free(list);
	return first;
}

static void drop_pin(const struct place *place)
{
	if (unlink(place->pin))
		rmdir(place->pin);
}

static int update_place(const struct policy_plane *plane, const struct place *place, struct err *err)
{
	if (is_attached(place))
		return attach(plane, place, true, err);
	drop_pin(place);
	return 0;
}

static int sweep_place(const struct policy_plane *plane, const struct place *place, struct err *err)
{
	if (!is_attached(place))
		drop_pin(place);
	return 0;
}

static int detach_place(const struct policy_plane *plane, const struct place *place, struct err *err)
{
	return detach(place, err);
}

static int stop_at_first(const struct policy_plane *plane, const struct place *place, struct err *err)
{
	return is_attached(place) ? -EEXIST : 0;
}

int policy_hooks_update_all(struct policy_plane *plane, struct err *err)
{
	return each_place(plane, update_place, err);
}

bool policy_hooks_any(const struct policy_plane *plane)
{
	return each_place(plane, stop_at_first, NULL) != 0;
}

void policy_hooks_sweep(struct policy_plane *plane)
{
	each_place(plane, sweep_place, NULL);
}

int policy_hooks_remove(struct policy_plane *plane, struct err *err)
{
	int r = each_place(plane, detach_place, err);

	rmdir(plane->links_dir);
	return r;
}

/* -- pods that leave -- */

static bool sweep_pod(struct policy_plane *plane, uint32_t ifindex)
{
	bool gone = true;

	for (int role = ROLE_FROM; role <= ROLE_TO; role++) {
		struct place place;

		place_init(plane, ifindex, role, &place);
		if (is_attached(&place))
			gone = false;
		else
			drop_pin(&place);
	}
	return gone;
}

/* Interfaces go some time after their pods: each call looks at a few that it waits for. */
static void sweep_leaving(struct policy_plane *plane)
{
	for (int n = 0; n < LEAVING_A_CALL && plane->leaving_count; n++) {
		uint32_t ifindex = plane->leaving[0];

		plane->leaving_count--;
		memmove(plane->leaving, plane->leaving + 1, plane->leaving_count * sizeof(*plane->leaving));
		if (!policy_pods_has(plane, ifindex) && !sweep_pod(plane, ifindex))
			plane->leaving[plane->leaving_count++] = ifindex;
	}
}

void policy_hooks_leave(struct policy_plane *plane, uint32_t ifindex)
{
	sweep_leaving(plane);
	if (plane->leaving_count == plane->leaving_room) {
		size_t room = plane->leaving_room ? plane->leaving_room * 2 : 64;
		uint32_t *leaving = reallocarray(plane->leaving, room, sizeof(*leaving));

		if (!leaving) /* policy_plane_keep_pods finds it */
			return;
		plane->leaving = leaving;
		plane->leaving_room = room;
	}
	plane->leaving[plane->leaving_count++] = ifindex;
}

/* -- the door -- */

static int guard(struct policy_plane *plane, uint32_t ifindex, enum role first, enum role last, bool running, struct err *err)
{
	int r = 0;

	for (int role = first; role <= (int)last && !r; role++) {
		struct place place;

		place_init(plane, ifindex, role, &place);
		r = attach(plane, &place, running, err);
	}
	return r;
}

static bool has_all(const struct policy_plane *plane, uint32_t ifindex, enum role first, enum role last)
{
	for (int role = first; role <= (int)last; role++) {
		struct place place;

		place_init(plane, ifindex, role, &place);
		if (!is_attached(&place))
			return false;
	}
	return true;
}

int policy_hooks_update_pod(struct policy_plane *plane, uint32_t ifindex, struct err *err)
{
	return has_all(plane, ifindex, ROLE_FROM, ROLE_TO) ? guard(plane, ifindex, ROLE_FROM, ROLE_TO, true, err) : 0;
}

static int guard_pod(struct policy_plane *plane, uint32_t ifindex, bool running, struct err *err)
{
	sweep_leaving(plane);
	if (plane->behind && !policy_pods_has(plane, ifindex) && has_all(plane, ifindex, ROLE_FROM, ROLE_TO))
		return 0;
	return guard(plane, ifindex, ROLE_FROM, ROLE_TO, running, err);
}

int policy_plane_guard_pod(struct policy_plane *plane, uint32_t ifindex, struct err *err)
{
	return guard_pod(plane, ifindex, false, err);
}

int policy_plane_guard_running_pod(struct policy_plane *plane, uint32_t ifindex, struct err *err)
{
	return guard_pod(plane, ifindex, true, err);
}

bool policy_plane_check_pod(const struct policy_plane *plane, uint32_t ifindex)
{
	return has_all(plane, ifindex, ROLE_FROM, ROLE_TO);
}

int policy_plane_guard_exit(struct policy_plane *plane, uint32_t ifindex, struct err *err)
{
	if (plane->behind && has_all(plane, ifindex, ROLE_EXIT, ROLE_EXIT))
		return 0;
	return guard(plane, ifindex, ROLE_EXIT, ROLE_EXIT, false, err);
}

bool policy_plane_check_exit(const struct policy_plane *plane, uint32_t ifindex)
{
	return has_all(plane, ifindex, ROLE_EXIT, ROLE_EXIT);
}

int policy_plane_release_exit(struct policy_plane *plane, uint32_t ifindex, struct err *err)
{
	struct place place;

	place_init(plane, ifindex, ROLE_EXIT, &place);
	return detach(&place, err);
}

int policy_hooks_guard_host(struct policy_plane *plane, uint32_t ifindex, struct err *err)
{
	return guard(plane, ifindex, ROLE_NET, ROLE_NET, false, err);
}

int policy_hooks_release_host(struct policy_plane *plane, uint32_t ifindex, struct err *err)
{
	struct place place;

	place_init(plane, ifindex, ROLE_NET, &place);
	return detach(&place, err);
}

bool policy_plane_check_host(const struct policy_plane *plane, uint32_t ifindex)
{
	return has_all(plane, ifindex, ROLE_NET, ROLE_NET);
}

int policy_plane_guard_express(struct policy_plane *plane, uint32_t ifindex, bool tunnel, struct err *err)
{
	enum role role = tunnel ? ROLE_TUNNEL : ROLE_UPLINK;

	return guard(plane, ifindex, role, role, false, err);
}

bool policy_plane_check_express(const struct policy_plane *plane, uint32_t ifindex, bool tunnel)
{
	enum role role = tunnel ? ROLE_TUNNEL : ROLE_UPLINK;

	return has_all(plane, ifindex, role, role);
}

int policy_plane_release_express(struct policy_plane *plane, uint32_t ifindex, struct err *err)
{
	int r = 0;

	for (int role = ROLE_UPLINK; role <= ROLE_TUNNEL && !r; role++) {
		struct place place;

		place_init(plane, ifindex, role, &place);
		r = detach(&place, err);
	}
	return r;
}

size_t policy_plane_list_express(const struct policy_plane *plane, uint32_t *ret, size_t max)
{
	struct dirent **list;
	int count = scandir(plane->links_dir, &list, NULL, NULL);
	size_t n = 0;

	for (int i = 0; i < count; i++) {
		struct place place;

		if (parse_place(plane, list[i]->d_name, &place) && place.role >= ROLE_UPLINK && n < max)
			ret[n++] = place.hook.ifindex;
		free(list[i]);
	}
	if (count >= 0)
		free(list);
	return n;
}
