/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Reads what any NIC says of its packets. Nothing here knows of a vendor: the structs name fields, no offsets, and
 * each field is asked for before it is read. One compiled object of this runs on every NIC that xhint links it for.
 *
 *	make -C examples
 *
 * For each packet a record goes into the ring `records`: the source MAC address as its key, which fields the NIC
 * gave, and their values as numbers of this machine.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <xhint.h>

/* What the packet is, as the NIC's parser found. Each vendor has its own numbers for these names. */
enum nic_pkt_type {
	NIC_PKT_UNKNOWN,
	NIC_PKT_IPV4,
	NIC_PKT_IPV6,
	NIC_PKT_ARP,
};

struct net_device {
	int ifindex;
} __attribute__((preserve_access_index));

/* What the NIC's driver keeps of the ring a packet came from. */
struct nic_rx_ring {
	struct net_device *dev;
} __attribute__((preserve_access_index));

struct nic_meta {
	__u64 rx_timestamp;
	__u32 rx_hash;
	__u32 flow_mark;
	__u16 vlan_tci;
	__u16 pkt_len;
	__u16 src_port;
	__u16 dst_port;
	__u16 rx_queue;
	__u8 csum_state;
	enum nic_pkt_type pkt_type;
	union {
		struct {
			__u32 src;
			__u32 dst;
		} v4;
		struct {
			__u32 flow;
		} v6;
		struct {
			__u16 op;
		} arp;
	} l3;
	__u32 seq;
	struct nic_rx_ring *ptr_to_rx;
	__u32 btf_id;
} __attribute__((preserve_access_index));

/* The same fields where a NIC keeps them in network order. A field is found here or above, never in both. */
struct nic_meta___be {
	__be64 rx_timestamp;
	__be32 rx_hash;
	__be32 flow_mark;
	__be16 vlan_tci;
	__be16 pkt_len;
	__be16 src_port;
	__be16 dst_port;
	union {
		struct {
			__be32 src;
			__be32 dst;
		} v4;
		struct {
			__be32 flow;
		} v6;
		struct {
			__be16 op;
		} arp;
	} l3;
	__be32 seq;
} __attribute__((preserve_access_index));

/* Places in a record. The names, in lower case without HINT_, are the fields'. */
enum hint {
	HINT_RX_TIMESTAMP,
	HINT_RX_HASH,
	HINT_PKT_TYPE,
	HINT_VLAN_TCI,
	HINT_CSUM_STATE,
	HINT_FLOW_MARK,
	HINT_RX_QUEUE,
	HINT_PKT_LEN,
	HINT_SRC_PORT,
	HINT_DST_PORT,
	HINT_IPV4_SRC,
	HINT_IPV4_DST,
	HINT_IPV6_FLOW,
	HINT_ARP_OP,
	HINT_SEQ,
	HINT_IFINDEX,
	HINTS,
};

/* What became of a packet. */
enum outcome {
	OUTCOME_READ,    /* its metadata was read */
	OUTCOME_NONE,    /* it has none */
	OUTCOME_UNKNOWN, /* it has some of a layout that this program is not linked for */
	OUTCOME_NO_ROOM, /* the ring was full: user space does not keep up */
	OUTCOMES,
};

