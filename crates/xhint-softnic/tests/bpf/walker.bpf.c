// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Follows the pointer in the metadata of the layout `walked` to the device behind it. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

struct net_device {
	int ifindex;
} __attribute__((preserve_access_index));

struct xdp_rxq_info {
	struct net_device *dev;
	__u32 queue_index;
} __attribute__((preserve_access_index));

struct walked {
	struct xdp_rxq_info *ptr_to_rx;
	__u32 rx_queue;
	__u32 btf_id;
};

/* Packets; the device's number; packets whose queue is another than the descriptor's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} found SEC(".maps");

static __always_inline void put(__u32 what, __u64 value, int add)
{
	__u64 *at = bpf_map_lookup_elem(&found, &what);

	if (at)
		*at = add ? *at + value : value;
}

SEC("xdp")
int walker(struct xdp_md *ctx)
{
	struct walked *m = (void *)(long)ctx->data_meta;
	struct xdp_rxq_info *rx;

	if ((void *)(m + 1) > (void *)(long)ctx->data)
		return XDP_DROP;
	put(0, 1, 1);
	rx = m->ptr_to_rx;
	put(1, BPF_CORE_READ(rx, dev, ifindex), 0);
	put(2, BPF_CORE_READ(rx, queue_index) != m->rx_queue, 1);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
