/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/podprog.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <string.h>
#include <unistd.h>

#include "pod.skel.h"

#define FIRST_PRIORITY 1
#define HANDLE 1

struct podprog {
	int closed;
};

static int be_quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

int podprog_new(struct podprog **ret, struct err *err)
{
	_cleanup_free_ struct podprog *podprog = calloc(1, sizeof(*podprog));
	struct pod_bpf *programs;
	int error;

	if (!podprog)
		return err_set(err, -ENOMEM, "no memory for the pod programs");
	libbpf_set_print(be_quiet);
	programs = pod_bpf__open_and_load();
	if (!programs)
		return err_set(err, -errno, "loading the pod programs: %s", strerror(errno));
	podprog->closed = fcntl(bpf_program__fd(programs->progs.pod_closed), F_DUPFD_CLOEXEC, 3);
	error = errno;
	pod_bpf__destroy(programs); /* what libbpf keeps of it is needed no more */
	if (podprog->closed < 0)
		return err_set(err, -error, "keeping the pod program: %s", strerror(error));
	*ret = TAKE_PTR(podprog);
	return 0;
}

void podprog_free(struct podprog *podprog)
{
	if (!podprog)
		return;
	close(podprog->closed);
	free(podprog);
}

static int add_qdisc(struct nl *nl, uint32_t ifindex)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_NEWQDISC, NLM_F_CREATE);
	struct tcmsg *tc = nl_extra(msg, sizeof(*tc));

	tc->tcm_ifindex = (int)ifindex;
	tc->tcm_parent = TC_H_CLSACT;
	tc->tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
	mnl_attr_put_strz(msg, TCA_KIND, "clsact");
	return nl_batch_add(nl, msg, NULL);
}

static int add_filter(struct nl *nl, uint32_t ifindex, uint32_t side, int prog_fd)
{
	struct nlmsghdr *msg = nl_begin(nl, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE);
	struct tcmsg *tc = nl_extra(msg, sizeof(*tc));
	struct nlattr *options;

	tc->tcm_ifindex = (int)ifindex;
	tc->tcm_parent = TC_H_MAKE(TC_H_CLSACT, side);
	tc->tcm_info = TC_H_MAKE(FIRST_PRIORITY << 16, htons(ETH_P_ALL));
	tc->tcm_handle = HANDLE;
	mnl_attr_put_strz(msg, TCA_KIND, "bpf");
	options = mnl_attr_nest_start(msg, TCA_OPTIONS);
	mnl_attr_put_u32(msg, TCA_BPF_FD, (uint32_t)prog_fd);
	mnl_attr_put_strz(msg, TCA_BPF_NAME, "tulle_closed");
	mnl_attr_put_u32(msg, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
	mnl_attr_nest_end(msg, options);
	return nl_batch_add(nl, msg, NULL);
}

int podprog_close(const struct podprog *podprog, struct nl *nl, uint32_t ifindex, struct err *err)
{
	int r = add_qdisc(nl, ifindex);

	if (!r)
		r = add_filter(nl, ifindex, TC_H_MIN_INGRESS, podprog->closed);
	if (!r)
		r = add_filter(nl, ifindex, TC_H_MIN_EGRESS, podprog->closed);
	if (r)
		return err_set(err, r, "closing device %u: %s", ifindex, strerror(-r));
	r = nl_batch_flush(nl, NULL, NULL, err);
	return r ? err_wrap(err, "closing device %u", ifindex) : 0;
}
