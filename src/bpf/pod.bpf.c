/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
 *
 * Programs for the host-side interface of a pod.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

/* The pod is being deleted: nothing passes any more, while the kernel takes its time to remove the device. */
SEC("tc")
int pod_closed(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
