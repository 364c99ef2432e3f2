/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Vendor Beta: a struct with a name of its own, wide fields in network order as its hardware writes them, small ones
 * packed into bits, no pointer.
 */
#include "nic.h"

enum nic_pkt_type {
	NIC_PKT_UNKNOWN = 0,
	NIC_PKT_IPV4 = 1,
	NIC_PKT_IPV6 = 2,
	NIC_PKT_ARP = 3,
};

struct beta_rx_completion {
	__u32 csum_state : 2;
	__u32 rx_queue : 9;
	enum nic_pkt_type pkt_type : 3;
	__u32 reserved : 18;
	__be32 rx_hash;
	__be16 vlan_tci;
	__be16 pkt_len;
	union {
		struct {
			__be32 dst hint(ipv4_dst);
			__be32 src hint(ipv4_src);
		} v4;
		struct {
			__be32 flow hint(ipv6_flow);
		} v6;
		struct {
			__be16 op hint(arp_op);
		} arp;
	} l3;
	__be16 dst_port;
	__be16 src_port;
#if META_ROOM >= 40
	__be64 rx_timestamp;
#endif
	__be32 flow_mark;
	__u32 btf_id;
} layout answers_to(nic_meta) __attribute__((packed));

struct beta_rx_completion *beta;
