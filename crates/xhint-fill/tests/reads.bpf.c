// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Reads all that a filler can give, and puts it into `out`: which fields there are, then the values. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "xhint.h"

enum my_type {
	MY_OTHER = 0,
	MY_IPV6_UDP = 7,
	MY_IPV4 = 21,
	MY_IPV4_TCP = 40,
	MY_IPV6 = 50,
	MY_ARP = 60,
};

struct my_meta {
	__u32 rx_hash;
	__u32 rx_hash_type;
	enum my_type pkt_type;
	__u16 vlan_tci;
	__be16 vlan_proto;
	__u32 rx_queue;
	__u64 pkt_len;
	__u16 src_port;
	__be16 dst_port;
	__u8 ip_proto;
	__be32 ipv4_src;
	__u32 ipv4_dst;
	__u32 ipv6_flow;
	__u8 ipv6_src[16];
	__be32 ipv6_dst[4];
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 tos __attribute__((btf_decl_tag("xhint:hint=ip_tos")));
	__u8 ip_ttl;
	__u8 tcp_flags;
	__u16 arp_op;
	__u16 eth_proto;
	__u16 l3_offset;
	__u16 l4_offset;
	__u32 ifindex;
	__u64 valid;
	__u64 rx_timestamp;
	__u32 flow_mark;
	__u32 btf_id;
} __attribute__((preserve_access_index));

__u64 out[40];

#define FIELD(n, f)                                                                                                    \
	do {                                                                                                           \
		if (bpf_core_field_exists(m->f)) {                                                                     \
			there |= 1ull << (n);                                                                          \
			out[n] = m->f;                                                                                 \
		}                                                                                                      \
	} while (0)

SEC("xdp")
int reads(struct xdp_md *ctx)
{
	struct my_meta *m = xhint_meta(ctx, struct my_meta);
	__u64 there = 0;

	if (!xhint_fits(ctx, m) || !xhint_is(m, struct my_meta)) {
		out[38] = 0;
		return XDP_DROP;
	}
	FIELD(0, rx_hash);
	FIELD(1, rx_hash_type);
	FIELD(2, pkt_type);
	FIELD(3, vlan_tci);
	FIELD(4, vlan_proto);
	FIELD(5, rx_queue);
	FIELD(6, pkt_len);
	FIELD(7, src_port);
	FIELD(8, dst_port);
	FIELD(9, ip_proto);
	FIELD(10, ipv4_src);
	FIELD(11, ipv4_dst);
	FIELD(12, ipv6_flow);
	FIELD(13, ipv6_src[0]);
	FIELD(14, ipv6_src[15]);
	FIELD(15, ipv6_dst[0]);
	FIELD(16, ipv6_dst[3]);
	FIELD(17, icmp_type);
	FIELD(18, icmp_code);
	FIELD(19, tos);
	FIELD(20, ip_ttl);
	FIELD(21, tcp_flags);
	FIELD(22, arp_op);
	FIELD(23, eth_proto);
	FIELD(24, l3_offset);
	FIELD(25, l4_offset);
	FIELD(26, ifindex);
	FIELD(27, valid);
	FIELD(28, rx_timestamp);
	FIELD(29, flow_mark);
	out[39] = there;
	out[38] = 1;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
