// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
// Puts the next id of a table into the metadata and goes to the program that is measured. Times itself, BLOCK packets at
// a time, since a test run costs milliseconds before its first packet and another process may come in between.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define SIZE 64
#define ORDER 65536

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} measured SEC(".maps");

__u32 order[ORDER] SEC(".data.order");
#define BLOCK 8192

struct {
	__u64 at;
	__u64 since;
	__u64 best; /* nanoseconds of the fastest block */
} timer SEC(".data.timer");

static __noinline void tick(void)
{
	__u64 now = bpf_ktime_get_ns();

	if (timer.since && now - timer.since < timer.best)
		timer.best = now - timer.since;
	timer.since = now;
}

SEC("xdp")
int driver(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *meta = (void *)(long)ctx->data_meta;

	if (meta + SIZE > data)
		return XDP_ABORTED;
	*(__u32 *)(meta + SIZE - 4) = order[timer.at++ % ORDER];
	if (timer.at % BLOCK == 0)
		tick();
	bpf_tail_call(ctx, &measured, 0);
	return XDP_ABORTED;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
