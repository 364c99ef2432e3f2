//! Where everything stands, against pahole; and that the folds of the one walk tell the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use xhint_btf::{Btf, Builder, ByteOrder, Def, IntEncoding, Member};
use xhint_layout::walk::What;
use xhint_layout::{Fields, Plan, Tags, content};
use xhint_testkit::fixture::{Compile, section};

fn object(name: &str) -> PathBuf {
    Compile::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layouts").join(name)).object()
}

fn btf(object: &Path) -> Btf {
    Btf::parse(section(&std::fs::read(object).unwrap(), ".BTF").unwrap().to_vec()).unwrap()
}

fn places(btf: &Btf, name: &str) -> Fields {
    let ty = btf.types().find(|t| t.name() == name && t.kind().is_composite()).unwrap();
    Fields::of(btf, &Tags::of(btf), ty.id()).unwrap()
}

/// Last names, first bits, widths, sorted; and how many bits of holes and of padding at the end there are.
type Told = (Vec<(String, u64, u64)>, u64, u64);

/// What pahole prints: `type name[2]:bits; /* byte: bit size */`, `/* XXX 5 bits hole */`, `/* padding: 7 */`.
fn pahole(object: &Path, name: &str) -> Option<Told> {
    let Ok(output) = Command::new("pahole").args(["-F", "btf", "-C", name]).arg(object).output() else {
        xhint_testkit::privilege::skipped("no pahole");
        return None;
    };
    let (mut fields, mut holes, mut padding) = (Vec::new(), 0, 0);
    let number = |text: &str| text.parse::<u64>().unwrap();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["/*", "XXX", n, unit, "hole,", ..] => holes += number(n) * if unit.starts_with("byte") { 8 } else { 1 },
            ["/*", "padding:", n, ..] => padding = number(n) * 8,
            _ => {}
        }
        let Some((what, place)) = line.split_once(';') else { continue };
        let place: Vec<&str> = place.split_whitespace().filter(|w| !w.contains('*')).collect();
        let (Some(name), [byte, rest @ ..]) = (what.split_whitespace().last(), place.as_slice()) else { continue };
        let name = name.split('[').next().unwrap();
        match (name.split_once(':'), rest) {
            (Some((name, bits)), [bit, _]) => {
                let at = number(byte.trim_end_matches(':')) * 8 + number(bit);
                fields.push((name.to_owned(), at, number(bits)));
            }
            (None, [size]) if name != "}" => fields.push((name.to_owned(), number(byte) * 8, number(size) * 8)),
            _ => {}
        }
    }
    fields.sort();
    Some((fields, holes, padding))
}

fn told(places: &Fields) -> Told {
    // pahole does not go into structs that are declared elsewhere.
    let own = places.fields.iter().filter(|f| !f.path.contains('['));
    let name = |path: &str| path.rsplit('.').next().unwrap().to_owned();
    let mut fields: Vec<_> = own.map(|f| (name(&f.path), f.bit_offset, f.bits)).collect();
    fields.sort();
    let sum = |tail: bool| places.gaps.iter().filter(|g| g.tail == tail).map(|g| g.bits).sum();
    (fields, sum(false), sum(true))
}

#[test]
fn every_field_stands_where_pahole_says() {
    let object = object("fields.c");
    let Some(theirs) = pahole(&object, "places") else { return };
    assert_eq!(told(&places(&btf(&object), "places")), theirs);
    assert!(theirs.0.len() > 15 && theirs.1 == 29 && theirs.2 == 56, "{theirs:?}");
}

#[test]
fn types_orders_and_what_is_in_arrays() {
    let places = places(&btf(&object("fields.c")), "places");
    let row = |path: &str| {
        let f = places.fields.iter().find(|f| f.path == path).unwrap_or_else(|| panic!("no {path}"));
        (f.type_name.as_str(), f.bit_offset, f.bits, f.order)
    };
    let (little, big) = (Some(ByteOrder::Little), Some(ByteOrder::Big));
    assert_eq!(row("queue"), ("__u32", 2, 9, little));
    assert_eq!(row("names"), ("char **", 192, 64, little));
    assert_eq!(row("wide"), ("enum wide", 64, 64, little));
    assert_eq!(row("l3"), ("union", 256, 128, None));
    assert_eq!(row("l3.v4"), ("struct", 256, 64, None));
    assert_eq!(row("l3.v4.dst"), ("__be32", 288, 32, big));
    assert_eq!(row("l3.v6"), ("__u8[16]", 256, 128, little));
    assert_eq!(row("l3.ratio"), ("float", 256, 32, little));
    assert_eq!(row("pairs"), ("__u16[1][2]", 400, 32, little));
    assert_eq!(row("slots"), ("struct slot[2]", 432, 64, None));
    assert_eq!(row("slots[1]"), ("struct slot", 464, 32, None));
    assert_eq!(row("slots[1].weight"), ("signed char", 480, 8, little));
}

