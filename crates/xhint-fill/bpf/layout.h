/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * How the filler names the fields of the layout that it fills.
 *
 * A field of the machine's byte order is written from a 64-bit number, of which it takes as many bits as it has. One that
 * is declared big-endian is as wide as its value. Addresses of IPv6 are 16 bytes, as bytes or as big-endian words.
 */
#ifndef XHINT_FILL_LAYOUT_H
#define XHINT_FILL_LAYOUT_H

#ifndef NULL
#define NULL ((void *)0)
#endif

#define CORE __attribute__((preserve_access_index))

/* All fields but those of 16 bytes, and how wide they are in network order. */
#define FIELDS(X)                                                                                                      \
	X(rx_timestamp, 64) X(rx_hash, 32) X(rx_hash_type, 32) X(pkt_type, 8) X(vlan_tci, 16) X(vlan_proto, 16)        \
	X(rx_queue, 32) X(pkt_len, 32) X(src_port, 16) X(dst_port, 16) X(ip_proto, 8) X(ipv4_src, 32) X(ipv4_dst, 32)  \
	X(ipv6_flow, 32) X(arp_op, 16) X(icmp_type, 8) X(icmp_code, 8) X(ip_tos, 8) X(ip_ttl, 8) X(tcp_flags, 8)       \
	X(eth_proto, 16) X(l4_offset, 16) X(l3_offset, 16) X(ifindex, 32) X(flow_mark, 32) X(seq, 64)   \
	X(rx_desc, 64) X(csum, 16) X(valid, 64) X(btf_id, 32)

typedef __u8 __be8;

#define HOST(name, width) __u64 name;
#define NETWORK(name, width) __be##width name;

struct xhint_fill {
	FIELDS(HOST)
	__u8 ipv6_src[16];
	__u8 ipv6_dst[16];
	__u64 pad0, pad1, pad2;
} CORE;

struct xhint_fill___be {
	FIELDS(NETWORK)
	__be32 ipv6_src[4];
	__be32 ipv6_dst[4];
} CORE;

/* No number of CO-RE's stands for an enum, and no enum for one of another name. */
struct xhint_fill___enum {
	enum {
		XHINT_ANY,
	} pkt_type;
} CORE;

/* Numbers of the program's own enums, which are others than ours. */
enum xhint_pkt_type {
	XHINT_PKT_UNKNOWN = 0,
	XHINT_PKT_IPV4,
	XHINT_PKT_IPV6,
	XHINT_PKT_ARP,
	XHINT_PKT_IPV4_TCP,
	XHINT_PKT_IPV4_UDP,
	XHINT_PKT_IPV4_ICMP,
	XHINT_PKT_IPV6_TCP,
	XHINT_PKT_IPV6_UDP,
	XHINT_PKT_IPV6_ICMP,
};

#define pkt(name) bpf_core_enum_value(enum xhint_pkt_type, XHINT_PKT_##name)

/* From where values come: those that are not used are not there. */
enum xhint_from {
	XHINT_FROM_KFUNC_RX_TIMESTAMP = 0,
	XHINT_FROM_KFUNC_RX_HASH,
	XHINT_FROM_KFUNC_RX_VLAN_TAG,
	XHINT_FROM_CLOCK,
	XHINT_FROM_PACKET,
	XHINT_FROM_NETWORK_HEADER,
	XHINT_FROM_TRANSPORT_HEADER,
	XHINT_FROM_HASH,
	XHINT_FROM_DRIVER_RX_TIMESTAMP,
	XHINT_FROM_DRIVER_RX_HASH,
	XHINT_FROM_DRIVER_RX_HASH_TYPE,
	XHINT_FROM_DRIVER_VLAN_TCI,
	XHINT_FROM_DRIVER_VLAN_PROTO,
	XHINT_FROM_DRIVER_FLOW_MARK,
	XHINT_FROM_DRIVER_SEQ,
	XHINT_FROM_DRIVER_RX_DESC,
	XHINT_FROM_DRIVER_CSUM,
	/* Not copied. */
	XHINT_FROM_WHERE_IT_LIES,
};

