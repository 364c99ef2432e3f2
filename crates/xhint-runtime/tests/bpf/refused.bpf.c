// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
// Programs that the kernel refuses, one a -D, each for a reason of its own.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, __u64);
#ifdef BAD_MAP
	__uint(map_flags, 1U << 31);
#endif
} counts SEC(".maps");

#ifdef NO_KFUNC
int bpf_no_kernel_has_this(void) __ksym;
#endif

SEC("xdp")
int refused(struct xdp_md *ctx)
{
	/* One that the verifier does not know, or it would know the entry. */
	int key = bpf_get_prandom_u32();
	__u64 *n = bpf_map_lookup_elem(&counts, &key);
	void *data = (void *)(long)ctx->data;

#ifdef UNCHECKED
	return *(int *)data;
#endif
#ifdef MAYBE_NULL
	*n = 1;
#endif
#ifdef ENDLESS
	for (;;)
		bpf_get_prandom_u32();
#endif
#ifdef PRIVATE_HELPER
	bpf_override_return((void *)ctx, 1);
#endif
#ifdef NO_KFUNC
	return bpf_no_kernel_has_this();
#endif
	return n && data ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
