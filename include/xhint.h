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
 *	if (xhint_fits(ctx, m) && xhint_is(m, struct nic_meta) && bpf_core_field_exists(m->rx_hash))
 *		hash = m->rx_hash;
 *
 * The order of members in that struct means nothing; the layout that the program is linked for decides where each
 * one stands. Two things cannot be said without help, and they are all this header has: whether the metadata is as
 * long as that layout (the local sizeof is another number), and whether it is that layout. A program may do without
 * the header.
 *
 * All of it works with CAP_BPF and CAP_NET_ADMIN alone, on every kernel that has XDP metadata.
 */
#ifndef XHINT_H
#define XHINT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * Where the metadata of a packet stands, as `type`. Not to be read before xhint_fits(), and void after
 * bpf_xdp_adjust_meta(), _head() or _tail().
 */
#define xhint_meta(ctx, type) ((type *)(long)(ctx)->data_meta)

/*
 * Whether the metadata `m` is exactly as long as the layout that this program is linked for. Never, where it is
 * linked for no layout.
 *
 * That this is apart from xhint_meta() has a reason: the verifier lets nobody compare a packet pointer with NULL
 * without CAP_PERFMON.
 */
#define xhint_fits(ctx, m) xhint_exactly(m, (void *)(long)(ctx)->data, bpf_core_type_size(*(m)))

/*
 * Whether the packet says that its metadata is of the layout this program is linked for. Asks for a member `btf_id`
 * in the program's struct, which is the layout's id wherever that stands, unless no plain read gives it (a bitfield, the
 * other byte order). If such a layout may come, ask `!bpf_core_field_exists(m->btf_id) || xhint_is(m, struct nic_meta)`.
 * Where xhint dispatches, it has tested the id before the program runs; elsewhere compare that field with
 * bpf_core_type_id_kernel(type).
 */
#define xhint_is(m, type) ((m)->btf_id == (__u32)bpf_core_type_id_kernel(type))

static __always_inline _Bool xhint_exactly(void *meta, void *data, __u64 size)
{
	void *end = meta + size;

	if (!size || end > data)
		return 0;
	/*
	 * Nor does it take == between packet pointers, so "longer" is asked apart from "shorter", and the compiler must
	 * not see that the two make one !=.
	 */
	asm volatile("" : "+r"(end));
	return !(end < data);
}

#endif
