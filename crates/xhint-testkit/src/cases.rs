//! Programs run on packets of known metadata, and the values that they must read, worked out by hand.

/// A program, a NIC, the metadata in front of the packet, and what the program must find.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The file in `fixtures/programs`.
    pub source: &'static str,
    /// The program's name in it.
    pub program: &'static str,
    /// The file in `fixtures/nics`.
    pub nic: &'static str,
    /// Bytes of metadata: as many as the layout has.
    pub length: usize,
    /// Bytes that differ from `metadata`'s usual ones, as place and value.
    pub set: &'static [(usize, u8)],
    /// The numbers the program puts into `out`, from 0 on.
    pub out: &'static [u64],
}

impl Case {
    /// The metadata: byte `i` is `0x80 + i` (modulo 256) where [`Case::set`] does not say otherwise, so that each byte
    /// read shows its place, and signs show.
    #[must_use]
    pub fn metadata(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..self.length).map(|i| (0x80 + i) as u8).collect();
        for (place, value) in self.set {
            bytes[*place] = *value;
        }
        bytes
    }
}

/// What a program here puts where a field is missing.
const DEAD: u64 = 0xdead;

/// All cases. Little endian, as the machines are that run them. Each is good for every compiler and `-mcpu`.
pub const CASES: &[Case] = &[
    // nics/plain.c: timestamp u64@0 hash u32@8 vlan u16@12 pkt_type u8@14 csum_ok @15 mark u32@16 gone u32@20.
    Case {
        source: "fields.bpf.c",
        program: "read_fields",
        nic: "plain.c",
        length: 24,
        set: &[(15, 1)],
        out: &[0x8786_8584_8382_8180, 0x8b8a_8988, 0x8d8c, 0x8e, 1, 0x9392_9190, 0x9796_9594],
    },
    // nics/mlx_rx.c: csum_ok @2 pkt_type @3 mark @4 vlan @8 hash @12 timestamp @16, gone missing.
    Case {
        source: "fields.bpf.c",
        program: "read_fields",
        nic: "mlx_rx.c",
        length: 24,
        set: &[(2, 1)],
        out: &[0x9796_9594_9392_9190, 0x8f8e_8d8c, 0x8988, 0x83, 1, 0x8786_8584, DEAD],
    },
    // nics/narrow.c: hash u16@0 vlan u8@2 pkt_type u8@3 timestamp u32@4 csum_ok @11, mark and gone missing.
    Case {
        source: "fields.bpf.c",
        program: "read_fields",
        nic: "narrow.c",
        length: 16,
        set: &[(11, 1)],
        out: &[0x8786_8584, 0x8180, 0x82, 0x83, 1, DEAD, DEAD],
    },
    // nics/wide.c: csum_ok u32@0 pkt_type u32@4 hash u64@8 vlan u32@16 mark u64@48 timestamp u64@64.
    Case {
        source: "fields.bpf.c",
        program: "read_fields",
        nic: "wide.c",
        length: 72,
        set: &[(0, 1), (1, 0), (2, 0), (3, 0)],
        out: &[0xc7c6_c5c4_c3c2_c1c0, 0x8f8e_8d8c_8b8a_8988, 0x9392_9190, 0x8786_8584, 1, 0xb7b6_b5b4_b3b2_b1b0, DEAD],
    },
    Case {
        source: "fields.bpf.c",
        program: "describe_fields",
        nic: "wide.c",
        length: 0,
        set: &[],
        // timestamp at 64, 8 bytes; hash at 8, 8; vlan at 16, 4; pkt_type at 4, 4; mark there, gone not; none signed.
        out: &[64, 8, 8, 8, 16, 4, 4, 4, 1, 0, 0, 0, 72],
    },
    // nics/signs.c: drift s64@0 small s16@8 tiny s8@11 delta u32@12 plain s32@16.
    Case {
        source: "signs.bpf.c",
        program: "read_signed",
        nic: "signs.c",
        length: 24,
        set: &[],
        out: &[
            0xffff_ffff_ffff_ff8b,
            0xffff_ffff_ffff_8988,
            0xffff_ffff_8f8e_8d8c,
            0x8786_8584_8382_8180,
            DEAD,
            0x9392_9190,
        ],
    },
    Case {
        source: "signs.bpf.c",
        program: "describe_signs",
        nic: "signs.c",
        length: 0,
        set: &[],
        out: &[1, 1, 0, 1, 1],
    },
    // nics/bits.c: csum_ok bit 0, pkt_type bits 1-5, vlan 16-27, delta 32-40, mark 41-60, stamp 64-111.
    // Byte 0 is 0b00_10101_1; bytes 4-7 are 0xabcde << 9 | 0x1fe.
    Case {
        source: "bitfields.bpf.c",
        program: "read_bits",
        nic: "bits.c",
        length: 24,
        set: &[(0, 0x2b), (2, 0x34), (3, 0x92), (4, 0xfe), (5, 0xbd), (6, 0x79), (7, 0x15)],
        out: &[0x15, 0x234, 1, 0xffff_ffff_ffff_fffe, 0xabcde, 0x8d8c_8b8a_8988, DEAD],
    },
    // nics/nested.c: pkt_type u16@2 dport @4 sport @6, l3.v4.flow @12 source @16, l3.v6.flow @16 source @20, tag @40
    // mark @44, flows @48 of 16 bytes (length @0 id @4), digest @176, tail @192.
    Case {
        source: "nested.bpf.c",
        program: "read_nested",
        nic: "nested.c",
        length: 192,
        set: &[(2, 6), (3, 0)],
        out: &[6, 0x9392_9190, 0xa3, 0x8786, 0x8584, 0xafae_adac, 0xa9a8],
    },
    Case {
        source: "nested.bpf.c",
        program: "read_nested",
        nic: "nested.c",
        length: 192,
        set: &[(2, 4), (3, 0)],
        out: &[4, 0x8f8e_8d8c, 0x9392_9190, 0x8786, 0x8584, 0xafae_adac, 0xa9a8],
    },
    Case {
        source: "nested.bpf.c",
        program: "read_arrays",
        nic: "nested.c",
        length: 192,
        set: &[],
        out: &[0xb7b6_b5b4, 0xc1c0, 0xe7e6_e5e4, 0x35, 128, 16, 192, 204, 1, 16],
    },
    // nics/short.c: flows @20, 2 of 8 bytes (id @0 length u32@4); digest @36, 6 bytes; tail @44, 2 elements and no more.
    Case {
        source: "nested.bpf.c",
        program: "read_arrays",
        nic: "short.c",
        length: 52,
        set: &[],
        out: &[0x9796_9594, 0xa3a2_a1a0, DEAD, 0xa9, 16, 8, 44, DEAD, 0, 6],
    },
    // nics/nested.c: nic_extra_t has hash @16 and first.length @0, and 24 bytes.
    Case {
        source: "nested.bpf.c",
        program: "read_typedef",
        nic: "nested.c",
        length: 24,
        set: &[],
        out: &[1, 24, 0x9392_9190, 0x8180],
    },
    // nics/short.c: nic_extra_t is a named struct with hash u16@0.
    Case {
        source: "nested.bpf.c",
        program: "read_typedef",
        nic: "short.c",
        length: 4,
        set: &[],
        out: &[1, 2, 0x8180, DEAD],
    },
    // nics/plain.c has no such typedef: no size, no fields.
    Case {
        source: "nested.bpf.c",
        program: "read_typedef",
        nic: "plain.c",
        length: 4,
        set: &[],
        out: &[0, 0, DEAD, DEAD],
    },
    // Compatible: bool and u8, char and bool, pointer and pointer, struct and union, arrays of ints, float and double.
    // Not: int and enum, enums of two names, u64 and pointer.
    Case {
        source: "kinds.bpf.c",
        program: "describe_kinds",
        nic: "kinds.c",
        length: 0,
        set: &[],
        out: &[1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 1],
    },
    // nics/kinds.c: flag @0 letter @1 pointer @8 part.b @20 list u16@24.
    Case {
        source: "kinds.bpf.c",
        program: "read_kinds",
        nic: "kinds.c",
        length: 48,
        set: &[(0, 1), (1, 1)],
        out: &[1, 1, DEAD, 0x8f8e_8d8c_8b8a_8988, DEAD, 0x9796_9594, 0x9b9a, DEAD],
    },
    // nics/pointers.c: pointer @0 colour @12 part.b @16 letter @28 flag @29 number @32 list @36 word @48.
    Case {
        source: "kinds.bpf.c",
        program: "read_kinds",
        nic: "pointers.c",
        length: 64,
        set: &[(29, 1)],
        out: &[
            1,
            0x9c,
            0xa3a2_a1a0,
            0x8786_8584_8382_8180,
            0x8f8e_8d8c,
            0x9392_9190,
            0xabaa_a9a8,
            0xb7b6_b5b4_b3b2_b1b0,
        ],
    },
    Case {
        source: "flavours.bpf.c",
        program: "by_flavour",
        nic: "mlx_rx.c",
        length: 24,
        set: &[],
        out: &[0x8f8e_8d8c, DEAD, 4, 0, 0],
    },
    // nics/flavoured.c: new_mark @0, hash u64@8, in a struct whose name has a flavour of its own.
    Case {
        source: "flavours.bpf.c",
        program: "by_flavour",
        nic: "flavoured.c",
        length: 16,
        set: &[],
        out: &[0x8f8e_8d8c_8b8a_8988, 0x8180, 8, 0, 0],
    },
    // In nics/enums.c, and BPF_FUNC_redirect_map is 51 and HMM_PFN_VALID bit 63 in the kernel.
    Case {
        source: "enums.bpf.c",
        program: "enumerators_there",
        nic: "enums.c",
        length: 0,
        set: &[],
        out: &[1, 0, 1, 0, 1, 1, 1, 1, 0],
    },
    Case {
        source: "enums.bpf.c",
        program: "enumerator_values",
        nic: "enums.c",
        length: 0,
        set: &[],
        out: &[10, 20, DEAD, 20, 0xffff_ffff_ffff_fffe, DEAD, 51, 5, 0xfe_dcba_9876, 1 << 63],
    },
    Case {
        source: "matches.bpf.c",
        program: "match",
        nic: "matches.c",
        length: 0,
        set: &[],
        // inner, holder, choice, mode, mode___fewer, callback_t, callbacks and qualified; the others not.
        out: &[1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1, 0, 1],
    },
    Case {
        source: "matches.bpf.c",
        program: "exist",
        nic: "matches.c",
        length: 0,
        set: &[],
        // Existence asks less: kinds agree, and of functions the number and kinds of parameters.
        out: &[1, 1, 1, 1, 1, 0, 0, 1],
    },
    // Of the kernel: sk_buff, bpf_prog_type and sk_buff_data_t; of the NIC: nic_meta.
    Case {
        source: "types.bpf.c",
        program: "type_existence",
        nic: "plain.c",
        length: 0,
        set: &[],
        out: &[1, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0],
    },
];
