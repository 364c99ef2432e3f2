// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Asks for as many fields as a filler has for 32 bytes. seen: packets, those that were filled, and a sum of what was read. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <xhint.h>

#include "seen.h"

struct nic_meta {
	__u32 rx_hash, btf_id;
	__u16 vlan_tci, vlan_proto, src_port, dst_port, eth_proto, l3_offset, l4_offset, pkt_len;
	__u8 rx_hash_type, pkt_type, ip_proto, tcp_flags, icmp_type, ip_ttl, rx_queue;
} __attribute__((preserve_access_index));

#define FIELD(f) (bpf_core_field_exists(m->f) ? m->f : 0)

SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);

	add(0, 1);
	if (!xhint_fits(ctx, m) || !xhint_is(m, struct nic_meta))
		return XDP_PASS;
	add(1, 1);
	add(2, FIELD(vlan_tci) + FIELD(vlan_proto) + FIELD(dst_port) + FIELD(eth_proto) + FIELD(l3_offset) +
		       FIELD(l4_offset) + FIELD(pkt_len) + FIELD(pkt_type) + FIELD(ip_proto) + FIELD(tcp_flags) +
		       FIELD(icmp_type) + FIELD(ip_ttl) + FIELD(rx_queue) + FIELD(rx_hash_type));
	/* Of what varies, that it is there. */
	add(2, FIELD(rx_hash) && FIELD(src_port));
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
