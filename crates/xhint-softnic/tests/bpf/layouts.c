// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Layouts of made-up NICs. Compiled for their BTF alone. */
#include <linux/types.h>

/* Linux 6.1 lets 32 bytes of metadata through. */
#ifndef META_ROOM
#define META_ROOM 216
#endif

#define hint(name) __attribute__((btf_decl_tag("xhint:hint=" name)))

enum pkt { PKT_NONE, PKT_IPV6 = 7, PKT_IPV4 = 9, PKT_ARP = 200 };

/* Plain fields, a union by the kind of packet. */
struct first {
	__u64 rx_timestamp;
	__u32 rx_hash;
	enum pkt pkt_type;
	__u16 vlan_tci;
	__u16 vlan_proto;
	union {
		struct {
			__be32 ipv4_src;
#if META_ROOM >= 80
			__be32 ipv4_dst;
			__u8 ip_proto;
#endif
		} v4;
		struct {
#if META_ROOM >= 80
			__u8 ip_proto;
			__u8 pad[3];
#endif
			__be32 ipv6_flow;
		} v6;
		struct {
			__be16 arp_op;
		} arp;
	} l3;
	__u32 seq;
	__u32 btf_id;
} first;

/* Big-endian fields and bitfields over byte borders. */
struct second {
	__u32 kind : 3 hint("csum_state");
	__u32 length : 14 hint("pkt_len");
	__u32 queue : 4 hint("rx_queue");
	__u32 proto : 8 hint("ip_proto");
	__u32 spare : 3;
#if META_ROOM >= 80
	__be64 when hint("rx_timestamp");
#endif
	__be32 hash hint("rx_hash");
	__be16 sport hint("src_port");
	__be16 dport hint("dst_port");
	__u64 mark : 32 hint("flow_mark");
	__u64 flow : 20 hint("ipv6_flow");
	__u64 ttl : 8 hint("ip_ttl");
	__u64 magic : 4 hint("const=0xa");
#if META_ROOM >= 80
	__u8 src[16] hint("ipv6_src");
	__be32 dst[4] hint("ipv6_dst");
#endif
	void *ptr_to_rx hint("rx_desc");
	__u32 btf_id;
} __attribute__((packed)) second;

/* Almost nothing. */
struct third {
	__u32 btf_id;
} third;

/* A vendor's descriptor, as far as it is anybody's business. */
struct walked {
	struct rx_ring *ptr_to_rx hint("rx_desc");
	__u32 rx_queue;
	__u32 btf_id;
} walked;
