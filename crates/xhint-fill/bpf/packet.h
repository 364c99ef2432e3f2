/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the packet itself says.
 *
 * The Ethernet header and two VLAN tags lie at fixed places and are read where they are. What comes behind lies at places
 * that are known only when it is there, and without CAP_PERFMON no verifier lets an address be computed so. Then the
 * kernel copies these headers, in one step each, which takes ten times as long.
 */
#ifndef XHINT_FILL_PACKET_H
#define XHINT_FILL_PACKET_H

#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58

/* enum xdp_rss_hash_type, include/net/xdp.h */
#define RSS_L3_IPV4 (1u << 0)
#define RSS_L3_IPV6 (1u << 1)
#define RSS_L4 (1u << 3)
#define RSS_L4_TCP (1u << 4)
#define RSS_L4_UDP (1u << 5)

struct vlan {
	__be16 tci;
	__be16 proto;
};

struct ipv4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 total;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 proto;
	__be16 check;
	__be32 addresses[2];
};

struct ipv6 {
	__be32 first;
	__be16 payload;
	__u8 next;
	__u8 hops;
	__be32 addresses[8];
};

union network {
	struct ipv4 v4;
	struct ipv6 v6;
};

/* As much of a transport header as is looked at. */
union transport {
	struct {
		__be16 src;
		__be16 dst;
		__u8 rest[10];
	} ports;
	struct {
		__be32 src_dst, seq, ack;
		__u8 doff;
		__u8 flags;
	} tcp;
	struct {
		__u8 type;
		__u8 code;
	} icmp;
	__be32 word[3];
};

/*
 * Where the parser is. In words of 64 bits, as all numbers here: Linux 6.1 lets nobody without CAP_PERFMON put a shorter one
 * on the stack where a pointer was.
 */
struct at {
	__u64 l3;
	__u64 l4;
	/* One past the network packet's last byte. */
	__u64 end;
	__u64 proto;
	__u64 ip_proto;
	__u64 fragment;
};

#define ETHERNET 14

/* What is looked at of a packet begins no farther than this, mostly. */
#define NEAR 256

/* `size` bytes, a constant, from so far into the packet: where they lie, or a copy of them in `room`. Not 0 if they are not there. */
static __always_inline long header(struct xdp_md *ctx, __u64 at, void *room, __u64 size, const void **found)
{
	if (from(WHERE_IT_LIES) && at < NEAR) {
		void *there = (void *)(long)ctx->data + at;

		if (there + size <= (void *)(long)ctx->data_end) {
			*found = there;
			return 0;
		}
	}
	*found = room;
	return bpf_xdp_load_bytes(ctx, at, room, size);
}

/* A tag `depth` tags behind the Ethernet header's addresses; where the next header begins, 0 if the packet ends. */
#define vlan_at(eth, depth, end, p)                                                                                    \
	({                                                                                                             \
		struct vlan *tag = (void *)((eth) + 1) + (depth) * sizeof(struct vlan);                                \
		int found = 0;                                                                                         \
                                                                                                                       \
		if ((p)->proto == ETH_P_8021Q || (p)->proto == ETH_P_8021AD) {                                         \
			if ((void *)(tag + 1) <= (end)) {                                                              \
				(p)->proto = bpf_ntohs(tag->proto);                                                    \
				(p)->l3 += sizeof(struct vlan);                                                        \
				found = 1;                                                                             \
			}                                                                                              \
		}                                                                                                      \
		found ? tag : NULL;                                                                                    \
	})

static __always_inline __u64 put_ethernet(struct xdp_md *ctx, struct xhint_fill *m, struct at *p, __u64 known)
{
	struct xhint_fill___be *b = (void *)m;
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u64 valid = 0;
	struct vlan *tag;
	__u64 outer;

	if ((void *)(eth + 1) > end)
		return 0;
	p->proto = outer = bpf_ntohs(eth->h_proto);
	p->l3 = ETHERNET;
	tag = vlan_at(eth, 0, end, p);
	if (tag) {
		/* The outer tag is the one that a NIC takes off. */
		if ((has2(vlan_tci) || has2(vlan_proto)) && !(known & (BIT(VLAN_TCI) | BIT(VLAN_PROTO)))) {
			put16(vlan_tci, bpf_ntohs(tag->tci));
			put16(vlan_proto, outer);
			valid |= BIT(VLAN_TCI) | BIT(VLAN_PROTO);
		}
		vlan_at(eth, 1, end, p);
	}
	put16(eth_proto, p->proto);
	return valid | BIT(ETH_PROTO);
}

