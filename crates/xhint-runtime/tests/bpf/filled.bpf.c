// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Reads what is filled in; with ASKS, asks the driver itself as well and compares; with BIG, asks for more than fits. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "xhint.h"

enum xdp_rss_hash_type {
	XDP_RSS_TYPE_NONE = 0,
};

#ifdef ASKS
extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash, enum xdp_rss_hash_type *type) __ksym;
#endif

#ifdef BIG
#define NARROW __u64
#else
#define NARROW __u32
#endif

struct my_meta {
	NARROW rx_hash;
	__u64 rx_timestamp;
	NARROW src_port;
	NARROW rx_queue;
	NARROW vlan_tci;
	__u32 flow_mark;
	__u64 valid;
#ifdef BIG
	__u64 ip_proto, ip_tos, ip_ttl, ipv4_src, ipv4_dst, ipv6_flow, icmp_type, icmp_code, arp_op, eth_proto, tcp_flags;
	__u64 l3_offset, l4_offset, pkt_len, ifindex, vlan_proto, dst_port, pkt_type, rx_hash_type;
	__u8 ipv6_src[16];
	__u8 ipv6_dst[16];
#endif
	__u32 btf_id;
} __attribute__((preserve_access_index));

struct {
	__u64 filled, empty, there, hash, timestamp, port, queue, vlan, valid, same, differs;
} seen;

#define FIELD(n, f, to)                                                                                                \
	do {                                                                                                           \
		if (bpf_core_field_exists(m->f)) {                                                                     \
			seen.there |= 1 << (n);                                                                        \
			to = m->f;                                                                                     \
		}                                                                                                      \
	} while (0)

SEC("xdp")
int filled(struct xdp_md *ctx)
{
	struct my_meta *m = xhint_meta(ctx, struct my_meta);
	__u64 rest = 0, hash = 0, port = 0, timestamp = 0, valid = 0;

	if (!xhint_fits(ctx, m) || !xhint_is(m, struct my_meta)) {
		seen.empty++;
		return XDP_PASS;
	}
	seen.filled++;
	FIELD(0, rx_hash, hash);
	FIELD(1, rx_timestamp, timestamp);
	FIELD(2, src_port, port);
	FIELD(3, rx_queue, seen.queue);
	FIELD(4, vlan_tci, seen.vlan);
	FIELD(5, flow_mark, rest);
	FIELD(6, valid, valid);
#ifdef BIG
	FIELD(7, ip_proto, rest);
	FIELD(7, ip_tos, rest);
	FIELD(7, ip_ttl, rest);
	FIELD(7, ipv4_src, rest);
	FIELD(7, ipv4_dst, rest);
	FIELD(7, ipv6_flow, rest);
	FIELD(7, icmp_type, rest);
	FIELD(7, icmp_code, rest);
	FIELD(7, arp_op, rest);
	FIELD(7, eth_proto, rest);
	FIELD(7, tcp_flags, rest);
	FIELD(7, l3_offset, rest);
	FIELD(7, l4_offset, rest);
	FIELD(7, pkt_len, rest);
	FIELD(7, ifindex, rest);
	FIELD(7, vlan_proto, rest);
	FIELD(7, dst_port, rest);
	FIELD(7, pkt_type, rest);
	FIELD(7, rx_hash_type, rest);
	FIELD(7, ipv6_src[0], rest);
	FIELD(7, ipv6_dst[0], rest);
#endif
	seen.there |= (rest != 0) << 30;
	/* Of what comes besides, nothing is known. */
	if (port == 4242) {
		seen.hash = hash;
		seen.port = port;
		seen.timestamp = timestamp;
		seen.valid = valid;
	}
#ifdef ASKS
	{
		enum xdp_rss_hash_type type = 0;
		__u32 asked = 0;

		if (!bpf_xdp_metadata_rx_hash(ctx, &asked, &type) && type) {
			if (hash == asked)
				seen.same++;
			else
				seen.differs++;
		}
	}
#endif
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
