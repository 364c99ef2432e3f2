// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
// Counts what it read, and checks each packet twice: by the id it carries, and by its length, which every layout of
// stress.c has in another place.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <xhint.h>

struct nic_meta {
	__u32 pkt_len;
	__u32 btf_id;
} __attribute__((preserve_access_index));

enum seen {
	READ,      // by the program for its layout, and rightly
	NOT_READ,  // by the fallback
	WRONG_ID,  // by a program for another layout
	WRONG,     // the wrong bytes
	SEEN,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SEEN);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&seen, &what);

	if (n)
		*n += 1;
}

SEC("xdp")
int stress(struct xdp_md *ctx)
{
	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);

#ifdef MOVES
	/* From here on the verifier knows no pointer into the packet any more. */
	if (xhint_fits(ctx, m) && bpf_xdp_adjust_tail(ctx, 0))
		return XDP_ABORTED;
	m = xhint_meta(ctx, struct nic_meta);
#endif
#ifdef COPIES
	/* Where the packet begins says nothing of a copy, which a table's code is to read at an offset that varies. */
	__u32 copy[10] = {}, *word = (__u32 *)m;

	for (int n = 0; n < 10 && (void *)(word + n + 1) <= (void *)(long)ctx->data; n++)
		copy[n] = word[n];
#define READ_FROM(m) ((struct nic_meta *)copy)
#else
#define READ_FROM(m) (m)
#endif
#ifdef UNGUARDED
	if (!xhint_fits(ctx, m))
#else
	if (!xhint_fits(ctx, m) || !bpf_core_field_exists(m->pkt_len))
#endif
		count(NOT_READ);
#ifndef NO_ID
	else if (!xhint_is(m, struct nic_meta))
		count(WRONG_ID);
#endif
	else if (READ_FROM(m)->pkt_len != ctx->data_end - ctx->data)
		count(WRONG);
	else
		count(READ);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