static __always_inline __u64 put_ipv4(struct xhint_fill *m, const struct ipv4 *ip, __u64 len, struct at *p)
{
	struct xhint_fill___be *b = (void *)m;
	__u64 header = (ip->version_ihl & 15) * 4, total = bpf_ntohs(ip->total);

	if (ip->version_ihl >> 4 != 4 || header < sizeof(*ip) || total < header || total > len - p->l3)
		return 0;
	p->ip_proto = ip->proto;
	/* More fragments, or an offset. */
	p->fragment = (bpf_ntohs(ip->fragment) & 0x3fff) != 0;
	p->end = p->l3 + total;
	if (!p->fragment)
		p->l4 = p->l3 + header;
	put8(ip_proto, ip->proto);
	put8(ip_tos, ip->tos);
	put8(ip_ttl, ip->ttl);
	put32(ipv4_src, bpf_ntohl(ip->addresses[0]));
	put32(ipv4_dst, bpf_ntohl(ip->addresses[1]));
	return BIT(IP_PROTO) | BIT(IP_TOS) | BIT(IP_TTL) | BIT(IPV4_SRC) | BIT(IPV4_DST);
}

/* Hop-by-hop, routing, fragment, authentication, destination options. */
static __always_inline int is_extension(__u64 next)
{
	return next == 0 || next == 43 || next == 44 || next == 51 || next == 60;
}

struct extensions {
	struct xdp_md *ctx;
	__u64 at;
	__u64 next;
	__u64 fragment;
	__u64 lost;
};

static long past_extension(__u64 n, struct extensions *e)
{
	__u8 head[4] = {};

	if (!is_extension(e->next) || e->fragment)
		return 1;
	if (bpf_xdp_load_bytes(e->ctx, e->at, head, sizeof(head))) {
		e->lost = 1;
		return 1;
	}
	if (e->next == 44) {
		/* An atomic fragment (RFC 6946) is a whole packet. */
		e->fragment = (head[2] << 8 | head[3]) & 0xfff9;
		e->at += 8;
	} else if (e->next == 51) {
		e->at += (head[1] + 2) * 4;
	} else {
		e->at += (head[1] + 1) * 8;
	}
	e->next = head[0];
	return 0;
}

/* Goes past extension headers, six at most. A step is looked at once by the verifier, not once for each way to it. */
static __always_inline void past_extensions(struct xdp_md *ctx, struct at *p, __u64 at)
{
	struct extensions e = { .ctx = ctx, .at = at, .next = p->ip_proto };

	if (is_extension(e.next))
		bpf_loop(6, past_extension, &e, 0);
	p->ip_proto = e.next;
	p->fragment = e.fragment;
	if (!e.lost && !e.fragment && !is_extension(e.next) && e.at <= p->end)
		p->l4 = e.at;
}

static __always_inline __u64 put_ipv6(struct xdp_md *ctx, struct xhint_fill *m, const struct ipv6 *ip, __u64 len,
				      struct at *p)
{
	struct xhint_fill___be *b = (void *)m;
	__u64 first = bpf_ntohl(ip->first), at = p->l3 + sizeof(*ip);

	if (first >> 28 != 6 || at + bpf_ntohs(ip->payload) > len)
		return 0;
	p->end = at + bpf_ntohs(ip->payload);
	p->ip_proto = ip->next;
	put8(ip_tos, first >> 20 & 0xff);
	put8(ip_ttl, ip->hops);
	put32(ipv6_flow, first & 0xfffff);
	put128(ipv6_src, ip->addresses);
	put128(ipv6_dst, ip->addresses + 4);
	past_extensions(ctx, p, at);
	put8(ip_proto, p->ip_proto);
	return BIT(IP_PROTO) | BIT(IP_TOS) | BIT(IP_TTL) | BIT(IPV6_FLOW) | BIT(IPV6_SRC) | BIT(IPV6_DST);
}

/* The transport header; which kind of packet it makes, in steps from the network's own. */
static __always_inline __u64 put_transport(struct xdp_md *ctx, struct xhint_fill *m, const struct at *p,
					   union transport *room, const union transport **found, __u64 *kind)
{
	struct xhint_fill___be *b = (void *)m;
	const union transport *t = room;
	__u64 len = p->end - p->l4;
	__u64 valid = 0;

	*kind = 0;
	if (!p->l4)
		return 0;
	if (p->ip_proto == IPPROTO_TCP && len >= 20) {
		if (header(ctx, p->l4, room, sizeof(t->tcp), (const void **)&t))
			return 0;
		*kind = 1;
		put8(tcp_flags, t->tcp.flags);
		valid = BIT(TCP_FLAGS) | BIT(SRC_PORT) | BIT(DST_PORT);
	} else if (p->ip_proto == IPPROTO_UDP && len >= 8) {
		if (header(ctx, p->l4, room, 4, (const void **)&t))
			return 0;
		*kind = 2;
		valid = BIT(SRC_PORT) | BIT(DST_PORT);
	} else if ((p->ip_proto == IPPROTO_ICMP || p->ip_proto == IPPROTO_ICMPV6) && len >= 4) {
		if (header(ctx, p->l4, room, 4, (const void **)&t))
			return 0;
		*kind = 3;
		put8(icmp_type, t->icmp.type);
		put8(icmp_code, t->icmp.code);
		valid = BIT(ICMP_TYPE) | BIT(ICMP_CODE);
	} else {
		return 0;
	}
	if (*kind < 3) {
		put16(src_port, bpf_ntohs(t->ports.src));
		put16(dst_port, bpf_ntohs(t->ports.dst));
	}
	put16(l4_offset, p->l4);
	*found = t;
	return valid | BIT(L4_OFFSET);
}

