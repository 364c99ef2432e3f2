// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
// Reads four fields and adds them up in a map: by CO-RE or (FIXED) at fixed offsets, or (SWITCH) by a switch on the id, or (EMPTY) none.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#ifdef CORE
#include <xhint.h>
#endif

/* What hardly any program does without: a look into a map. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sums SEC(".maps");

static __always_inline __attribute__((unused)) void add(__u64 value)
{
	__u32 zero = 0;
	__u64 *sum = bpf_map_lookup_elem(&sums, &zero);

	if (sum)
		*sum += value;
}

#ifdef CORE
struct nic_meta {
	__u32 a;
	__u32 b;
	__u32 c;
	__u32 d;
} __attribute__((preserve_access_index));
#endif

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4096);
	__uint(key_size, 4);
	__uint(value_size, 4);
} bare_slots SEC(".maps");

#define SIZE 64
#define WORD(m, n) (*(volatile __u32 *)((m) + 4 * (n)))
#define READ(m, a, b, c, d) add(WORD(m, a) + WORD(m, b) + WORD(m, c) + WORD(m, d))

SEC("xdp")
int reader(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *meta = (void *)(long)ctx->data_meta;

#if defined(CORE)
	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);

	if (!xhint_fits(ctx, m))
		return XDP_DROP;
	add(m->a + m->b + m->c + m->d);
#elif defined(FIXED)
	if (meta + SIZE > data)
		return XDP_DROP;
	READ(meta, 0, 1, 2, 3);
#elif defined(SWITCH)
	if (meta + SIZE > data)
		return XDP_DROP;
	switch (*(__u32 *)(meta + SIZE - 4)) {
#include "switch.h"
	default:
		return XDP_DROP;
	}
#elif defined(BARE)
	if (meta + SIZE > data)
		return XDP_DROP;
	bpf_tail_call(ctx, &bare_slots, *(__u32 *)(meta + SIZE - 4));
	return XDP_DROP;
#endif
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
