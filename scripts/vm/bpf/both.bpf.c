// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Asks the driver itself for what it also has as metadata. seen: packets, those with a hash that is the same both ways, those
 * with a VLAN tag that is. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <xhint.h>

#include "seen.h"

enum xdp_rss_hash_type { XDP_RSS_TYPE_NONE };
extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash, enum xdp_rss_hash_type *type) __ksym;
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *proto, __u16 *tci) __ksym;

struct nic_meta {
	__u32 rx_hash;
	__u16 vlan_tci;
	__be16 vlan_proto;
	__u32 btf_id;
} __attribute__((preserve_access_index));

SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
	enum xdp_rss_hash_type type = XDP_RSS_TYPE_NONE;
	__u32 hash = 0;
	__u16 tci = 0;
	__be16 proto = 0;

	add(0, 1);
	if (!xhint_fits(ctx, m) || !xhint_is(m, struct nic_meta))
		return XDP_PASS;
	if (!bpf_xdp_metadata_rx_hash(ctx, &hash, &type) && bpf_core_field_exists(m->rx_hash) && hash && m->rx_hash == hash)
		add(1, 1);
	if (!bpf_xdp_metadata_rx_vlan_tag(ctx, &proto, &tci) && bpf_core_field_exists(m->vlan_tci) &&
	    bpf_core_field_exists(m->vlan_proto) && tci && m->vlan_tci == tci && m->vlan_proto == proto)
		add(2, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
