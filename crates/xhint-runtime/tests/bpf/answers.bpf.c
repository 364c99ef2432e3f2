// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What a driver answers to the metadata kfuncs, for the packet that came last; and a tag for what leaves. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum xdp_rss_hash_type { XDP_RSS_TYPE_NONE };

extern int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx, __u64 *timestamp) __ksym;
extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash, enum xdp_rss_hash_type *type) __ksym;
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *proto, __u16 *tci) __ksym;

struct answers {
	__u64 packets;
	__u64 timestamp;
	__s32 timestamp_code;
	__s32 hash_code;
	__u32 hash;
	enum xdp_rss_hash_type hash_type;
	__s32 vlan_code;
	__be16 vlan_proto;
	__u16 vlan_tci;
} last;

SEC("xdp")
int ask(struct xdp_md *ctx)
{
	struct answers now = { .packets = last.packets + 1, .timestamp = 1 };

	now.timestamp_code = bpf_xdp_metadata_rx_timestamp(ctx, &now.timestamp);
	now.hash_code = bpf_xdp_metadata_rx_hash(ctx, &now.hash, &now.hash_type);
	now.vlan_code = bpf_xdp_metadata_rx_vlan_tag(ctx, &now.vlan_proto, &now.vlan_tci);
	last = now;
	return XDP_DROP;
}

SEC("tc")
int tag(struct __sk_buff *skb)
{
	bpf_skb_vlan_push(skb, 0x0081, 5); /* 0x8100 as it stands in the packet, on little-endian machines */
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
