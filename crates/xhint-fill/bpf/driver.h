/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is read from the driver's own structures, by code that is written for each device. */
#ifndef XHINT_FILL_DRIVER_H
#define XHINT_FILL_DRIVER_H

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;
extern void *bpf_rdonly_cast(const void *pointer, __u32 type) __ksym __weak;

/* The fields that can come so, in the order of `DRIVEN` in src/driver/file.rs. */
#define DRIVEN(X)                                                                                                      \
	X(rx_timestamp, RX_TIMESTAMP, 64) X(rx_hash, RX_HASH, 32) X(rx_hash_type, RX_HASH_TYPE, 32)                    \
	X(vlan_tci, VLAN_TCI, 16) X(vlan_proto, VLAN_PROTO, 16) X(flow_mark, FLOW_MARK, 32) X(seq, SEQ, 64)            \
	X(rx_desc, RX_DESC, 64) X(csum, CSUM, 16)

struct driven {
#define VALUE(name, bit, width) __u64 name;
	DRIVEN(VALUE)
#undef VALUE
};

/*
 * Reads those that are asked for; the bits of `valid` that this packet has. What stands here is replaced before anything
 * runs: it names what the new code calls, and hides from the compiler what is given back.
 */
static __noinline __u64 xhint_drive(struct xdp_md *ctx, struct driven *d)
{
	void *xdp = bpf_rdonly_cast(bpf_cast_to_kern_ctx(ctx), 0);
	__u64 valid;

	asm volatile("%0 = 0" : "=r"(valid) : "r"(xdp), "r"(d) : "memory");
	return valid;
}

static __always_inline __u64 put_driven(struct xhint_fill *m, const struct driven *d, __u64 driven)
{
	struct xhint_fill___be *b = (void *)m;
	__u64 valid = 0;

#define PUT(name, bit, width)                                                                                          \
	if (from(DRIVER_##bit) && driven & BIT(bit)) {                                                                 \
		put##width(name, d->name);                                                                             \
		valid |= BIT(bit);                                                                                     \
	}
	DRIVEN(PUT)
#undef PUT
	return valid;
}

#endif
