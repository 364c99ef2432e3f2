/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the wire program and user space share: the maps' value types. User space mirrors them in
 * src/wire/abi.rs; a test compares the two through the object's BTF.
 */
#ifndef XHINT_WIRE_H
#define XHINT_WIRE_H

#define MAX_OPS 64      /* fields of one plan */
#define MAX_META 216    /* bytes of metadata a veth frame has room for */
#define META_WORDS 28   /* MAX_META in 64-bit words, and one more for a field that crosses the last */
#define MAX_TABLES 4    /* enumerations of one plan that have values of their own */
#define TABLE_LEN 16
#define TOEPLITZ_BYTES 36 /* two IPv6 addresses and two ports */

/* Where a value stands in `values`; its bit in `present` says whether this packet has it. */
enum slot {
	SLOT_LAYOUT_ID = 0,
	SLOT_CONST = 1,
	SLOT_RX_TIMESTAMP = 2,
	SLOT_RX_HASH = 3,
	SLOT_RX_HASH_TYPE = 4,
	SLOT_PKT_TYPE = 5,
	SLOT_VLAN_TCI = 6,
	SLOT_VLAN_PROTO = 7,
	SLOT_CSUM_STATE = 8,
	SLOT_FLOW_MARK = 9,
	SLOT_RX_QUEUE = 10,
	SLOT_PKT_LEN = 11,
	SLOT_SRC_PORT = 12,
	SLOT_DST_PORT = 13,
	SLOT_IP_PROTO = 14,
	SLOT_IPV4_SRC = 15,
	SLOT_IPV4_DST = 16,
	SLOT_IPV6_FLOW = 17,
	SLOT_IPV6_SRC = 18,     /* high half; the low half is the next slot */
	SLOT_IPV6_SRC_LOW = 19,
	SLOT_IPV6_DST = 20,
	SLOT_IPV6_DST_LOW = 21,
	SLOT_ARP_OP = 22,
	SLOT_ICMP_TYPE = 23,
	SLOT_ICMP_CODE = 24,
	SLOT_SEQ = 25,
	SLOT_RX_DESC = 26,
	SLOT_IP_TOS = 27,
	SLOT_IP_TTL = 28,
	SLOT_TCP_FLAGS = 29,
	SLOT_ETH_PROTO = 30,
	SLOT_L4_OFFSET = 31,
	SLOTS = 32,
};

/* Bits of `present` above the slots: what kind of packet it is. */
enum class {
	CLASS_IPV4 = 32,
	CLASS_IPV6 = 33,
	CLASS_ARP = 34,
	CLASS_TCP = 35,
	CLASS_UDP = 36,
	CLASS_ICMP = 37,
	CLASS_VLAN = 38,
	CLASS_OTHER = 39,
};

enum pkt_type {
	PKT_UNKNOWN = 0,
	PKT_IPV4 = 1,
	PKT_IPV6 = 2,
	PKT_ARP = 3,
	PKT_IPV4_TCP = 4,
	PKT_IPV4_UDP = 5,
	PKT_IPV4_ICMP = 6,
	PKT_IPV6_TCP = 7,
	PKT_IPV6_UDP = 8,
	PKT_IPV6_ICMP = 9,
};

enum csum_state {
	CSUM_NONE = 0,
	CSUM_OK = 1,
	CSUM_BAD = 2,
};

enum op_flag {
	OP_SWAP = 1,  /* store most significant byte first */
	OP_TABLE = 2, /* the value is an index into tables[table] */
};

/* How one field of a layout is written. */
struct op {
	__u64 konst;      /* the value, if slot is SLOT_CONST */
	__u64 need;       /* bits of `present` without which the field is left alone */
	__u16 bit_offset; /* from the layout's first byte, least significant bit first */
	__u8 bits;        /* width, 1 to 64 */
	__u8 slot;
	__u8 shift;       /* the value is shifted right by this first */
	__u8 flags;       /* enum op_flag */
	__u8 table;
	__u8 pad;
};

enum plan_mode {
	MODE_FLOW = 0,   /* packets of one flow have one layout */
	MODE_ROUND = 1,  /* one layout after the other */
	MODE_RANDOM = 2, /* any */
};

/* One layout. The firmware is an array of these; the first one's mode and count hold for all. */
struct plan {
	__u32 id;
	__u32 size;  /* bytes of metadata, a multiple of 4; 0: none */
	__u32 ops;   /* how many of op[] */
	__u32 mode;  /* enum plan_mode */
	__u32 count; /* how many plans the firmware has */
	__u32 serial; /* which flash this was */
	__u64 slots; /* in the first plan: what the firmware's ops read, a bit per slot */
	char name[64];
	__u32 tables[MAX_TABLES][TABLE_LEN];
	struct op op[MAX_OPS];
};

/* What the NIC knew of one packet: one record of the truth log. */
struct truth {
	__u64 key;    /* the packet's source MAC address as a number */
	__u64 present;
	__u32 id;     /* layout id; 0: no metadata was written */
	__u32 serial; /* which flash the plan came from */
	__u64 values[SLOTS];
};

/* Counted per CPU. */
enum counter {
	COUNT_PACKETS = 0,       /* that came off the wire */
	COUNT_BYTES = 1,
	COUNT_FORWARDED = 2,     /* handed to the device's ring */
	COUNT_PLAIN = 3,         /* of these, without metadata as no layout is flashed */
	COUNT_DROP_META = 4,     /* dropped: no room for the metadata */
	COUNT_DROP_PORT = 5,     /* dropped: no device to hand it to */
	COUNT_DROP_LOAD = 6,     /* dropped: not even an Ethernet header could be read */
	COUNT_TRUTH_LOST = 7,    /* truth records that found the log full */
	COUNTERS = 8,
};

struct settings {
	__u64 truth; /* 1: keep the truth log */
};

#endif
