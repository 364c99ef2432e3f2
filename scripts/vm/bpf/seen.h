/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Three numbers that a check reads: packets, those that were read, and a sum of what was. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __always_inline void add(__u32 key, __u64 n)
{
	__u64 *v = bpf_map_lookup_elem(&seen, &key);

	if (v)
		__sync_fetch_and_add(v, n);
}
