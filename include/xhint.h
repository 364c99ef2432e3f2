/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * xhint.h: how a program reaches the metadata in front of a packet.
 *
 * A program declares the fields it wants and asks for them by ordinary CO-RE:
 *
 *	struct nic_meta {
 *		__u32 rx_hash;
 *		__u32 btf_id;
 *	} __attribute__((preserve_access_index));
 *
 *	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
 *
 *	if (m && xhint_is(m, struct nic_meta) && bpf_core_field_exists(m->rx_hash))
 *		hash = m->rx_hash;
 *
 * The order of members in that struct means nothing; the layout that the program is linked for decides where each
 * one stands. Two things cannot be said without help, and they are all this header has: how long that layout is (the
 * local sizeof is another number), and whether this packet carries it. A program may do without the header.
 *
 * Both work with CAP_BPF and CAP_NET_ADMIN alone, on every kernel that has XDP metadata.
 */
#ifndef XHINT_H
#define XHINT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * The metadata of a packet as `type`, or NULL unless it is exactly as long as the layout this program is linked for.
 * Always NULL where it is linked for no layout. A pointer of before bpf_xdp_adjust_meta(), _head() or _tail() is void.
 */
#define xhint_meta(ctx, type) \
	((type *)xhint_exactly((void *)(long)(ctx)->data_meta, (void *)(long)(ctx)->data, bpf_core_type_size(type)))

/*
 * Whether the packet says that this metadata is of the layout the program is linked for. Asks for a member `btf_id`
 * in the program's struct; without it compare whatever selects the layout with bpf_core_type_id_kernel(type).
 */
#define xhint_is(m, type) ((m)->btf_id == (__u32)bpf_core_type_id_kernel(type))

static __always_inline void *xhint_exactly(void *meta, void *data, __u64 size)
{
	void *end = meta + size;

	if (!size || end > data)
		return (void *)0;
	/*
	 * The verifier takes == between packet pointers only with CAP_PERFMON, so "longer" is asked apart from
	 * "shorter", and the compiler must not see that the two make one !=.
	 */
	asm volatile("" : "+r"(end));
	return end < data ? (void *)0 : meta;
}

#endif
