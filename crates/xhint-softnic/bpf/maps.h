/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The wire program's maps, and the scratch that a packet is worked on in.
 */
#ifndef XHINT_MAPS_H
#define XHINT_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "wire.h"

#define HEADER_BYTES 256 /* of a packet that are parsed */
#define CHUNK 64         /* bytes checksummed at a time */
#define MAX_CHUNKS 256   /* so packets up to 16 KiB */

/* What the parser has found so far. */
struct parse {
	__u32 len;       /* of the packet */
	__u32 have;      /* bytes of it in work.header */
	__u32 l3;
	__u32 l4;        /* 0: there is none to be read */
	__u32 l4_len;    /* by the IP header, for the checksum */
	__u32 tuple_len; /* bytes of work.tuple that make the hash, without ports */
	__u32 hash_type;
	__u16 proto;     /* EtherType after the tags */
	__u8 ip_proto;
	__u8 fragment;
	__u8 l3_bad;     /* IPv4 header checksum is wrong */
};

/* One packet in work. Too large for the stack; also what a test may look at afterwards. */
struct work {
	struct parse parse;
	__u64 values[SLOTS];
	__u64 present;
	__u64 context;
	__u64 meta[META_WORDS];
	__u8 header[HEADER_BYTES + CHUNK]; /* some more than is ever filled, so that a masked offset stays inside */
	__u8 chunk[CHUNK];
	__u8 tuple[TOEPLITZ_BYTES + 4];
};

struct toeplitz {
	__u32 of[TOEPLITZ_BYTES][256];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

/* What a byte at a place of the 5-tuple adds to the hash; filled by user space from the key. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct toeplitz);
} toeplitz SEC(".maps");

struct plans {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_INNER_MAP); /* a firmware has as many plans as it likes */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct plan));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct plans);
} firmware SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} port SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Packets per layout id. User space makes the entry before it flashes the layout. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} layouts SEC(".maps");

/* The running number, over all CPUs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seq SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} truth_log SEC(".maps");

static __always_inline void count(__u32 what, __u64 by)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &what);

	if (n)
		*n += by;
}

#endif
