/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The Toeplitz hash with the key of Microsoft's RSS documents: each four bits of the input add what `toeplitz` has by
 * their place and value. The build makes the table (build.rs).
 */
#ifndef XHINT_FILL_HASH_H
#define XHINT_FILL_HASH_H

static const __u32 toeplitz[72][16] SEC(".rodata.xhint_fill") = {
#include "toeplitz.inc"
};

/* What `count` words add that stand at word `place` of the input. */
static __always_inline __u32 hash_words(const __be32 *words, int place, int count)
{
	__u32 hash = 0;

	for (int i = 0; i < count; i++) {
		__u32 word = bpf_ntohl(words[i]);

		for (int k = 0; k < 8; k++)
			hash ^= toeplitz[(place + i) * 8 + k][word >> (28 - 4 * k) & 15];
	}
	return hash;
}

#endif
