// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
// A map of each kind that there is, but for those that are of one program each.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef ENTRIES
#define ENTRIES 4
#endif

#define MAP(NAME, KIND, FLAGS, KEY, VALUE)                                                                           \
	struct {                                                                                                     \
		__uint(type, BPF_MAP_TYPE_##KIND);                                                                   \
		__uint(max_entries, ENTRIES);                                                                        \
		__uint(map_flags, FLAGS);                                                                            \
		__type(key, KEY);                                                                                    \
		__type(value, VALUE);                                                                                \
	} NAME SEC(".maps")

struct prefix {
	__u32 length;
	__u32 address;
};

MAP(hash, HASH, 0, int, __u64);
MAP(array, ARRAY, 0, int, __u64);
MAP(percpu_hash, PERCPU_HASH, 0, int, __u64);
MAP(percpu_array, PERCPU_ARRAY, 0, int, __u64);
MAP(lru_hash, LRU_HASH, 0, int, __u64);
MAP(lru_percpu, LRU_PERCPU_HASH, 0, int, __u64);
MAP(trie, LPM_TRIE, BPF_F_NO_PREALLOC, struct prefix, __u64);
MAP(devmap, DEVMAP, 0, int, int);
MAP(devmap_hash, DEVMAP_HASH, 0, int, struct bpf_devmap_val);
MAP(cpumap, CPUMAP, 0, int, struct bpf_cpumap_val);
MAP(xskmap, XSKMAP, 0, int, int);
MAP(sockmap, SOCKMAP, 0, int, __u64);
MAP(sockhash, SOCKHASH, 0, int, __u64);
MAP(reuseport, REUSEPORT_SOCKARRAY, 0, int, __u64);
MAP(a_map_whose_name_is_longer_than_the_kernels, HASH, 0, int, __u64);

/* The kernel makes as many of these for each processor. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 257);
	__uint(map_flags, BPF_F_NO_COMMON_LRU);
	__type(key, int);
	__type(value, __u64);
} lru_each SEC(".maps");

#define SIZED(NAME, KIND, KEY, VALUE)                                                                                \
	struct {                                                                                                     \
		__uint(type, BPF_MAP_TYPE_##KIND);                                                                   \
		__uint(max_entries, ENTRIES);                                                                        \
		__uint(key_size, KEY);                                                                               \
		__uint(value_size, VALUE);                                                                           \
	} NAME SEC(".maps")

SIZED(queue, QUEUE, 0, 8);
SIZED(stack, STACK, 0, 8);
SIZED(bloom, BLOOM_FILTER, 0, 8);
SIZED(stack_trace, STACK_TRACE, 4, 64);
SIZED(cgroups, CGROUP_ARRAY, 4, 4);
SIZED(jumps, PROG_ARRAY, 4, 4);

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");

/* Rounded up to pages. */
#ifndef RING
#define RING 5000
#endif
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING);
} ring SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} user_ring SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, __u64);
} inner SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, int);
	__array(values, struct inner);
} outer_array SEC(".maps") = { .values = { &inner } };
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, int);
	__array(values, struct inner);
} outer_hash SEC(".maps") = { .values = { &inner } };

/* Their numbers, since the headers of Debian 12 do not have them all. */
#define SK_STORAGE 24
#define TASK_STORAGE 29
#define CGRP_STORAGE 32
#define ARENA 33

#define LOCAL(NAME, KIND)                                                                                            \
	struct {                                                                                                     \
		__uint(type, KIND);                                                                                  \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                \
		__type(key, int);                                                                                    \
		__type(value, __u64);                                                                                \
	} NAME SEC(".maps")

LOCAL(of_socket, SK_STORAGE);
LOCAL(of_task, TASK_STORAGE);
LOCAL(of_cgroup, CGRP_STORAGE);

struct {
	__uint(type, ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4);
} arena SEC(".maps");

struct tcp_congestion_ops {
	unsigned int (*ssthresh)(void *);
	void (*cong_avoid)(void *, unsigned int, unsigned int);
	unsigned int (*undo_cwnd)(void *);
	char name[16];
};
SEC("struct_ops/ss") unsigned int ss(__u64 *ctx) { return 2; }
SEC("struct_ops/ca") void ca(__u64 *ctx) {}
SEC("struct_ops/un") unsigned int un(__u64 *ctx) { return 4; }
SEC(".struct_ops")
struct tcp_congestion_ops ops = {
	.ssthresh = (void *)ss, .cong_avoid = (void *)ca, .undo_cwnd = (void *)un, .name = "xhint_test",
};

const volatile int constant = 7;
__u64 seen;
__u64 own SEC(".data.own") = 3;

SEC("xdp")
int maps(struct xdp_md *ctx)
{
	seen += constant + own;
#ifdef OTHER
	return XDP_DROP;
#endif
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
