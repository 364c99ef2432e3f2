// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Asks the driver itself, in one function, of which the kernel makes more than fits the pages that it takes. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum xdp_rss_hash_type { XDP_RSS_TYPE_NONE };
extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash, enum xdp_rss_hash_type *type) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("xdp") int prog(struct xdp_md *ctx)
{
	enum xdp_rss_hash_type type = XDP_RSS_TYPE_NONE;
	volatile __u32 long_enough = 0;
	__u32 hash = 0, key = 0;

	bpf_xdp_metadata_rx_hash(ctx, &hash, &type);
#pragma unroll
	for (int i = 0; i < 20; i++) {
		__u64 *v = bpf_map_lookup_elem(&seen, &key);

		if (v)
			*v += 1;
	}
#pragma unroll
	for (int i = 0; i < 80; i++)
		long_enough += 0x12345678;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
