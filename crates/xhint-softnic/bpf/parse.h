/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The parser: from a packet to a value per hint.
 */
#ifndef XHINT_PARSE_H
#define XHINT_PARSE_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "maps.h"

#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_IPV6 0x86DD
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88A8

/* enum xdp_rss_hash_type, include/net/xdp.h */
#define RSS_L3_IPV4 (1u << 0)
#define RSS_L3_IPV6 (1u << 1)
#define RSS_L4 (1u << 3)
#define RSS_L4_TCP (1u << 4)
#define RSS_L4_UDP (1u << 5)

struct xdp_rxq_info {
	__u32 queue_index;
} __attribute__((preserve_access_index));

struct xdp_buff {
	struct xdp_rxq_info *rxq;
} __attribute__((preserve_access_index));

/*
 * A length that is 1 to `most`, a power of two, in words that every verifier follows: that a number is not 0 tells one
 * before Linux 6.8 nothing of its bounds, and clang makes one comparison of two. The compiler must not know the number,
 * or it would leave this out.
 */
static __always_inline __u32 length(__u32 n, __u32 most)
{
	asm volatile("" : "+r"(n));
	return ((n - 1) & (most - 1)) + 1;
}

/*
 * The kernel's own context. The register holds its address, which for a program with CAP_PERFMON becomes a number by
 * being stored; bpf_cast_to_kern_ctx would give a pointer that can be followed, but is not there before Linux 6.2.
 */
static __always_inline struct xdp_buff *kernel_context(struct xdp_md *ctx, struct work *w)
{
	*(struct xdp_md *volatile *)&w->context = ctx;
	return *(struct xdp_buff *volatile *)&w->context;
}

static __always_inline void set(struct work *w, enum slot slot, __u64 value)
{
	w->values[slot] = value;
	w->present |= 1ull << slot;
}

static __always_inline void is(struct work *w, enum class class)
{
	w->present |= 1ull << class;
}

/* Big-endian numbers of the header; the caller has compared `at` with the length. */
static __always_inline __u8 get8(const struct work *w, __u32 at)
{
	return w->header[at & (HEADER_BYTES - 1)];
}

static __always_inline __u16 get16(const struct work *w, __u32 at)
{
	const __u8 *p = w->header + (at & (HEADER_BYTES - 1));

	return (__u16)p[0] << 8 | p[1];
}

static __always_inline __u32 get32(const struct work *w, __u32 at)
{
	const __u8 *p = w->header + (at & (HEADER_BYTES - 1));

	return (__u32)p[0] << 24 | (__u32)p[1] << 16 | (__u32)p[2] << 8 | p[3];
}

static __always_inline __u64 get64(const struct work *w, __u32 at)
{
	return (__u64)get32(w, at) << 32 | get32(w, at + 4);
}

/*
 * The steps of the parser are global functions, which the verifier checks one by one: inlined, every
 * way through one would be checked with every way through the next.
 */
__noinline int parse_ethernet(struct work *w)
{
	struct parse *p;
	__u32 at = 12;

	if (!w)
		return 0;
	p = &w->parse;
	if (p->have < 14)
		return -1;
	p->proto = get16(w, at);
	for (int i = 0; i < 2; i++) {
		if (p->proto != ETH_P_8021Q && p->proto != ETH_P_8021AD)
			break;
		if (p->have < at + 6)
			break;
		if (i == 0) { /* the outer tag is the one a NIC strips */
			set(w, SLOT_VLAN_PROTO, p->proto);
			set(w, SLOT_VLAN_TCI, get16(w, at + 2));
			is(w, CLASS_VLAN);
		}
		at += 4;
		p->proto = get16(w, at);
	}
	p->l3 = at + 2;
	set(w, SLOT_ETH_PROTO, p->proto);
	return 0;
}

