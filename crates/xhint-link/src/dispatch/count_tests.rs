//! Counters of an entry, read back after known packets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, ProgramInput};
use xhint_testkit::{may_load, run::room};

use super::tests::{case, linked, metadata, object};
use super::*;
use crate::Error;
use crate::Fallback;
use crate::counts::{COUNTS, NO_METADATA, UNKNOWN, UNKNOWN_ID};

/// `struct xdp_md`'s first words: data, data_end, data_meta; and the rest of it.
type Context = [u32; 6];

fn send(loaded: &Object, size: u32, id: u32, times: u32) {
    let program = loaded.progs_mut().find(|p| p.name() == "first").unwrap();
    let packet = [metadata(size, id), vec![0; 64]].concat();
    let context: Context = [size, packet.len() as u32, 0, 0, 0, 0];
    let mut bytes: Vec<u8> = context.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let mut out = vec![0; 512];
    let input = ProgramInput {
        context_in: Some(&mut bytes),
        data_in: Some(&packet),
        data_out: Some(&mut out),
        repeat: times,
        ..Default::default()
    };
    program.test_run(input).unwrap();
}

fn map(loaded: &Object, name: &str) -> MapHandle {
    MapHandle::try_from(&loaded.maps().find(|m| m.name() == name).unwrap()).unwrap()
}

fn words(value: &[u8]) -> [u64; 2] {
    let word = |n: usize| u64::from_ne_bytes(value[n * 8..n * 8 + 8].try_into().unwrap());
    [word(0), word(1)]
}

/// Packets counted under a slot, and when the last came.
fn counted(loaded: &Object, slot: u32) -> (u64, u64) {
    let all = map(loaded, COUNTS).lookup_percpu(&slot.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
    let all: Vec<_> = all.iter().map(|v| words(v)).collect();
    (all.iter().map(|w| w[0]).sum(), all.iter().map(|w| w[1]).max().unwrap())
}

#[test]
fn calls_count_each_packet_where_it_belongs() {
    check(0x11, link_direct);
}

#[test]
fn tail_calls_count_each_packet_where_it_belongs() {
    check(0x11, link_tail);
}

#[test]
fn rows_count_each_packet_where_it_belongs() {
    check(0x13, link_by_row);
}

fn check(last_id: u32, link: impl Fn(&Request<'_>) -> Result<xhint_object::Image, Error>) {
    if !may_load() {
        return;
    }
    // The first and the last are read by one copy and counted apart; linked() gives them slots 1, 4, 7, 10.
    let layouts = [((16, 4), 0x11), ((16, 8), 0xffff_fff0), ((32, 0), last_id), ((16, 4), 0x1000)];
    let path = linked(&object(), &layouts, Fallback::Program, true, link);
    let loaded = ObjectBuilder::default().open_file(&path).unwrap().load().unwrap();
    for (n, ((size, _), id)) in (0..).zip(layouts) {
        send(&loaded, size, id, 100 * (n + 1));
    }
    let unknown = [(16, 0x12), (12, 0x11), (64, 0xffff_ffff), (4, 0), (216, 9)];
    // The lengths that the kernel lets through to a program, and five of them.
    let unknown = unknown.map(|(size, id)| (size.min(room() as u32), id));
    for (n, (size, id)) in (0..).zip(unknown) {
        send(&loaded, size, id, 7 + n);
        send(&loaded, size, id, 1);
    }
    send(&loaded, 0, 0, 55);
    for (slot, packets) in [(1, 100), (4, 200), (7, 300), (10, 400), (UNKNOWN_ID, 50), (NO_METADATA, 55)] {
        let (count, last) = counted(&loaded, slot);
        assert_eq!(count, packets, "{slot}");
        assert!(last > 0, "{slot}");
    }
    assert_eq!(counted(&loaded, 0), (0, 0));
    let map = map(&loaded, UNKNOWN);
    for (n, (size, id)) in (0u64..).zip(unknown) {
        let key = [id.to_ne_bytes(), size.to_ne_bytes()].concat();
        let [packets, last] = words(&map.lookup(&key, MapFlags::ANY).unwrap().unwrap());
        assert_eq!(packets, 8 + n, "{id:#x} of {size}");
        assert!(last > 0);
    }
    assert_eq!(map.keys().count(), unknown.len());
}

#[test]
fn the_entry_writes_no_slot_by_halves_and_leaves_none_that_looks_spilled() {
    use xhint_bpf::Emit;
    use xhint_bpf::insn::{EXIT, ST, STX};
    use xhint_bpf::reg::R10;
    for order in [xhint_btf::ByteOrder::Little, xhint_btf::ByteOrder::Big] {
        let mut image = object().image().clone();
        let counters = super::count::Counters::declare(&mut image);
        let mut emit = Emit::new(order);
        counters.unknown(&mut emit, Hook::Xdp, [case(16, 0x11)].into_iter());
        emit.exit();
        let code = emit.finish();
        let (mut whole, mut zeroed) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        for insn in code.iter().map(|i| i.insn) {
            if !matches!(insn.class(), ST | STX) || insn.dst != R10 {
                continue;
            }
            // 8 bytes, or a part that no verifier keeps the value of: it does so where a slot begins.
            let eight = insn.code & 0x18 == 0x18;
            assert!(eight || insn.off % 8 != 0, "{insn:?}");
            if eight {
                whole.insert(insn.off);
                zeroed.remove(&insn.off);
            }
            if eight && insn.class() == ST && insn.imm == 0 {
                zeroed.insert(insn.off);
            }
        }
        assert_eq!(code.last().map(|i| i.insn.code), Some(EXIT));
        // What the clock gave is not known to the verifier, so it is no spill.
        whole.remove(&-24);
        assert_eq!(whole, zeroed);
    }
}
