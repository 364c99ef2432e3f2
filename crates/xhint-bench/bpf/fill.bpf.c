// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The same five fields of a packet in several ways; each leaves their sum in `out`.
 *   EMPTY   reads nothing
 *   CORE    asks for ASKED of metadata, which a filler is to put there
 *   WRITES  takes the packet apart, puts the fields in front of it, reads them there and takes them off again, all by hand
 *   PARSES  takes the packet apart by hand and needs no metadata
 * By hand there is what people write: up to two VLAN tags, IPv4, IPv6 without extension headers, TCP, UDP. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include "xhint.h"

volatile __u64 out;

#ifdef CORE
struct nic_meta {
	__u64 pkt_len;
	__u32 rx_hash, rx_hash_type, rx_queue, btf_id;
	__u16 pkt_type, src_port, dst_port, vlan_tci, l4_offset;
	__u8 ip_proto, ip_ttl, tcp_flags;
	__be32 ipv4_src;
	__u8 ipv6_src[16];
} __attribute__((preserve_access_index));

#define FIELD(f) (bpf_core_field_exists(m->f) ? m->f : 0)

SEC("xdp") int reader(struct xdp_md *ctx)
{
	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);

	if (!xhint_fits(ctx, m) || !xhint_is(m, struct nic_meta))
		return XDP_DROP;
	out = ASKED;
	return XDP_PASS;
}
#elif defined(EMPTY)
SEC("xdp") int reader(struct xdp_md *ctx)
{
	return XDP_PASS;
}
#else
struct found {
	__u32 id;
	__u16 src_port, dst_port, vlan_tci, l4_offset;
	__u8 ip_proto, reserved[3];
};

struct tag {
	__be16 tci, proto;
};

static __always_inline void parse(void *at, void *end, struct found *f)
{
	struct ethhdr *eth = at;
	void *next = eth + 1, *start = at;
	__be16 proto;

	if (next > end)
		return;
	proto = eth->h_proto;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		struct tag *tag = next;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > end)
			return;
		if (!i)
			f->vlan_tci = bpf_ntohs(tag->tci);
		proto = tag->proto;
		next = tag + 1;
	}
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = next;

		if ((void *)(ip + 1) > end || ip->ihl < 5)
			return;
		f->ip_proto = ip->protocol;
		if (ip->frag_off & bpf_htons(0x3fff))
			return;
		next += ip->ihl * 4;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = next;

		if ((void *)(ip + 1) > end)
			return;
		f->ip_proto = ip->nexthdr;
		next = ip + 1;
	} else {
		return;
	}
	f->l4_offset = next - start;
	if (f->ip_proto == IPPROTO_TCP || f->ip_proto == IPPROTO_UDP) {
		__be16 *ports = next;

		if ((void *)(ports + 2) > end)
			return;
		f->src_port = bpf_ntohs(ports[0]);
		f->dst_port = bpf_ntohs(ports[1]);
	}
}

static __always_inline __u64 sum(const struct found *f)
{
	return f->src_port + f->dst_port + f->vlan_tci + f->l4_offset + f->ip_proto;
}

SEC("xdp") int reader(struct xdp_md *ctx)
{
	struct found found = {};

	parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, &found);
#ifdef PARSES
	out = sum(&found);
#endif
#ifdef WRITES
	struct found *meta;

	found.id = 1;
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(found)))
		return XDP_DROP;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return XDP_DROP;
	*meta = found;
	asm volatile("" ::: "memory");
	out = sum(meta);
	bpf_xdp_adjust_meta(ctx, sizeof(found));
#endif
	return XDP_PASS;
}
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";
