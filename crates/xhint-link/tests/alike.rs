//! One copy of a program that reads packets of many layouts, each field where a table says it is.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use std::fmt::Write;

use own::{compiled, nic_of, universe};
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::damage::Random;
use xhint_testkit::run::{Loaded, room};
use xhint_testkit::{fixture, may_load, skipped};

const PASS: u32 = 2;
/// Bytes of metadata, and where the id stands.
const SIZE: usize = 60;

/// Fields and their C types; `maybe` is the last.
const FIELDS: [(&str, &str, usize); 8] = [
    ("d", "unsigned long long", 8),
    ("a", "unsigned int", 4),
    ("f", "unsigned int", 4),
    ("g", "unsigned int", 4),
    ("b", "unsigned short", 2),
    ("e", "short", 2),
    ("c", "unsigned char", 1),
    ("maybe", "unsigned int", 4),
];

/// A layout: where each of `FIELDS` stands.
struct Layout {
    id: u32,
    at: [Option<usize>; 8],
}

impl Layout {
    /// Any places at multiples of the widths, every third layout without `maybe`.
    fn any(n: u32, random: &mut Random) -> Layout {
        let mut free = [true; SIZE - 4];
        let mut at = [None; 8];
        for (place, (name, _, width)) in at.iter_mut().zip(FIELDS) {
            if name == "maybe" && n.is_multiple_of(3) {
                continue;
            }
            let all: Vec<usize> =
                (0..free.len()).step_by(width).filter(|p| free[*p..].iter().take(width).all(|f| *f)).collect();
            let all: Vec<usize> = all.into_iter().filter(|p| p + width <= free.len()).collect();
            let start = all[random.below(all.len())];
            free[start..start + width].fill(false);
            *place = Some(start);
        }
        Layout { id: 0x1000_0000 + n * 0x101, at }
    }

    /// As C, with filling between the fields.
    fn source(&self, n: usize) -> String {
        let mut fields: Vec<(usize, usize)> = (0..8).filter_map(|f| self.at[f].map(|at| (at, f))).collect();
        fields.sort_unstable();
        let (mut text, mut end) = (format!("struct l{n} {{\n"), 0);
        for (at, field) in fields {
            let (name, kind, width) = FIELDS[field];
            if at > end {
                writeln!(text, "unsigned char fill{at}[{}];", at - end).unwrap();
            }
            writeln!(text, "{kind} {name};").unwrap();
            end = at + width;
        }
        let rest = SIZE - 4 - end;
        let rest = if rest > 0 { format!("unsigned char rest[{rest}];") } else { String::new() };
        // Packed, so that 8 bytes do not make the struct's length a multiple of 8.
        let tags = format!("__attribute__((packed, aligned(4))) LAYOUT({})", self.id);
        format!("{text}{rest}\nunsigned int btf_id;\n}} {tags};\nstruct l{n} *keep{n};\n")
    }

    fn read(&self, metadata: &[u8], name: &str) -> Option<u64> {
        let field = FIELDS.iter().position(|f| f.0 == name).unwrap();
        let at = self.at[field]?;
        let mut bytes = [0; 8];
        bytes[..FIELDS[field].2].copy_from_slice(&metadata[at..at + FIELDS[field].2]);
        let value = u64::from_le_bytes(bytes);
        Some(if name == "e" { value as i16 as u64 } else { value })
    }

    /// What reader() of fixtures/alike.bpf.c makes of a packet, from its second word on.
    fn expected(&self, metadata: &[u8]) -> [u64; 9] {
        let [a, b, c, d, e, f, g] = ["a", "b", "c", "d", "e", "f", "g"].map(|name| self.read(metadata, name).unwrap());
        let maybe = self.read(metadata, "maybe").unwrap_or(1 << 40);
        let id = self.id.into();
        [a.wrapping_add(b), b ^ c, c.wrapping_add(d), d.wrapping_add(e), e ^ f, f + g, g ^ a, maybe, id]
    }
}

fn out(loaded: &Loaded) -> Vec<u64> {
    loaded.global(".bss").chunks_exact(8).map(|w| u64::from_ne_bytes(w.try_into().unwrap())).collect()
}

#[test]
fn one_copy_reads_layouts_that_differ_in_places_and_in_what_they_lack() {
    let mut random = Random::new(5);
    let layouts: Vec<Layout> = (0..40).map(|n| Layout::any(n, &mut random)).collect();
    let source: String = layouts.iter().enumerate().map(|(n, l)| l.source(n)).collect();
    let object = Object::parse(compiled("alike.bpf.c")).unwrap();
    let options = LinkOptions { dispatch: Dispatch::Table, ..LinkOptions::default() };
    let linked = object.link(&universe(&[("alike", nic_of(&source))]), &options).unwrap();
    assert_eq!(linked.report.dispatch.kind, Some(Dispatch::Table));
    assert_eq!(linked.report.dispatch.copies, Some(1));
    if !may_load() {
        return;
    }
    if room() < SIZE {
        return skipped("this kernel lets no packet with so much metadata through");
    }
    let loaded = Loaded::load(&fixture::keep("alike", "o", &linked.bytes), None).unwrap();
    for packet in 0..400 {
        let layout = &layouts[random.below(layouts.len())];
        let mut metadata: Vec<u8> = (0..SIZE).map(|_| random.next() as u8).collect();
        metadata[SIZE - 4..].copy_from_slice(&layout.id.to_le_bytes());
        assert_eq!(loaded.run("reader", &metadata, &[0; 64]).unwrap().returned, PASS, "packet {packet}");
        let before = out(&loaded);
        assert_eq!(before[1..10], layout.expected(&metadata), "packet {packet}");
        assert_eq!(loaded.run("crowded", &metadata, &[0; 64]).unwrap().returned, PASS);
        let factors = [3u64, 5, 7, 11, 13, 17, 19, 23];
        let sum = before.iter().zip(factors).map(|(v, f)| v.wrapping_mul(f)).fold(0, u64::wrapping_add);
        let a = layout.read(&metadata, "a").unwrap();
        assert_eq!(out(&loaded)[10], sum.wrapping_add(a), "packet {packet}");
        metadata[SIZE - 4] ^= 0x40;
        assert_eq!(loaded.run("reader", &metadata, &[0; 64]).unwrap().returned, 1, "no layout has this id");
    }
}
