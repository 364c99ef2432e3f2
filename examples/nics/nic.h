/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * How a vendor says in C what metadata its NIC puts in front of packets. The file is compiled, never run:
 *
 *	clang -target bpf -g -c alpha_fw1.c -o alpha_fw1.o
 *
 * and what matters of the result is its BTF, which `xhint --nic alpha_fw1.o` takes.
 */
#ifndef NIC_H
#define NIC_H

/* The kernel's names. By __be16 and its like a layout says in which byte order the NIC writes. */
typedef unsigned char __u8;
typedef unsigned short __u16, __be16, __le16;
typedef unsigned int __u32, __be32, __le32;
typedef unsigned long long __u64, __be64, __le64;

/*
 * How many bytes of metadata the kernel lets stand in front of a packet. Linux 6.1 takes no more than 32, so the example
 * NICs leave out some fields there (-DMETA_ROOM=32); veth has room for 216.
 */
#ifndef META_ROOM
#define META_ROOM 216
#endif

#define tag(text) __attribute__((btf_decl_tag(text)))

/* The struct is a layout: it describes all bytes of metadata that a packet carries. */
#define layout tag("xhint:layout")
/* Programs may know it by another name. */
#define answers_to(name) tag("xhint:as=" #name)
/* What the field means, where its name does not say it. */
#define hint(name) tag("xhint:hint=" #name)

#endif
