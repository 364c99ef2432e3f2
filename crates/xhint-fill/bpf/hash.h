/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The Toeplitz hash with the key of Microsoft's RSS documents: each bit of the input that is 1 adds, by exclusive or, the
 * 32 bits of the key that begin at its place. That is a product of polynomials over two elements, of the input and the
 * key written backwards, of which the hash is 32 bits from the midst, backwards.
 *
 * Such a product is made of those of integers in which three bits of four are 0: a sum of up to eight bits has room in
 * four. So nothing is looked up: no map goes with it, and there is no address for a verifier to worry about.
 */
#ifndef XHINT_FILL_HASH_H
#define XHINT_FILL_HASH_H

/* For each word of the input, the 63 bits of the key that it meets, backwards (build.rs). */
static const __u64 toeplitz[9] = {
#include "toeplitz.inc"
};

#define EACH_FOURTH 0x1111111111111111ull

/* Adds what the word at `place` of the input makes; `sums` has each fourth bit, beginning at the first to the fourth. */
static __always_inline void hash_word(__u64 sums[4], __be32 input, int place)
{
	__u64 word = bpf_ntohl(input);

#pragma clang loop unroll(full)
	for (int i = 0; i < 4; i++) {
		__u64 bits = word & EACH_FOURTH << i;

#pragma clang loop unroll(full)
		for (int j = 0; j < 4; j++)
			sums[(i + j) & 3] ^= bits * (toeplitz[place] & EACH_FOURTH << j);
		/* One by one, or all products would wait for room on the stack. */
		asm volatile("" : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3]), "+r"(word));
	}
}

static __always_inline __u32 hash_of(const __u64 sums[4])
{
	__u64 all = 0;
	__u32 h;

#pragma clang loop unroll(full)
	for (int i = 0; i < 4; i++)
		all |= sums[i] & EACH_FOURTH << i;
	h = all >> 31;
	h = (h >> 1 & 0x55555555) | (h & 0x55555555) << 1;
	h = (h >> 2 & 0x33333333) | (h & 0x33333333) << 2;
	h = (h >> 4 & 0x0f0f0f0f) | (h & 0x0f0f0f0f) << 4;
	return __builtin_bswap32(h);
}

/*
 * Over addresses, and ports where there are; no verifier lets a pointer be compared with NULL without CAP_PERFMON.
 * Functions, so that each has the registers to itself.
 */
static __noinline __u64 hash_ipv4(const __be32 *addresses, const __be32 *ports, __u64 has_ports)
{
	__u64 sums[4] = {};

	hash_word(sums, addresses[0], 0);
	hash_word(sums, addresses[1], 1);
	if (has_ports)
		hash_word(sums, *ports, 2);
	return hash_of(sums);
}

static __noinline __u64 hash_ipv6(const __be32 *addresses, const __be32 *ports, __u64 has_ports)
{
	__u64 sums[4] = {};

#pragma clang loop unroll(full)
	for (int i = 0; i < 8; i++)
		hash_word(sums, addresses[i], i);
	if (has_ports)
		hash_word(sums, *ports, 8);
	return hash_of(sums);
}

#endif
