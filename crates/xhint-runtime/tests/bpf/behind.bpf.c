// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Behind XDP: how much metadata packets of UDP have still. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct {
	__u64 with, without;
} behind;

SEC("tc")
int length(struct __sk_buff *skb)
{
	void *meta = (void *)(long)skb->data_meta, *data = (void *)(long)skb->data;

	if (skb->protocol != 8)
		return TC_ACT_OK;
	if (meta + 4 > data)
		behind.without++;
	else
		behind.with++;
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