#ifdef HASH
static __always_inline __u64 put_hash(struct xhint_fill *m, const __be32 *addresses, const union transport *t, int v4,
				      __u64 kind)
{
	struct xhint_fill___be *b = (void *)m;
	__u64 ports = kind == 1 || kind == 2;
	__u64 hash = v4 ? hash_ipv4(addresses, t->word, ports) : hash_ipv6(addresses, t->word, ports);
	__u64 type = v4 ? RSS_L3_IPV4 : RSS_L3_IPV6;
	__u64 valid = 0;

	if (ports)
		type |= RSS_L4 | (kind == 1 ? RSS_L4_TCP : RSS_L4_UDP);
	if (!from(DRIVER_RX_HASH)) {
		put32(rx_hash, hash);
		valid |= BIT(RX_HASH);
	}
	if (!from(DRIVER_RX_HASH_TYPE)) {
		put32(rx_hash_type, type);
		valid |= BIT(RX_HASH_TYPE);
	}
	return valid;
}
#endif

static __always_inline void put_ip_type(struct xhint_fill *m, int v4, __u64 kind)
{
	if (v4)
		put_type(kind == 1 ? pkt(IPV4_TCP) : kind == 2 ? pkt(IPV4_UDP) : kind == 3 ? pkt(IPV4_ICMP) : pkt(IPV4));
	else
		put_type(kind == 1 ? pkt(IPV6_TCP) : kind == 2 ? pkt(IPV6_UDP) : kind == 3 ? pkt(IPV6_ICMP) : pkt(IPV6));
}

static __always_inline __u64 put_arp(struct xdp_md *ctx, struct xhint_fill *m, const struct at *p)
{
	struct xhint_fill___be *b = (void *)m;
	__be16 room[4] = {};
	const __be16 *head;

	put_type(pkt(ARP));
	if (!has2(arp_op) || header(ctx, p->l3, room, sizeof(room), (const void **)&head))
		return 0;
	put16(arp_op, bpf_ntohs(head[3]));
	return BIT(ARP_OP);
}

/* What comes behind the network header, which is read as it is in code of its own: a verifier does not know it again by a flag. */
static __always_inline __u64 put_rest(struct xdp_md *ctx, struct xhint_fill *m, const struct at *p,
				      const __be32 *addresses, int v4)
{
	/* Verifiers before Linux 6.18 also look at reads that never happen, if the loader lacks CAP_PERFMON. */
	union transport room = {};
	const union transport *t = &room;
	__u64 valid = 0, kind = 0;

	if (from(TRANSPORT_HEADER))
		valid |= put_transport(ctx, m, p, &room, &t, &kind);
	put_ip_type(m, v4, kind);
#ifdef HASH
	if (from(HASH))
		valid |= put_hash(m, addresses, t, v4, kind);
#endif
	return valid;
}

/* Everything of the packet that is asked for; the bits of `valid` that it is. `known` is not to be found out again. */
static __always_inline __u64 put_packet(struct xdp_md *ctx, struct xhint_fill *m, __u64 known)
{
	struct xhint_fill___be *b = (void *)m;
	union network room = {};
	const void *found = &room;
	struct at p = {};
	__u64 len, valid, more = 0;

	put_type(pkt(UNKNOWN));
	valid = put_ethernet(ctx, m, &p, known);
	if (!valid || !from(NETWORK_HEADER))
		return valid;
	valid |= BIT(PKT_TYPE) | BIT(L3_OFFSET);
	put16(l3_offset, p.l3);
	if (p.proto == ETH_P_ARP)
		return valid | put_arp(ctx, m, &p);
	len = bpf_xdp_get_buff_len(ctx);
	if (p.proto == ETH_P_IP && !header(ctx, p.l3, &room, sizeof(room.v4), &found)) {
		const struct ipv4 *ip = found;

		more = put_ipv4(m, ip, len, &p);
		if (more)
			more |= put_rest(ctx, m, &p, ip->addresses, 1);
	} else if (p.proto == ETH_P_IPV6 && !header(ctx, p.l3, &room, sizeof(room.v6), &found)) {
		const struct ipv6 *ip = found;

		more = put_ipv6(ctx, m, ip, len, &p);
		if (more)
			more |= put_rest(ctx, m, &p, ip->addresses, 0);
	}
	return valid | more;
}

#endif