#[test]
fn all_folds_tell_one_place() {
    let all = btf(&object("fields.c"));
    let shapes = btf(&object("shapes.c"));
    let named = |btf: &Btf, name: &str| btf.types().find(|t| t.name() == name && t.kind().is_composite()).unwrap().id();
    for (btf, name) in [(&all, "places"), (&shapes, "all"), (&shapes, "arms"), (&shapes, "selected")] {
        let id = named(btf, name);
        let places = places(btf, name);
        let text = content(btf, name, id).unwrap();
        let lines: BTreeMap<&str, (u64, u64)> = text
            .lines()
            .skip(1)
            .filter_map(|l| match l.split(' ').collect::<Vec<_>>()[..] {
                [path, at, bits, ..] if !path.contains('[') => {
                    Some((path, (at.parse().unwrap(), bits.parse().unwrap())))
                }
                _ => None,
            })
            .collect();
        let leaf = |w: What| !w.is_composite() && !matches!(w, What::Array { .. });
        let own: BTreeMap<&str, (u64, u64)> = places
            .fields
            .iter()
            .filter(|f| leaf(f.what) && !f.path.contains('['))
            .map(|f| (f.path.as_str(), (f.bit_offset, f.bits)))
            .collect();
        assert_eq!(own, lines, "{name}");
        let Ok(plan) = Plan::of(btf, id, name, 1) else { continue };
        for field in plan.fields {
            let Some(place) = places.fields.iter().find(|p| p.path == field.path) else { continue };
            let planned = (u64::from(field.bit_offset), u64::from(field.bits), Some(field.order), Some(field.hint));
            assert_eq!(planned, (place.bit_offset, place.bits, place.order, place.hint), "{name}: {}", field.path);
        }
    }
}

/// Bitfields as pahole wrote them before BTF had a flag for them: the int has the place and the width. And the width of
/// pointers and the order of bytes are the BTF's, whatever the host's.
#[test]
fn old_bitfields_and_other_machines() {
    for (order, wanted) in [(ByteOrder::Little, ByteOrder::Little), (ByteOrder::Big, ByteOrder::Big)] {
        let mut w = Builder::new(order);
        let mut add = |def: Def<'_>| w.add(&def).unwrap();
        let encoding = IntEncoding { bit_offset: 5, bits: 3, ..IntEncoding::default() };
        let bits = add(Def::Int { name: "unsigned int", size: 4, encoding });
        let word = add(Def::unsigned("unsigned int", 4));
        // What `long` is tells how wide pointers are.
        add(Def::signed("long", 4));
        let ptr = add(Def::Ptr(word));
        let members = [("a", bits, 0), ("p", ptr, 32), ("rx_hash", word, 64), ("btf_id", word, 96)];
        add(Def::structure("old", 16, &members.map(|(name, ty, bit)| Member::new(name, ty, bit))));
        let btf = Btf::parse(w.finish()).unwrap();
        let places = places(&btf, "old");
        let rows: Vec<_> = places.fields.iter().map(|f| (f.bit_offset, f.bits, f.order.unwrap())).collect();
        assert_eq!(rows, [(5, 3, wanted), (32, 32, wanted), (64, 32, wanted), (96, 32, wanted)]);
        assert_eq!(places.gaps.iter().map(|g| (g.bit_offset, g.bits)).collect::<Vec<_>>(), [(0, 5), (8, 24)]);
        let old = btf.types().find(|t| t.name() == "old").unwrap().id();
        assert!(content(&btf, "old", old).unwrap().contains("a 5 3 uint\np 32 32 ptr\n"));
        assert_eq!(Plan::of(&btf, old, "old", 1).unwrap().field("rx_hash").unwrap().order, wanted);
    }
}
