// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Layouts of every shape that a plan is derived from, and some that none is. Compiled for their BTF alone. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef u16 __be16;
typedef u32 __be32;
typedef __be32 vendors_own;

#define hint(name) __attribute__((btf_decl_tag("xhint:hint=" name)))
#define when(name) __attribute__((btf_decl_tag("xhint:when=" name)))
#define tag(text) __attribute__((btf_decl_tag(text)))

enum kind { MY_UNKNOWN = 3, MY_IPV4 = 40, MY_IPV6_TCP = 61, MY_IPV6___v2 = 60, RARP = 8 };
enum sum { OK = 7, SUM_BAD = -1 };

struct inner {
	u16 pad;
	u16 port hint("dst_port");
};

/* Everything once. */
struct all {
	u64 rx_timestamp;
	const volatile vendors_own rx_hash;
	struct {
		u8 ip_ttl;
		u8 ignored;
		__be16 vlan_tci;
	};
	struct inner in[2];
	u8 src[16] hint("ipv6_src");
	u32 bits_a : 5 hint("ip_tos");
	u32 bits_b : 20 hint("pkt_len");
	u32 : 0;
	enum kind pkt_type;
	s32 seq;
	void *ptr hint("rx_desc");
	u16 magic hint("const=0xbeef");
	u16 number;
	u32 btf_id;
} all;

/* Which arm is for which packets. */
struct arms {
	union {
		struct {
			u32 a hint("ipv4_src");
			u8 p hint("ip_proto");
			union {
				u8 flags hint("tcp_flags");
				u8 type hint("icmp_type");
			} l4;
		} x;
		struct {
			u8 p hint("ip_proto");
			u32 f hint("ipv6_flow");
		} y;
		struct {
			u16 len hint("pkt_len");
		} arp;
		u16 mark hint("flow_mark") when("other");
	} l3;
	u32 btf_id;
} arms;

/* The selector is where the tag says. */
struct selected {
	u8 id tag("xhint:selector");
	u8 pad[3];
} selected;

struct too_large {
	u32 words[64];
} too_large;

struct odd {
	u8 bytes[6];
} odd;

struct unknown_hint {
	u32 a hint("rx_hsah");
} unknown_hint;

struct unknown_kind {
	u32 a when("ipv5");
} unknown_kind;

struct no_number {
	struct inner a hint("rx_hash");
	u32 b;
} no_number;

struct floating {
	float rx_hash;
} floating;

struct overlap {
	union {
		u32 rx_hash;
		u32 flow_mark;
	};
} overlap;

struct crowd {
	u8 a[66] hint("seq");
	u16 b;
} crowd;

struct odd_order {
	__be32 a : 12 hint("rx_hash");
	u32 b : 20;
} odd_order;

typedef struct {
	u32 rx_hash;
} nameless;
nameless by_typedef;
