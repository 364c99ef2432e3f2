// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The hardware of the soft NIC. A packet that comes off the wire is
 *
 *   1. parsed (Ethernet, two VLAN tags, IPv4, IPv6 and its extension headers, TCP, UDP, ICMP, ARP),
 *      which gives one value per hint and a bit per hint that this packet has;
 *   2. given a layout: one plan of those flashed;
 *   3. described: each op of the plan puts one value at one place of a scratch buffer;
 *   4. sent on: the scratch goes in front of the packet, the packet into the device.
 *
 * Nothing here knows a layout: all of that is in the plan. A flash replaces the array of plans in
 * one step, and a packet reads that array once, so it is described by one firmware entirely.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "parse.h"
#include "wire.h"

struct write {
	const struct plan *plan;
	struct work *w;
};

/* Puts one field into the scratch. */
static long write_field(__u32 i, struct write *c)
{
	const struct plan *plan = c->plan;
	struct work *w = c->w;
	const struct op *op;
	__u64 value, mask;
	__u32 word, at, bits;

	if (i >= MAX_OPS)
		return 1;
	op = &plan->op[i];
	if ((w->present & op->need) != op->need)
		return 0;
	value = op->slot == SLOT_CONST ? op->konst : w->values[op->slot & (SLOTS - 1)];
	value >>= op->shift & 63;
	if (op->flags & OP_TABLE)
		value = plan->tables[op->table & (MAX_TABLES - 1)][value & (TABLE_LEN - 1)];
	bits = op->bits;
	if (bits < 1 || bits > 64)
		return 0;
	mask = ~0ull >> ((64 - bits) & 63);
	value &= mask;
	if (op->flags & OP_SWAP)
		value = __builtin_bswap64(value) >> ((64 - bits) & 63);

	word = op->bit_offset >> 6;
	at = op->bit_offset & 63;
	if (word >= META_WORDS - 1)
		return 0;
	w->meta[word] = (w->meta[word] & ~(mask << at)) | value << at;
	if (at + bits > 64) { /* so at > 0 */
		mask >>= (64 - at) & 63;
		w->meta[word + 1] = (w->meta[word + 1] & ~mask) | value >> ((64 - at) & 63);
	}
	return 0;
}

/* Writes the scratch in front of the packet. */
static __always_inline int put_meta(struct xdp_md *ctx, struct work *w, __u32 size)
{
	const __u32 *from = (const __u32 *)w->meta;
	void *to, *end;

	if (size > MAX_META || bpf_xdp_adjust_meta(ctx, -(int)size))
		return -1;
	to = (void *)(long)ctx->data_meta;
	end = (void *)(long)ctx->data;
#pragma clang loop unroll(full)
	for (int i = 0; i < MAX_META / 4; i++) {
		if (to + 4 * i + 4 > end)
			break;
		*(__u32 *)(to + 4 * i) = from[i];
	}
	return 0;
}

static __always_inline const struct plan *choose(void *plans, const struct plan *first,
						 const struct work *w)
{
	__u32 n = first->count, i = 0;

	if (n < 2)
		return first;
	if (first->mode == MODE_FLOW)
		i = (__u32)w->values[SLOT_FLOW_MARK] % n;
	else if (first->mode == MODE_ROUND)
		i = w->values[SLOT_SEQ] % n;
	else
		i = bpf_get_prandom_u32() % n;
	return i ? bpf_map_lookup_elem(plans, &i) : first;
}

static __always_inline void log_truth(const struct work *w, const struct plan *plan)
{
	struct truth *t = bpf_ringbuf_reserve(&truth_log, sizeof(*t), 0);

	if (!t) {
		count(COUNT_TRUTH_LOST, 1);
		return;
	}
	t->key = get64(w, 4) & 0xffffffffffffull; /* bytes 6 to 11 */
	t->present = w->present;
	t->id = plan ? plan->id : 0;
	t->serial = plan ? plan->serial : 0;
	for (int i = 0; i < SLOTS; i++)
		t->values[i] = w->values[i];
	bpf_ringbuf_submit(t, 0);
}

/* Steps 2 and 3; returns the bytes of metadata, or -1 if there is no room for them. */
static __always_inline int describe(struct xdp_md *ctx, struct work *w, const struct plan *plan)
{
	struct write c = { .plan = plan, .w = w };
	__u32 id = plan->id;
	__u64 *packets;

	set(w, SLOT_LAYOUT_ID, id);
	__builtin_memset(w->meta, 0, sizeof(w->meta));
	bpf_loop(plan->ops, write_field, &c, 0);
	if (plan->size && put_meta(ctx, w, plan->size))
		return -1;
	packets = bpf_map_lookup_elem(&layouts, &id);
	if (packets)
		*packets += 1;
	return 0;
}

SEC("xdp")
int wire(struct xdp_md *ctx)
{
	const struct plan *plan = NULL, *first = NULL;
	const struct settings *how;
	struct work *w;
	__u32 zero = 0;
	__u64 slots = 0, truth;
	void *plans;
	int len, out;

	w = bpf_map_lookup_elem(&works, &zero);
	how = bpf_map_lookup_elem(&settings, &zero);
	if (!w || !how)
		return XDP_ABORTED;
	truth = how->truth;
	plans = bpf_map_lookup_elem(&firmware, &zero);
	if (plans)
		first = bpf_map_lookup_elem(plans, &zero);
	if (first)
		slots = first->slots;

	len = parse(ctx, w, truth ? ~0ull : slots);
	count(COUNT_PACKETS, 1);
	if (len < 0) {
		count(COUNT_DROP_LOAD, 1);
		return XDP_DROP;
	}
	count(COUNT_BYTES, len);
	if (first)
		plan = choose(plans, first, w);
	if (!plan) {
		count(COUNT_PLAIN, 1);
	} else if (describe(ctx, w, plan)) {
		count(COUNT_DROP_META, 1);
		return XDP_DROP;
	}
	if (truth)
		log_truth(w, plan);
	out = bpf_redirect_map(&port, 0, 0);
	count(out == XDP_REDIRECT ? COUNT_FORWARDED : COUNT_DROP_PORT, 1);
	return out;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