#define from(what) bpf_core_enum_value_exists(enum xhint_from, XHINT_FROM_##what)

#define has(f) bpf_core_field_exists(((struct xhint_fill *)0)->f)
#define has_be(f) bpf_core_field_exists(((struct xhint_fill___be *)0)->f)
#define has2(f) (has(f) || has_be(f))

#define put8(f, value)                                                                                                 \
	do {                                                                                                           \
		if (has(f))                                                                                            \
			m->f = (value);                                                                                \
	} while (0)
#define put_type(value)                                                                                                \
	do {                                                                                                           \
		if (has(pkt_type))                                                                                     \
			m->pkt_type = (value);                                                                         \
		else if (bpf_core_field_exists(((struct xhint_fill___enum *)0)->pkt_type))                             \
			((struct xhint_fill___enum *)m)->pkt_type = (value);                                           \
	} while (0)
#define put_any(f, value, swap)                                                                                        \
	do {                                                                                                           \
		if (has(f))                                                                                            \
			m->f = (value);                                                                                \
		else if (has_be(f))                                                                                    \
			b->f = swap(value);                                                                            \
	} while (0)
#define put16(f, value) put_any(f, value, bpf_htons)
#define put32(f, value) put_any(f, value, bpf_htonl)
#define put64(f, value) put_any(f, value, bpf_cpu_to_be64)

/* 16 bytes of network order from words; zeroes, if there are none. */
#define put128(f, bytes)                                                                                               \
	do {                                                                                                           \
		if (has(f))                                                                                            \
			copy16(&m->f, bytes);                                                                          \
		else if (has_be(f))                                                                                    \
			copy16(&b->f, bytes);                                                                          \
	} while (0)

static __always_inline void copy16(void *to, const __be32 *bytes)
{
	for (int i = 0; i < 4; i++)
		((__be32 *)to)[i] = bytes ? bytes[i] : 0;
}

/* Bits of `valid`: the vocabulary's numbers. */
enum {
	RX_TIMESTAMP = 2,
	RX_HASH = 3,
	RX_HASH_TYPE = 4,
	PKT_TYPE = 5,
	VLAN_TCI = 6,
	VLAN_PROTO = 7,
	FLOW_MARK = 9,
	RX_QUEUE = 10,
	PKT_LEN = 11,
	SRC_PORT = 12,
	DST_PORT = 13,
	IP_PROTO = 14,
	IPV4_SRC = 15,
	IPV4_DST = 16,
	IPV6_FLOW = 17,
	IPV6_SRC = 18,
	IPV6_DST = 20,
	ARP_OP = 22,
	ICMP_TYPE = 23,
	ICMP_CODE = 24,
	SEQ = 25,
	RX_DESC = 26,
	IP_TOS = 27,
	IP_TTL = 28,
	TCP_FLAGS = 29,
	ETH_PROTO = 30,
	L4_OFFSET = 31,
	L3_OFFSET = 32,
	IFINDEX = 33,
	CSUM = 34,
};

#define BIT(n) (1ull << (n))

/* What is not known is 0, and so is what lies between fields. */
static __always_inline void zero(struct xhint_fill *m)
{
	struct xhint_fill___be *b = (void *)m;

#define ZERO(name, width) put_any(name, 0, );
	FIELDS(ZERO)
#undef ZERO
	put128(ipv6_src, NULL);
	put128(ipv6_dst, NULL);
	put_type(0);
	put8(pad0, 0);
	put8(pad1, 0);
	put8(pad2, 0);
	/* The layout's id is that of the layout. */
	put32(btf_id, (__u32)bpf_core_type_id_kernel(struct xhint_fill));
}

static __always_inline void put_valid(struct xhint_fill *m, __u64 valid)
{
	struct xhint_fill___be *b = (void *)m;

	put64(valid, valid);
}

#endif
