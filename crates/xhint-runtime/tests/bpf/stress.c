/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Layout number N of eight (-DN=0 … 7): the packet's length stands in word N, all other words are decoys; in
 * number 8 all are. */
typedef unsigned int __u32;

/* Linux 6.1 lets 32 bytes of metadata through: there the words are short ones. */
#if defined(META_ROOM) && META_ROOM < 40
typedef unsigned short word;
#define PAD word pad
#else
typedef __u32 word;
#define PAD
#endif

#define tag(text) __attribute__((btf_decl_tag(text)))
#define decoy(n) word w##n tag("xhint:hint=const=1")
#define length word pkt_len
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

#if N == 0
#define W0 length
#else
#define W0 decoy(0)
#endif
#if N == 1
#define W1 length
#else
#define W1 decoy(1)
#endif
#if N == 2
#define W2 length
#else
#define W2 decoy(2)
#endif
#if N == 3
#define W3 length
#else
#define W3 decoy(3)
#endif
#if N == 4
#define W4 length
#else
#define W4 decoy(4)
#endif
#if N == 5
#define W5 length
#else
#define W5 decoy(5)
#endif
#if N == 6
#define W6 length
#else
#define W6 decoy(6)
#endif
#if N == 7
#define W7 length
#else
#define W7 decoy(7)
#endif

struct JOIN(stress, N) {
	W0;
	W1;
	W2;
	W3;
	W4;
	W5;
	W6;
	W7;
#if N > 3
	/* Not all of one size. */
	decoy(8);
	PAD;
#endif
#ifndef NO_ID
	__u32 btf_id;
#endif
} tag("xhint:layout") tag("xhint:as=nic_meta");

struct JOIN(stress, N) *keep;
