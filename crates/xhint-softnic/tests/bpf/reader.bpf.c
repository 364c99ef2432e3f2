// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What a program on the soft NIC's device sees: each packet's source address and metadata, as they are. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAX_META 216

struct seen {
	__u64 key;
	__u32 len;
	__u32 pad;
	__u8 meta[MAX_META];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} seen_log SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &what);

	if (n)
		*n += 1;
}

static __always_inline int look(struct xdp_md *ctx)
{
	void *meta = (void *)(long)ctx->data_meta, *data = (void *)(long)ctx->data;
	__u8 *eth = data;
	struct seen *s;
	__u32 len = 0;

	if (data + 14 > (void *)(long)ctx->data_end)
		return XDP_DROP;
	s = bpf_ringbuf_reserve(&seen_log, sizeof(*s), 0);
	if (!s) {
		count(1);
		return XDP_DROP;
	}
	s->key = 0;
	for (int i = 6; i < 12; i++)
		s->key = s->key << 8 | eth[i];
#pragma clang loop unroll(full)
	for (int i = 0; i < MAX_META / 4; i++) {
		if (meta + 4 * i + 4 > data)
			break;
		*(__u32 *)(s->meta + 4 * i) = *(__u32 *)(meta + 4 * i);
		len += 4;
	}
	s->len = len;
	s->pad = 0;
	bpf_ringbuf_submit(s, 0);
	count(0);
	return XDP_DROP;
}

SEC("xdp")
int reader(struct xdp_md *ctx)
{
	return look(ctx);
}

/* The same under another name, to be swapped in. */
SEC("xdp")
int reader2(struct xdp_md *ctx)
{
	return look(ctx);
}

/* Only counts. */
SEC("xdp")
int counter(struct xdp_md *ctx)
{
	count(0);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
