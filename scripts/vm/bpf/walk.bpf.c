// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Walks structs of the kernel: whose child runs the program? seen: 0 the parent's process id */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct task_struct {
	int tgid;
	struct task_struct *real_parent;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("xdp") int walk(struct xdp_md *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 parent = BPF_CORE_READ(task, real_parent, tgid);
	__u32 key = 0;

	bpf_map_update_elem(&seen, &key, &parent, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
