// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* A layout with everything that can stand in one, gaps included. Compiled for its BTF alone; pahole says where. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u16 __le16;
enum kind { KIND_NONE, KIND_IPV4 = 4 };
enum wide { WIDE = 1ULL << 40 };
struct slot {
	__u16 port;
	signed char weight;
	_Bool used;
};
struct places {
	__u32 csum : 2;
	__u32 queue : 9;
	__u8 after;
	enum kind pkt_type;
	enum wide wide;
	void *ring;
	const char **names;
	union {
		struct {
			__be32 src;
			__be32 dst;
		} v4;
		__u8 v6[16];
		float ratio;
	} l3;
	union {
		__le16 mark;
		struct {
			__u8 low;
			__u8 high;
		};
	};
	const __u16 pairs[1][2];
	struct slot slots[2];
	__u64 late;
	__u8 last;
} *places;
