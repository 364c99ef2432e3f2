/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A layout of SIZE bytes, called longSIZE. */
#define NAME_OF(size) long##size
#define NAME(size) NAME_OF(size)

struct NAME(SIZE) {
	unsigned int rx_hash;
	unsigned char rest[SIZE - 8];
	unsigned int btf_id;
} __attribute__((btf_decl_tag("xhint:as=nic_meta")));

struct NAME(SIZE) *keep;
