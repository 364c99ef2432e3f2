//! The oracle itself: what libbpf makes of a fixture, and what the kernel then reads.

#![allow(missing_docs)]

use xhint_testkit::flat::{Nic, merge};
use xhint_testkit::oracle::relocate;
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture, privileged};

/// Metadata as `nics/mlx_rx.c` has it: timestamp at 16, hash at 12, vlan at 8, mark at 4, pkt_type at 3, csum_ok at 2.
const METADATA: [u8; 24] = [
    0, 0, 1, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0, 0, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x91, 0x92, 0x93, 0x94,
    0x95, 0x96, 0x97,
];

#[test]
fn libbpf_relocates_and_the_kernel_reads_by_a_custom_btf() {
    if !privileged() {
        return;
    }
    let object = fixture::program("fields.bpf.c").object();
    let nic = fixture::nic("mlx_rx.c");
    let flat = merge(&fixture::corpus("vmlinux.btf"), &[Nic::Standalone(&nic)]);
    let flat = fixture::keep("oracle", "btf", &flat);

    let relocated = relocate(&object, Some(&flat)).unwrap();
    assert_eq!(relocated.maps, [".bss"]);
    let names: Vec<_> = relocated.programs.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["read_fields", "describe_fields", "write_fields"]);
    assert!(relocated.log.contains("CO-RE"), "{}", relocated.log);

    let loaded = Loaded::load(&object, Some(&flat)).unwrap();
    let outcome = loaded.run("read_fields", &METADATA, &[0; 64]).unwrap();
    assert_eq!(outcome.returned, 2);
    let out: Vec<_> =
        loaded.global(".bss").chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    let read = [0x9796_9594_9392_9190, 0x8f8e_8d8c, 0x8988, 0x83, 1, 0x8786_8584, 0xdead];
    assert_eq!(out[..7], read);
}

#[test]
fn libbpf_says_why_it_refuses() {
    if !privileged() {
        return;
    }
    let object = fixture::keep("not-elf", "o", b"not an object");
    let error = relocate(&object, None).unwrap_err();
    assert!(error.contains("ELF"), "{error}");
}