struct record {
	__u64 key;     /* the source MAC address as a number */
	__u64 present; /* a bit per hint */
	__u32 id;      /* the layout's, 0 if nothing was read */
	__u32 outcome;
	__u64 values[HINTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 23);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

/* What happens to packets: a loader may change it before it loads. */
const volatile __u32 verdict = XDP_PASS;

static __always_inline void count(__u32 outcome)
{
	__u64 *n = bpf_map_lookup_elem(&outcomes, &outcome);

	if (n)
		*n += 1;
}

#define SET(r, hint, value)                       \
	do {                                      \
		(r)->values[hint] = (value);      \
		(r)->present |= 1ull << (hint);   \
	} while (0)

/* A field in the order of this machine or in the network's, whichever the NIC has. */
#define HINT(r, m, hint, field, to_host)                                                \
	do {                                                                            \
		struct nic_meta___be *be_ = (void *)(m);                                \
		if (bpf_core_field_exists((m)->field))                                  \
			SET(r, hint, (m)->field);                                       \
		else if (bpf_core_field_exists(be_->field))                             \
			SET(r, hint, to_host(be_->field));                              \
	} while (0)

/* A field that some NICs keep in a few bits. */
#define HINT_BITS(r, m, hint, field)                                                    \
	do {                                                                            \
		if (bpf_core_field_exists((m)->field))                                  \
			SET(r, hint, BPF_CORE_READ_BITFIELD(m, field));                 \
	} while (0)

/* What is in the union depends on the packet. */
static __always_inline void read_l3(struct record *r, struct nic_meta *m)
{
	__u64 type = BPF_CORE_READ_BITFIELD(m, pkt_type);

	if (type == bpf_core_enum_value(enum nic_pkt_type, NIC_PKT_IPV4)) {
		SET(r, HINT_PKT_TYPE, NIC_PKT_IPV4);
		HINT(r, m, HINT_IPV4_SRC, l3.v4.src, bpf_ntohl);
		HINT(r, m, HINT_IPV4_DST, l3.v4.dst, bpf_ntohl);
	} else if (type == bpf_core_enum_value(enum nic_pkt_type, NIC_PKT_IPV6)) {
		SET(r, HINT_PKT_TYPE, NIC_PKT_IPV6);
		HINT(r, m, HINT_IPV6_FLOW, l3.v6.flow, bpf_ntohl);
	} else if (type == bpf_core_enum_value(enum nic_pkt_type, NIC_PKT_ARP)) {
		SET(r, HINT_PKT_TYPE, NIC_PKT_ARP);
		HINT(r, m, HINT_ARP_OP, l3.arp.op, bpf_ntohs);
	} else {
		SET(r, HINT_PKT_TYPE, NIC_PKT_UNKNOWN);
	}
}

static __always_inline void read_meta(struct record *r, struct nic_meta *m)
{
	r->id = m->btf_id;
	HINT(r, m, HINT_RX_TIMESTAMP, rx_timestamp, bpf_be64_to_cpu);
	HINT(r, m, HINT_RX_HASH, rx_hash, bpf_ntohl);
	HINT(r, m, HINT_VLAN_TCI, vlan_tci, bpf_ntohs);
	HINT(r, m, HINT_FLOW_MARK, flow_mark, bpf_ntohl);
	HINT(r, m, HINT_PKT_LEN, pkt_len, bpf_ntohs);
	HINT(r, m, HINT_SRC_PORT, src_port, bpf_ntohs);
	HINT(r, m, HINT_DST_PORT, dst_port, bpf_ntohs);
	HINT(r, m, HINT_SEQ, seq, bpf_ntohl);
	HINT_BITS(r, m, HINT_CSUM_STATE, csum_state);
	HINT_BITS(r, m, HINT_RX_QUEUE, rx_queue);
	if (bpf_core_field_exists(m->pkt_type))
		read_l3(r, m);
	/* Not there without CAP_PERFMON, which following a kernel pointer takes. */
	if (bpf_core_field_exists(m->ptr_to_rx))
		SET(r, HINT_IFINDEX, BPF_CORE_READ(m->ptr_to_rx, dev, ifindex));
}

SEC("xdp")
int hints(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
	struct record *r;
	__u8 *mac = data + 6;

	if (data + 14 > end)
		return verdict;
	r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);
	if (!r) {
		count(OUTCOME_NO_ROOM);
		return verdict;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->key = (__u64)mac[0] << 40 | (__u64)mac[1] << 32 | (__u64)mac[2] << 24 | (__u64)mac[3] << 16 |
		 (__u64)mac[4] << 8 | mac[5];
	if (xhint_fits(ctx, m) && xhint_is(m, struct nic_meta)) {
		r->outcome = OUTCOME_READ;
		read_meta(r, m);
	} else {
		r->outcome = (void *)m >= data ? OUTCOME_NONE : OUTCOME_UNKNOWN;
	}
	count(r->outcome);
	bpf_ringbuf_submit(r, 0);
	return verdict;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
