/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Vendor Alpha, firmware 2: the parser's findings now come first, so all fields have moved; the queue has become a
 * byte; the flow mark is gone; and packets are numbered.
 */
#include "nic.h"

enum nic_pkt_type {
	NIC_PKT_UNKNOWN = 0,
	NIC_PKT_ARP = 1,
	NIC_PKT_IPV4 = 4,
	NIC_PKT_IPV6 = 6,
} __attribute__((packed));

struct net_device;

/* What Alpha's driver keeps of a receive ring. */
struct nic_rx_ring {
	struct net_device *dev;
	__u32 queue;
};

struct nic_meta {
	enum nic_pkt_type pkt_type;
	__u8 csum_state;
	__u8 rx_queue;
	__u8 reserved;
	__u16 src_port;
	__u16 dst_port;
#if META_ROOM >= 48
	union {
		struct {
			__u32 src hint(ipv4_src);
			__u32 dst hint(ipv4_dst);
		} v4;
		struct {
			__u32 flow hint(ipv6_flow);
		} v6;
		struct {
			__u16 op hint(arp_op);
		} arp;
	} l3;
#endif
	__u16 pkt_len;
	__u16 vlan_tci;
	__u32 rx_hash;
#if META_ROOM >= 48
	__u64 rx_timestamp;
#endif
	struct nic_rx_ring *ptr_to_rx hint(rx_desc);
	__u32 seq;
	__u32 btf_id;
} layout;

struct nic_meta *alpha_fw2;
/* What only pointers lead to is left out of the BTF, unless it is named. */
struct nic_rx_ring alpha_fw2_ring;
