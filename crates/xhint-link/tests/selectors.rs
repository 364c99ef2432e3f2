//! Layouts of one length whose ids stand in different places: refused, or read alike by every dispatch.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use own::{compiled, nic_of, universe};
use xhint_link::{Dispatch, Error, Link, LinkOptions, Linked, Object};
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture, may_load};

const FRONT: &str =
    "struct front { __u16 kind tag(\"xhint:selector\"); __u16 pad; __u32 value; __u64 more; } LAYOUT(0x55);
                     struct front *f;";
const BACK: &str = "struct back { __u64 more; __u32 value; __u32 btf_id; } LAYOUT(0x1001); struct back *b;";
/// The same place as `back`, but half of it.
const HALF: &str =
    "struct half { __u64 more; __u32 value; __u16 kind tag(\"xhint:selector\"); __u16 pad; } LAYOUT(0x77);
                    struct half *h;";
const FLAT: &str = "struct flat { __u32 value; __u32 btf_id; } LAYOUT(9); struct flat *l;";

fn link(nics: &[&str], dispatch: Dispatch, first: &[&str]) -> Result<Linked, Error> {
    let nics: Vec<_> = nics.iter().map(|c| ("nic.c", nic_of(c))).collect();
    let first = first.iter().map(|f| (*f).to_owned()).collect();
    let object = Object::parse(compiled("reader.bpf.c")).unwrap();
    object.link(&universe(&nics), &LinkOptions { dispatch, first, ..LinkOptions::default() })
}

const WAYS: [Dispatch; 3] = [Dispatch::Static, Dispatch::Tail, Dispatch::Table];

#[test]
fn a_packet_that_can_pass_for_two_layouts_is_an_error_with_both_and_the_odds() {
    for dispatch in WAYS {
        for nics in [[FRONT, BACK], [BACK, FRONT]] {
            let error = link(&nics, dispatch, &[]).unwrap_err();
            let Error::Selectors(clash) = &error else { panic!("{error}") };
            assert_eq!(clash.size, 16);
            let mut sorted = clash.bits;
            sorted.sort_unstable();
            assert_eq!(sorted, [16, 32]);
            let says = error.to_string();
            for part in ["front 0x00000055", "back 0x00001001", "16 bytes", "one in 65536 ", "one in 4294967296 "] {
                assert!(says.contains(part), "{part}: {says}");
            }
        }
        // Naming another layout does not help, and one that is none is told.
        assert!(matches!(link(&[FRONT, BACK, FLAT], dispatch, &["flat"]), Err(Error::Selectors(_))));
        assert!(matches!(link(&[FRONT, BACK], dispatch, &["fron"]), Err(Error::NoLayout { .. })));
    }
}

#[test]
fn places_that_rule_each_other_out_are_no_error() {
    // The lower half of 0x1001 is not 0x77: no packet holds both.
    for dispatch in WAYS {
        assert_eq!(link(&[BACK, HALF], dispatch, &[]).unwrap().report.warnings, [""; 0]);
    }
    let both = BACK.replace("0x1001", "0x10077");
    let error = link(&[&both, HALF], Dispatch::Static, &[]).unwrap_err();
    let Error::Selectors(clash) = &error else { panic!("{error}") };
    // Every packet of `back` is one of `half` as well; of the other way 16 bits must happen to be so.
    assert!(clash.bits == [0, 16] || clash.bits == [16, 0], "{clash:?}");
}

#[test]
fn every_dispatch_reads_such_packets_as_the_one_that_is_tried_first() {
    if !may_load() {
        return;
    }
    // value and id of `front`, value and id of `back`: the ids of one packet are those of both, of one, of none.
    let packet = |front: u16, back: u32| {
        let mut bytes = [0u8; 16];
        bytes[..2].copy_from_slice(&front.to_le_bytes());
        bytes[4..8].copy_from_slice(&11u32.to_le_bytes());
        bytes[8..12].copy_from_slice(&22u32.to_le_bytes());
        bytes[12..].copy_from_slice(&back.to_le_bytes());
        bytes
    };
    for nics in [[FRONT, BACK, FLAT], [FLAT, BACK, FRONT]] {
        for (first, both) in [(["front"], 11), (["back"], 22), (["0x1001"], 22)] {
            for dispatch in WAYS {
                for count in [false, true] {
                    let nics: Vec<_> = nics.iter().map(|c| ("nic.c", nic_of(c))).collect();
                    let first = first.iter().map(|f| (*f).to_owned()).collect();
                    let options = LinkOptions { dispatch, first, count, ..LinkOptions::default() };
                    let object = Object::parse(compiled("reader.bpf.c")).unwrap();
                    let linked = object.link(&universe(&nics), &options).unwrap();
                    let [warning] = linked.report.warnings.as_slice() else { panic!("{:?}", linked.report.warnings) };
                    assert!(warning.contains("front") && warning.contains("back"), "{warning}");
                    let loaded = Loaded::load(&fixture::keep("apart", "o", &linked.bytes), None).unwrap();
                    for (front, back, value) in [(0x55, 0x1001, both), (0x55, 0, 11), (0, 0x1001, 22), (0, 0, 0)] {
                        loaded.run("reader", &packet(front, back), &[0; 64]).unwrap();
                        let out = loaded.global(".bss");
                        let got = u64::from_ne_bytes(out[8..16].try_into().unwrap());
                        assert_eq!(
                            got,
                            value,
                            "{dispatch:?}, {first:?} first, ids {front:#x} and {back:#x}",
                            first = options.first
                        );
                    }
                }
            }
        }
    }
}
