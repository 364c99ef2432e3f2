// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The filler: before a program, it fetches what the program asks for and the packet does not carry, and puts it in
 * front of the packet as a layout that was made for this program.
 *
 * It is an ordinary CO-RE program that writes. The layout's BTF says which fields there are (`has`), where they lie, and
 * how wide they are; an enum beside the layout says from where each is to be fetched (`from`). So linked and pruned it
 * holds what is asked for and nothing else. Compiled with KFUNCS if any value comes from the driver by the kernel's
 * functions, with HASH if a Toeplitz hash is worked out, and with DRIVER if any is read from the driver's own structures.
 *
 * The order is the same for every driver: the kernel's functions and the driver's structures first, as some find what
 * they answer right before the packet, where the metadata will lie; then room for the metadata; then all that is written.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "layout.h"
#ifdef HASH
#include "hash.h"
#endif
#include "packet.h"
#ifdef DRIVER
#include "driver.h"
#endif

enum xdp_rss_hash_type {
	XDP_RSS_TYPE_NONE = 0,
};

extern int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx, __u64 *timestamp) __ksym __weak;
extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash, enum xdp_rss_hash_type *rss_type) __ksym __weak;
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *vlan_proto, __u16 *vlan_tci) __ksym __weak;

/* What the driver said, by the kernel's functions. */
struct answers {
	__u64 timestamp;
	__u32 hash;
	__u32 hash_type;
	__u16 vlan_tci;
	__be16 vlan_proto;
	__u16 vlan;
	__u16 pad;
};

static __always_inline void ask_driver(struct xdp_md *ctx, struct answers *a)
{
#ifdef KFUNCS
	if (from(KFUNC_RX_TIMESTAMP) && bpf_xdp_metadata_rx_timestamp(ctx, &a->timestamp))
		a->timestamp = 0;
	if (from(KFUNC_RX_HASH) && bpf_xdp_metadata_rx_hash(ctx, &a->hash, (enum xdp_rss_hash_type *)&a->hash_type))
		a->hash_type = 0;
	if (from(KFUNC_RX_VLAN_TAG))
		a->vlan = !bpf_xdp_metadata_rx_vlan_tag(ctx, &a->vlan_proto, &a->vlan_tci);
#endif
}

/* What the driver said, and the clock and the context, into the metadata; the bits of `valid` that these are. */
static __always_inline __u64 put_answers(struct xdp_md *ctx, struct xhint_fill *m, const struct answers *a)
{
	struct xhint_fill___be *b = (void *)m;
	__u64 valid = 0;

	if (has2(rx_timestamp)) {
		__u64 now = from(CLOCK) ? bpf_ktime_get_tai_ns() : a->timestamp;

		if (now) {
			put64(rx_timestamp, now);
			valid |= BIT(RX_TIMESTAMP);
		}
	}
	/* A hash counts only if the driver says of what it is one. */
	if (from(KFUNC_RX_HASH) && a->hash_type) {
		if (!from(DRIVER_RX_HASH)) {
			put32(rx_hash, a->hash);
			valid |= BIT(RX_HASH);
		}
		if (!from(DRIVER_RX_HASH_TYPE)) {
			put32(rx_hash_type, a->hash_type);
			valid |= BIT(RX_HASH_TYPE);
		}
	}
	if (has2(rx_queue)) {
		put32(rx_queue, ctx->rx_queue_index);
		valid |= BIT(RX_QUEUE);
	}
	if (has2(ifindex)) {
		put32(ifindex, ctx->ingress_ifindex);
		valid |= BIT(IFINDEX);
	}
	if (has2(pkt_len)) {
		put32(pkt_len, bpf_xdp_get_buff_len(ctx));
		valid |= BIT(PKT_LEN);
	}
	if (from(KFUNC_RX_VLAN_TAG) && a->vlan) {
		if (!from(DRIVER_VLAN_TCI)) {
			put16(vlan_tci, a->vlan_tci);
			valid |= BIT(VLAN_TCI);
		}
		if (!from(DRIVER_VLAN_PROTO)) {
			put16(vlan_proto, bpf_ntohs(a->vlan_proto));
			valid |= BIT(VLAN_PROTO);
		}
	}
	return valid;
}

/* Whether the metadata is there now. */
static __noinline __attribute__((used)) int xhint_fill(struct xdp_md *ctx)
{
	__u32 size = bpf_core_type_size(struct xhint_fill);
	struct answers a = {};
	struct xhint_fill *m;
	__u64 valid = 0;
#ifdef DRIVER
	struct driven d = {};
	__u64 driven = xhint_drive(ctx, &d);
#endif

	ask_driver(ctx, &a);
	if (!size || bpf_xdp_adjust_meta(ctx, -(int)size))
		return 0;
	m = (void *)(long)ctx->data_meta;
	if ((void *)m + size > (void *)(long)ctx->data)
		return 0;
	zero(m);
	valid = put_answers(ctx, m, &a);
#ifdef DRIVER
	valid |= put_driven(m, &d, driven);
#endif
	if (from(PACKET))
		valid |= put_packet(ctx, m, valid);
	put_valid(m, valid);
	return 1;
}