/* The one's complement sum of an IPv4 header is 0xffff. */
static __always_inline __u8 ipv4_header_bad(struct work *w, __u32 at, __u32 len)
{
	__u32 sum = 0;

	for (__u32 i = 0; i < 60; i += 2) {
		if (i >= len)
			break;
		sum += get16(w, at + i);
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum != 0xffff;
}

__noinline int parse_ipv4(struct work *w)
{
	struct parse *p;
	__u32 at, ihl, total;
	__u16 frag;

	if (!w)
		return 0;
	p = &w->parse;
	at = p->l3;
	if (p->have < at + 20 || get8(w, at) >> 4 != 4)
		return 0;
	ihl = (get8(w, at) & 15) * 4;
	total = get16(w, at + 2);
	if (ihl < 20 || p->have < at + ihl || total < ihl || total > p->len - at)
		return 0;
	is(w, CLASS_IPV4);
	frag = get16(w, at + 6);
	p->fragment = (frag & 0x3fff) != 0; /* more fragments, or an offset */
	p->ip_proto = get8(w, at + 9);
	p->l3_bad = ipv4_header_bad(w, at, ihl);
	p->l4_len = total - ihl;
	if (!p->fragment)
		p->l4 = at + ihl;

	set(w, SLOT_IP_TOS, get8(w, at + 1));
	set(w, SLOT_IP_TTL, get8(w, at + 8));
	set(w, SLOT_IP_PROTO, p->ip_proto);
	set(w, SLOT_IPV4_SRC, get32(w, at + 12));
	set(w, SLOT_IPV4_DST, get32(w, at + 16));

	for (int i = 0; i < 8; i++)
		w->tuple[i] = get8(w, at + 12 + i);
	p->tuple_len = 8;
	p->hash_type = RSS_L3_IPV4;
	return 0;
}

static __always_inline int is_extension(__u8 next)
{
	/* hop-by-hop, routing, fragment, authentication, destination options */
	return next == 0 || next == 43 || next == 44 || next == 51 || next == 60;
}

__noinline int parse_ipv6(struct work *w)
{
	struct parse *p;
	__u32 at, end, next_at;
	__u8 next;

	if (!w)
		return 0;
	p = &w->parse;
	at = p->l3;
	if (p->have < at + 40 || get8(w, at) >> 4 != 6)
		return 0;
	end = at + 40 + get16(w, at + 4);
	if (end > p->len)
		return 0;
	is(w, CLASS_IPV6);
	set(w, SLOT_IPV6_FLOW, get32(w, at) & 0xfffff);
	set(w, SLOT_IP_TOS, (get16(w, at) >> 4) & 0xff);
	set(w, SLOT_IP_TTL, get8(w, at + 7));
	set(w, SLOT_IPV6_SRC, get64(w, at + 8));
	set(w, SLOT_IPV6_SRC_LOW, get64(w, at + 16));
	set(w, SLOT_IPV6_DST, get64(w, at + 24));
	set(w, SLOT_IPV6_DST_LOW, get64(w, at + 32));

	next = get8(w, at + 6);
	next_at = at + 40;
	for (int i = 0; i < 6; i++) {
		if (!is_extension(next))
			break;
		if (p->have < next_at + 8)
			break;
		if (next == 44) {
			/* an atomic fragment (RFC 6946) is a whole packet */
			if (get16(w, next_at + 2) & 0xfff9)
				p->fragment = 1;
			next = get8(w, next_at);
			next_at += 8;
		} else if (next == 51) {
			next = get8(w, next_at);
			next_at += (get8(w, next_at + 1) + 2) * 4;
		} else {
			next = get8(w, next_at);
			next_at += (get8(w, next_at + 1) + 1) * 8;
		}
		next_at &= 0xffff;
		if (p->fragment)
			break;
	}
	p->ip_proto = next;
	set(w, SLOT_IP_PROTO, next);
	if (!p->fragment && !is_extension(next) && next_at <= end) {
		p->l4 = next_at;
		p->l4_len = end - next_at;
	}

	for (int i = 0; i < 32; i++)
		w->tuple[i] = get8(w, at + 8 + i);
	p->tuple_len = 32;
	p->hash_type = RSS_L3_IPV6;
	return 0;
}

__noinline int parse_arp(struct work *w)
{
	struct parse *p;

	if (!w)
		return 0;
	p = &w->parse;
	if (p->have < p->l3 + 8)
		return 0;
	is(w, CLASS_ARP);
	set(w, SLOT_ARP_OP, get16(w, p->l3 + 6));
	return 0;
}

static __always_inline void set_ports(struct work *w, struct parse *p)
{
	set(w, SLOT_SRC_PORT, get16(w, p->l4));
	set(w, SLOT_DST_PORT, get16(w, p->l4 + 2));
	p->hash_type |= RSS_L4;
}

__noinline int parse_l4(struct work *w)
{
	struct parse *p;
	__u32 at;

	if (!w)
		return 0;
	p = &w->parse;
	at = p->l4;
	if (!at)
		return 0;
	if (p->ip_proto == 6 && p->l4_len >= 20 && p->have >= at + 20) {
		is(w, CLASS_TCP);
		set_ports(w, p);
		p->hash_type |= RSS_L4_TCP;
		set(w, SLOT_TCP_FLAGS, get8(w, at + 13));
	} else if (p->ip_proto == 17 && p->l4_len >= 8 && p->have >= at + 8) {
		is(w, CLASS_UDP);
		set_ports(w, p);
		p->hash_type |= RSS_L4_UDP;
	} else if ((p->ip_proto == 1 || p->ip_proto == 58) && p->l4_len >= 4 && p->have >= at + 4) {
		is(w, CLASS_ICMP);
		set(w, SLOT_ICMP_TYPE, get8(w, at));
		set(w, SLOT_ICMP_CODE, get8(w, at + 1));
	} else {
		return 0;
	}
	set(w, SLOT_L4_OFFSET, at);
	return 0;
}

static __always_inline __u32 pkt_type(const struct work *w)
{
	__u64 c = w->present;
	int tcp = c >> CLASS_TCP & 1, udp = c >> CLASS_UDP & 1, icmp = c >> CLASS_ICMP & 1;

	if (c >> CLASS_IPV4 & 1)
		return tcp ? PKT_IPV4_TCP : udp ? PKT_IPV4_UDP : icmp ? PKT_IPV4_ICMP : PKT_IPV4;
	if (c >> CLASS_IPV6 & 1)
		return tcp ? PKT_IPV6_TCP : udp ? PKT_IPV6_UDP : icmp ? PKT_IPV6_ICMP : PKT_IPV6;
	return c >> CLASS_ARP & 1 ? PKT_ARP : PKT_UNKNOWN;
}

/* Toeplitz with the key that user space put into the table: addresses, then ports where there are. */
__noinline int hash_tuple(__u32 len)
{
	__u32 zero = 0, hash = 0;
	struct work *w = bpf_map_lookup_elem(&works, &zero);
	struct toeplitz *t = bpf_map_lookup_elem(&toeplitz, &zero);

	if (!w || !t)
		return 0;
	for (__u32 i = 0; i < TOEPLITZ_BYTES; i++) {
		if (i >= len)
			break;
		hash ^= t->of[i][w->tuple[i]];
	}
	return hash;
}

static __always_inline __u32 mix(__u32 h)
{
	/* The finaliser of MurmurHash3: a flow's mark follows from its hash and looks nothing like it. */
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	h ^= h >> 16;
	return h;
}

__noinline int set_hash(struct work *w)
{
	struct parse *p;
	__u32 len, hash;

	if (!w)
		return 0;
	p = &w->parse;
	len = p->tuple_len;
	if (!len)
		return 0;
	if (p->hash_type & RSS_L4) {
		__u8 *ports = w->tuple + (len == 8 ? 8 : 32);

		for (int i = 0; i < 4; i++)
			ports[i] = get8(w, p->l4 + i);
		len += 4;
	}
	hash = hash_tuple(len);
	set(w, SLOT_RX_HASH, hash);
	set(w, SLOT_RX_HASH_TYPE, p->hash_type);
	set(w, SLOT_FLOW_MARK, mix(hash));
	return 0;
}

struct sum {
	struct xdp_md *ctx;
	struct work *w;
	__u32 at;
	__u32 left;
	__s64 sum;
};

static long sum_chunk(__u32 i, struct sum *s)
{
	__u32 take = s->left;

	if (take == 0)
		return 1;
	if (take > CHUNK)
		take = CHUNK;
	if (take < CHUNK)
		for (int k = 0; k < CHUNK; k++)
			s->w->chunk[k] = 0;
	if (bpf_xdp_load_bytes(s->ctx, s->at, s->w->chunk, length(take, CHUNK))) {
		s->sum = -1;
		return 1;
	}
	s->sum = bpf_csum_diff(0, 0, (__be32 *)s->w->chunk, CHUNK, s->sum);
	s->at += take;
	s->left -= take;
	return 0;
}

static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Whether the transport's checksum over `len` bytes at `at` holds. */
static __always_inline __u32 l4_sum_state(struct xdp_md *ctx, struct work *w, const struct parse *p)
{
	struct sum s = { .ctx = ctx, .w = w, .at = p->l4 };
	__u32 len = p->l4_len;
	__u64 pseudo;

	if (p->ip_proto == 17) {
		if (get16(w, p->l4 + 6) == 0)
			return CSUM_NONE; /* UDP over IPv4 may go without; over IPv6 it is not ours to judge */
		len = get16(w, p->l4 + 4);
		if (len < 8 || len > p->l4_len)
			return CSUM_BAD;
	}
	if (len > CHUNK * MAX_CHUNKS)
		return CSUM_NONE;
	s.left = len;
	pseudo = bpf_htons(len) + bpf_htons(p->ip_proto);
	bpf_loop(MAX_CHUNKS, sum_chunk, &s, 0);
	if (s.sum < 0 || s.left)
		return CSUM_NONE;
	if (p->ip_proto != 1) { /* all but ICMP of IPv4 sum the addresses too */
		for (__u32 i = 0; i < 16; i++) {
			if (i * 2 >= p->tuple_len)
				break;
			pseudo += *(__u16 *)(w->tuple + i * 2);
		}
	} else {
		pseudo = 0;
	}
	return fold((__u64)(__u32)s.sum + pseudo) == 0xffff ? CSUM_OK : CSUM_BAD;
}

__noinline int set_csum(struct xdp_md *ctx, struct work *w)
{
	__u32 state = CSUM_NONE;

	if (!w)
		return 0;
	if (w->parse.l3_bad)
		state = CSUM_BAD;
	else if (w->present >> SLOT_L4_OFFSET & 1)
		state = l4_sum_state(ctx, w, &w->parse);
	set(w, SLOT_CSUM_STATE, state);
	return 0;
}

/* Reads what is parsed of the packet into the scratch. */
static __always_inline int load_header(struct xdp_md *ctx, struct work *w, struct parse *p)
{
	__u32 have;

	p->len = bpf_xdp_get_buff_len(ctx);
	have = p->len;
	if (have > HEADER_BYTES)
		have = HEADER_BYTES;
	if (bpf_xdp_load_bytes(ctx, 0, w->header, length(have, HEADER_BYTES)))
		return -1;
	p->have = have;
	return 0;
}

/* Step 1: every value that anybody wants. `slots` says which of the dear ones are wanted. */
static __always_inline int parse(struct xdp_md *ctx, struct work *w, __u64 slots)
{
	const __u64 hashes = 1ull << SLOT_RX_HASH | 1ull << SLOT_RX_HASH_TYPE | 1ull << SLOT_FLOW_MARK;
	struct parse *p = &w->parse;
	__u32 zero = 0;
	__u64 *number;

	__builtin_memset(p, 0, sizeof(*p));
	__builtin_memset(w->values, 0, sizeof(w->values));
	w->present = 0;
	if (load_header(ctx, w, p) || parse_ethernet(w))
		return -1;

	set(w, SLOT_CONST, 0);
	set(w, SLOT_RX_TIMESTAMP, bpf_ktime_get_tai_ns());
	set(w, SLOT_RX_QUEUE, ctx->rx_queue_index);
	set(w, SLOT_PKT_LEN, p->len);
	if (slots & 1ull << SLOT_RX_DESC)
		set(w, SLOT_RX_DESC, (__u64)BPF_CORE_READ(kernel_context(ctx, w), rxq));
	number = bpf_map_lookup_elem(&seq, &zero);
	if (number)
		set(w, SLOT_SEQ, __sync_fetch_and_add(number, 1));

	if (p->proto == ETH_P_IP)
		parse_ipv4(w);
	else if (p->proto == ETH_P_IPV6)
		parse_ipv6(w);
	else if (p->proto == ETH_P_ARP)
		parse_arp(w);
	parse_l4(w);
	if (!(w->present >> CLASS_IPV4 & 7))
		is(w, CLASS_OTHER);
	set(w, SLOT_PKT_TYPE, pkt_type(w));
	if (slots & hashes)
		set_hash(w);
	if (slots & 1ull << SLOT_CSUM_STATE)
		set_csum(ctx, w);
	return p->len;
}

#endif
