//! Dispatch, with relocations resolved by a few lines here: where `value` stands, and how large the metadata is.

#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::{Path, PathBuf};

use xhint_testkit::run::{Loaded, room};
use xhint_testkit::{fixture, may_load};

use super::*;
use xhint_bpf::Insn;

use crate::variant::{Variant, VariantId, Variants};
use crate::{Error, Fallback, Object, Relo};

/// Bytes of metadata, and where in it `value` stands; (0, 0) for no layout.
type Shape = (u32, u32);

fn patch(object: &Object, relo: &Relo, old: Insn, (size, offset): Shape) -> Option<Insn> {
    Some(match relo.core.kind {
        0 if size == 0 => return None,
        0 if object.btf().str_at(relo.core.access_str_off) == Some("0:0") => Insn { off: offset as i16, ..old },
        2 => Insn { imm: i64::from(size != 0), ..old },
        9 => Insn { imm: size.into(), ..old },
        kind => panic!("relocation kind {kind}"),
    })
}

pub(super) fn object() -> Object {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dispatch.bpf.c");
    let path = fixture::Compile::new(&source).object();
    Object::parse(fs::read(path).unwrap()).unwrap()
}

pub(super) fn case(size: u32, id: u32) -> Case {
    Case { size, at: IdAt { offset: size - 4, bytes: 4, swapped: false, shift: 0, bits: 32 }, id, rank: usize::MAX }
}

/// Links `object` for these shapes with their ids, by `link`.
pub(super) fn linked(
    object: &Object,
    layouts: &[(Shape, u32)],
    or_else: Fallback,
    count: bool,
    link: impl Fn(&Request<'_>) -> Result<xhint_object::Image, Error>,
) -> PathBuf {
    let mut shapes: Vec<_> = layouts.iter().map(|l| l.0).collect();
    shapes.push((0, 0));
    let mut variants: Variants<'_> = shapes
        .iter()
        .map(|shape| Variant::new(object, |_, relo, insn| Ok(patch(object, relo, insn, *shape))).unwrap())
        .collect();
    for variant in &mut variants {
        variant.fold(&variant.reach(object.functions().ids()));
    }
    let names = (0..layouts.len()).map(|n| format!("l{n}")).chain(["fallback".to_owned()]).collect();
    let route = |(n, ((size, _), id)): (usize, &(Shape, u32))| Route {
        case: case(*size, *id),
        layout: n,
        variant: VariantId::from(n),
    };
    let routes = layouts.iter().enumerate().map(route).collect();
    let function = object.functions().position(|f| f.name == "first").unwrap();
    let request = Request {
        object,
        variants: &variants,
        names,
        fallback: VariantId::from(layouts.len()),
        or_else,
        programs: vec![Dispatched { function, hook: Hook::Xdp, routes, optional: false }],
        slots: (0..layouts.len() as u32).map(|n| Slot::new(n * 3 + 1)).collect(),
        metadata: vec![true; object.relos().len()],
        count,
        prune: true,
        filled: None,
    };
    fixture::keep("dispatched", "o", &link(&request).unwrap().write().unwrap())
}

pub(super) fn metadata(size: u32, id: u32) -> Vec<u8> {
    let mut out: Vec<u8> = (0..size as u8).collect();
    if size >= 4 {
        out[size as usize - 4..].copy_from_slice(&id.to_le_bytes());
    }
    out
}

fn run(loaded: &Loaded, size: u32, id: u32) -> (u32, [u64; 3]) {
    let outcome = loaded.run("first", &metadata(size, id), &[0; 64]).unwrap();
    let out = loaded.global(".bss");
    let word = |n: usize| u64::from_ne_bytes(out[n * 8..n * 8 + 8].try_into().unwrap());
    (outcome.returned, [word(0), word(1), word(2)])
}

const PASS: u32 = 2;

#[test]
fn each_packet_is_read_by_the_copy_for_its_length_and_id() {
    check(0x11, link_direct);
}

#[test]
fn each_packet_is_read_by_the_program_in_the_slot_of_its_length_and_id() {
    check(0x11, link_tail);
}

#[test]
fn each_packet_is_read_by_the_row_of_its_length_and_id() {
    // A row is found by the id alone, which no two layouts of a universe share.
    check(0x13, link_by_row);
}

fn check(last_id: u32, link: impl Fn(&Request<'_>) -> Result<xhint_object::Image, Error>) {
    if !may_load() {
        return;
    }
    // Two of one length, one that is equal to another but for its id, ids on both sides of the sign.
    let layouts = [((16, 4), 0x11), ((16, 8), 0xffff_fff0), ((32, 0), last_id), ((8, 0), 7), ((16, 4), 0x1000)];
    let path = linked(&object(), &layouts, Fallback::Program, false, link);
    let loaded = Loaded::load(&path, None).unwrap();
    for round in 0..3 {
        for ((size, offset), id) in layouts {
            let mut own = metadata(size, id);
            own.drain(..offset as usize);
            let value = u32::from_le_bytes(own[..4].try_into().unwrap());
            assert_eq!(run(&loaded, size, id), (PASS, [size.into(), value.into(), 0]), "{size} {id:#x} {round}");
        }
        // Ids and lengths that are not there, and known ids in metadata of another length.
        for (size, id) in [(16, 0), (16, 0x12), (12, 0x11), (0, 0), (32, 7), (64, 0x11), (4, 7)] {
            if size as usize > room() {
                continue; // The kernel lets no such packet through to a program.
            }
            assert_eq!(run(&loaded, size, id), (PASS, [0, 0, 0]), "{size} {id:#x}");
        }
    }
}

/// 0 is the id of none, also where rows of nobody are all that could have it.
#[test]
fn packets_without_an_id_are_of_no_layout() {
    if !may_load() {
        return;
    }
    for id in 1..32_u32 {
        let layouts = [((16, 4), id), ((16, 8), id.wrapping_mul(0x9e37_79b1))];
        for link in [link_direct, link_tail, link_by_row] {
            let loaded = Loaded::load(&linked(&object(), &layouts, Fallback::Program, false, link), None).unwrap();
            assert_eq!(run(&loaded, 16, 0), (PASS, [0, 0, 0]), "{id:#x}");
            assert_eq!(run(&loaded, 16, id).1[0], 16, "{id:#x}");
        }
    }
}

#[test]
fn the_fallback_can_be_an_action() {
    if !may_load() {
        return;
    }
    let path = linked(&object(), &[((16, 4), 0x11)], Fallback::Action(1), false, link_direct);
    let loaded = Loaded::load(&path, None).unwrap();
    assert_eq!(run(&loaded, 16, 0x11).0, PASS);
    assert_eq!(run(&loaded, 16, 0x12).0, 1);
}
