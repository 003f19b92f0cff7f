/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/hook.h"

#include "base/cleanup.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

/* linux/bpf.h of 6.6 */
#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS 47
#define FLAG_BEFORE (1U << 3) /* before which one is not said: before all */
/* Before filters of others, which take the higher numbers that the kernel counts down from 49152. */
#define FILTER_PRIORITY 84
#define FILTER_PRIORITY_FIRST 83
#define FILTER_HANDLE 1

static const char *point_name(const struct hook *hook)
{
	return hook->point == HOOK_INGRESS ? "ingress" : "egress";
}

/* libbpf 1.1 does not know this attach type. */
static int tcx_create(uint32_t ifindex, enum hook_point point, bool first, int prog_fd)
{
	union bpf_attr attr;
	long r;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = prog_fd;
	attr.link_create.target_ifindex = ifindex;
	attr.link_create.attach_type = point == HOOK_INGRESS ? ATTACH_TCX_INGRESS : ATTACH_TCX_EGRESS;
	attr.link_create.flags = first ? FLAG_BEFORE : 0;
	r = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	return r < 0 ? -errno : (int)r;
}

enum hook_kind hook_probe(void)
{
	static const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	_cleanup_close_ int prog = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "probe", "GPL", nothing, 2, NULL);

	/* No device has index 0: a kernel that knows tcx looks for it, one that does not refuses the type before. */
	return prog >= 0 && tcx_create(0, HOOK_INGRESS, false, prog) == -ENODEV ? HOOK_TCX : HOOK_CLSACT;
}

/* The device of a tcx link; 0 once it is gone. */
static uint32_t link_ifindex(int link_fd)
{
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);

	/* tcx and xdp have the index at the same place. */
	return bpf_obj_get_info_by_fd(link_fd, &info, &len) ? 0 : info.xdp.ifindex;
}

static int tcx_replace(const struct hook *hook, int prog_fd)
{
	_cleanup_close_ int link = -1;
	char fresh[PATH_MAX];
	int r;

	if (snprintf(fresh, sizeof(fresh), "%s-new", hook->pin) >= (int)sizeof(fresh))
		return -ENAMETOOLONG;
	link = tcx_create(hook->ifindex, hook->point, hook->first, prog_fd);
	if (link < 0)
		return link;
	unlink(fresh);
	r = bpf_obj_pin(link, fresh);
	if (r)
		return r;
	if (!rename(fresh, hook->pin))
		return 0;
	r = -errno;
	unlink(fresh);
	return r;
}

static int tcx_attach(const struct hook *hook, int prog_fd)
{
	_cleanup_close_ int link = bpf_obj_get(hook->pin);

	if (link >= 0 && link_ifindex(link) == hook->ifindex && !bpf_link_update(link, prog_fd, NULL))
		return 0;
	return tcx_replace(hook, prog_fd);
}

/* In place: libbpf refuses options whose padding is not zero, and a struct that is assigned may lose that. */
static void tc_opts_init(const struct hook *hook, struct bpf_tc_opts *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->sz = sizeof(*ret);
	ret->handle = FILTER_HANDLE;
	ret->priority = hook->priority ? hook->priority : hook->first ? FILTER_PRIORITY_FIRST : FILTER_PRIORITY;
}

static void tc_hook_init(const struct hook *hook, struct bpf_tc_hook *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->sz = sizeof(*ret);
	ret->ifindex = (int)hook->ifindex;
	ret->attach_point = hook->point == HOOK_INGRESS ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

static int clsact_attach(const struct hook *hook, int prog_fd)
{
	struct bpf_tc_opts opts;
	struct bpf_tc_hook at;
	int r;

	tc_hook_init(hook, &at);
	r = bpf_tc_hook_create(&at);
	if (r && r != -EEXIST)
		return r;
	tc_opts_init(hook, &opts);
	opts.prog_fd = prog_fd;
	opts.flags = BPF_TC_F_REPLACE;
	return bpf_tc_attach(&at, &opts);
}

int hook_attach(const struct hook *hook, int prog_fd, struct err *err)
{
	int r = hook->kind == HOOK_TCX ? tcx_attach(hook, prog_fd) : clsact_attach(hook, prog_fd);

	if (r)
		return err_set(err, r, "attaching a program to %s of device %u by %s: %s", point_name(hook), hook->ifindex,
			hook->kind == HOOK_TCX ? "tcx" : "clsact", strerror(-r));
	return 0;
}

bool hook_check(const struct hook *hook)
{
	struct bpf_tc_opts opts;
	struct bpf_tc_hook at;

	if (hook->kind == HOOK_TCX) {
		_cleanup_close_ int link = bpf_obj_get(hook->pin);

		return link >= 0 && link_ifindex(link) == hook->ifindex;
	}
	tc_hook_init(hook, &at);
	tc_opts_init(hook, &opts);
	return !bpf_tc_query(&at, &opts);
}

int hook_detach(const struct hook *hook, struct err *err)
{
	struct bpf_tc_opts opts;
	struct bpf_tc_hook at;
	int r;

	tc_hook_init(hook, &at);
	tc_opts_init(hook, &opts);
	if (hook->kind == HOOK_TCX)
		r = unlink(hook->pin) ? -errno : 0; /* the link's last reference */
	else
		r = bpf_tc_detach(&at, &opts);
	/* EINVAL: the device has no clsact qdisc. */
	if (!r || r == -ENOENT || r == -ENODEV || (r == -EINVAL && hook->kind == HOOK_CLSACT))
		return 0;
	return err_set(err, r, "detaching the program from %s of device %u: %s", point_name(hook), hook->ifindex,
		strerror(-r));
}
