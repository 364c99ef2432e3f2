//! By what a field of a program meets one of a layout that is called otherwise, and what it does not meet. Each place is
//! worked out by hand: bytes from the layout's start.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use common::{Build, M, bound, explain, resolve, universe};
use xhint_btf::{Btf, Def, Kind};
use xhint_relo::{Binding, Error, FieldBind, FieldName, RelocKind};
use xhint_universe::Universe;

use RelocKind::{FieldByteOffset, FieldByteSize, FieldExists, FieldLeftShift, FieldRightShift, FieldSigned};

/// A tag on a member.
fn tag(btf: &mut Build, text: &str, target: u32, member: u32) {
    btf.add(&Def::DeclTag { text, target, component: Some(member), attribute: false });
}

/// A NIC with this layout: each member with its type, first bit, width if a bitfield, and tags.
fn nic(size: u32, members: impl FnOnce(&mut Build) -> Vec<(M<'static>, Vec<&'static str>)>) -> Universe {
    let mut nic = Build::new();
    let members = members(&mut nic);
    let bare: Vec<M<'_>> = members.iter().map(|(member, _)| *member).collect();
    let layout = nic.composite(Kind::Struct, "rx", size, &bare);
    nic.tag("xhint:as=nic_meta", layout);
    for (n, (_, tags)) in (0..).zip(&members) {
        tags.iter().for_each(|text| tag(&mut nic, text, layout, n));
    }
    universe(Build::new(), vec![nic])
}

/// A program with `struct nic_meta { <type> name; }`.
struct Program {
    btf: Build,
    own: u32,
}

impl Program {
    fn of(name: &str, ty: impl FnOnce(&mut Build) -> u32) -> Program {
        let mut btf = Build::new();
        let ty = ty(&mut btf);
        let own = btf.strukt("nic_meta", 64, &[(name, ty, 0)]);
        Program { btf, own }
    }

    fn number(name: &str) -> Program {
        Program::of(name, Build::u32)
    }

    fn tagged(mut self, text: &str) -> Program {
        tag(&mut self.btf, text, self.own, 0);
        self
    }

    /// Whether the field is there; where, if a load of it has a place; and by what it was met or why not.
    fn meets(self, universe: &Universe, access: &str) -> (u64, Option<u64>, String) {
        self.meets_as(universe, access, &bound(0))
    }

    fn meets_as(mut self, universe: &Universe, access: &str, binding: &Binding) -> (u64, Option<u64>, String) {
        let relos = [FieldExists, FieldByteOffset].map(|kind| self.btf.relo(kind, self.own, access));
        let local = self.btf.done();
        let [exists, place] = relos.map(|relo| resolve(&local, universe, binding, relo).unwrap());
        let told = explain(&local, universe, binding, relos[0]);
        let words = match (told.found, told.miss) {
            (Some(found), None) => format!("{} by {}", found.access, found.by),
            (None, Some(miss)) => miss.to_string(),
            other => panic!("{other:?}"),
        };
        let readable = !place.poison && !place.size_conflict;
        (exists.new, readable.then_some(place.new), words)
    }
}

fn met(place: u64, words: &str) -> (u64, Option<u64>, String) {
    (1, Some(place), words.to_owned())
}

fn missed(words: &str) -> (u64, Option<u64>, String) {
    (0, None, words.to_owned())
}

/// rss @0 means rx_hash, delta2 @4 answers to delta, pad @8, flow @12 means flow_mark.
fn tagged() -> Universe {
    nic(16, |b| {
        let int = b.u32();
        vec![
            (("rss", int, 0, 0), vec!["xhint:hint=rx_hash"]),
            (("delta2", int, 32, 0), vec!["xhint:as=delta", "xhint:as=d"]),
            (("pad", int, 64, 0), vec![]),
            (("flow", int, 96, 0), vec!["xhint:hint=flow_mark", "xhint:as=mark"]),
        ]
    })
}

#[test]
fn a_field_is_met_by_its_hint_or_by_another_name() {
    let nic = tagged();
    assert_eq!(Program::number("rx_hash").meets(&nic, "0:0"), met(0, "rx.rss by hint rx_hash"));
    assert_eq!(Program::number("delta").meets(&nic, "0:0"), met(4, "rx.delta2 by as"));
    assert_eq!(Program::number("d").meets(&nic, "0:0"), met(4, "rx.delta2 by as"));
    // The program may have a name of its own, too.
    let mine = Program::number("mine").tagged("xhint:hint=flow_mark");
    assert_eq!(mine.meets(&nic, "0:0"), met(12, "rx.flow by hint flow_mark"));
    // A name is nearer than a hint, its own nearer than another.
    assert_eq!(Program::number("mark").tagged("xhint:hint=rx_hash").meets(&nic, "0:0"), met(12, "rx.flow by as"));
    assert_eq!(Program::number("pad").tagged("xhint:hint=rx_hash").meets(&nic, "0:0"), met(8, "rx.pad by name"));
    let none = "struct rx has no 'rx_queue'";
    assert_eq!(Program::number("rx_queue").meets(&nic, "0:0"), missed(none));
    // Without a layout nothing is met.
    let fallback = Program::number("rx_hash").meets_as(&nic, "0:0", &Binding::default());
    assert_eq!(fallback, missed("no layout is bound that answers to this name"));
}

#[test]
fn the_name_wins_whatever_is_there() {
    let nic = nic(12, |b| {
        let int = b.u32();
        let big = b.typedef("__be32", int);
        vec![
            (("rss", int, 0, 0), vec!["xhint:hint=rx_hash"]),
            (("rx_hash", big, 32, 0), vec!["xhint:hint=acme.other"]),
            (("queue", int, 64, 0), vec!["xhint:as=rx_hash"]),
        ]
    });
    let (exists, place, why) = Program::number("rx_hash").meets(&nic, "0:0");
    assert!((exists, place) == (0, None) && why.contains("'rx_hash' is __be32, but unsigned int"), "{why}");
    let big = |b: &mut Build| {
        let int = b.u32();
        b.typedef("__be32", int)
    };
    assert_eq!(Program::of("rx_hash", big).meets(&nic, "0:0"), met(4, "rx.rx_hash by name"));
}

#[test]
fn type_and_byte_order_count_as_for_names() {
    let nic = nic(16, |b| {
        let (int, short) = (b.u32(), b.u16());
        let (big, ptr) = (b.typedef("__be32", int), b.ptr(0));
        vec![
            (("rss", big, 0, 0), vec!["xhint:hint=rx_hash"]),
            (("tag", short, 32, 0), vec!["xhint:hint=vlan_tci"]),
            (("hw", ptr, 64, 0), vec!["xhint:hint=rx_desc"]),
        ]
    });
    let (exists, place, why) = Program::number("rx_hash").meets(&nic, "0:0");
    assert!(
        (exists, place) == (0, None) && why.starts_with("'rss' is __be32, but unsigned int in the program"),
        "{why}"
    );
    let mut both = Program::number("rx_hash");
    let int = both.btf.u32();
    let big = both.btf.typedef("__be32", int);
    both.btf.strukt("nic_meta___be", 4, &[("rx_hash", big, 0)]);
    assert!(both.meets(&nic, "0:0").2.ends_with("nic_meta___be has it so"));
    // An unsigned number is read in the width that it has.
    assert_eq!(Program::number("vlan_tci").meets(&nic, "0:0"), met(4, "rx.tag by hint vlan_tci"));
    // One with a sign cannot be.
    let signed = Program::of("vlan_tci", |b| b.int("int", 4, 1));
    assert_eq!(signed.meets(&nic, "0:0"), (1, None, "rx.tag by hint vlan_tci".to_owned()));
    let array = Program::of("vlan_tci", |b| {
        let byte = b.u8();
        b.array(byte, 2)
    });
    assert_eq!(array.meets(&nic, "0:0"), missed("'tag' is unsigned short, not unsigned char[2]"));
    // A pointer only where it may be followed.
    let pointer = || Program::of("rx_desc", |b| b.ptr(0));
    assert_eq!(pointer().meets(&nic, "0:0"), met(8, "rx.hw by hint rx_desc"));
    let why = pointer().meets_as(&nic, "0:0", &Binding { walk: false, ..bound(0) });
    assert!(why.0 == 0 && why.2.starts_with("'hw' is a pointer"), "{why:?}");
}

#[test]
fn a_bitfield_is_met_with_all_that_is_asked_of_it() {
    // 12 bits from bit 38 on: byte 4, of which 6 bits go before.
    let nic = nic(8, |b| {
        let int = b.u32();
        vec![
            (("rss", int, 0, 0), vec![]),
            (("other", int, 32, 6), vec![]),
            (("flow", int, 38, 12), vec!["xhint:hint=flow_mark"]),
        ]
    });
    let mut local = Build::new();
    let int = local.u32();
    let own = local.composite(Kind::Struct, "nic_meta", 4, &[("flow_mark", int, 3, 9)]);
    let kinds = [FieldExists, FieldByteOffset, FieldByteSize, FieldSigned, FieldLeftShift, FieldRightShift];
    let relos = kinds.map(|kind| local.relo(kind, own, "0:0"));
    let local = local.done();
    let got = relos.map(|relo| resolve(&local, &nic, &bound(0), relo).unwrap().new);
    assert_eq!(got, [1, 4, 4, 0, 64 - 18, 64 - 12]);
}

#[test]
fn a_word_means_the_same_in_and_out_of_structs() {
    // l3 @4: a union of v4 { source, means ipv4_src, @4 } and v6 { flow @4, label @8, means ipv6_flow }; addr @12.
    let nic = nic(28, |b| {
        let (int, byte) = (b.u32(), b.u8());
        let v4 = b.strukt("", 4, &[("source", int, 0)]);
        tag(b, "xhint:hint=ipv4_src", v4, 0);
        let v6 = b.strukt("", 8, &[("flow", int, 0), ("label", int, 4)]);
        tag(b, "xhint:hint=ipv6_flow", v6, 1);
        tag(b, "xhint:as=first", v6, 0);
        let l3 = b.union("", 8, &[("v4", v4), ("v6", v6)]);
        let addr = b.array(byte, 16);
        vec![
            (("pad", int, 0, 0), vec![]),
            (("l3", l3, 32, 0), vec!["xhint:as=net"]),
            (("addr", addr, 96, 0), vec!["xhint:hint=ipv6_src"]),
        ]
    });
    assert_eq!(Program::number("ipv4_src").meets(&nic, "0:0"), met(4, "rx.l3.v4.source by hint ipv4_src"));
    // By the same names but the last, and in a struct that the layout does not have.
    let inner = |outer: &'static str, arm: &'static str, name: &'static str| {
        Program::of(outer, |b| {
            let int = b.u32();
            let body = b.strukt("", 4, &[(name, int, 0)]);
            b.union("", 4, &[(arm, body)])
        })
    };
    assert_eq!(inner("l3", "v6", "ipv6_flow").meets(&nic, "0:0:0:0"), met(8, "rx.l3.v6.label by hint ipv6_flow"));
    assert_eq!(inner("ip", "six", "ipv6_flow").meets(&nic, "0:0:0:0"), met(8, "rx.l3.v6.label by hint ipv6_flow"));
    // Other names hold where they stand: along the way, and not elsewhere.
    assert_eq!(inner("l3", "v6", "first").meets(&nic, "0:0:0:0"), met(4, "rx.l3.v6.flow by as"));
    assert_eq!(inner("net", "v6", "first").meets(&nic, "0:0:0:0"), met(4, "rx.l3.v6.flow by as"));
    assert_eq!(inner("net", "v6", "label").meets(&nic, "0:0:0:0"), met(8, "rx.l3.v6.label by as"));
    assert_eq!(Program::number("first").meets(&nic, "0:0"), missed("struct rx has no 'first'"));
    // An element of what means something.
    let bytes = Program::of("ipv6_src", |b| {
        let byte = b.u8();
        b.array(byte, 16)
    });
    assert_eq!(bytes.meets(&nic, "0:0:5"), met(17, "rx.addr[5] by hint ipv6_src"));
}

/// C takes a tag behind the closing brace of a struct for the struct's.
#[test]
fn a_struct_without_a_name_answers_to_one() {
    let nic = nic(16, |b| {
        let int = b.u32();
        let body = b.strukt("", 8, &[("length", int, 0), ("value", int, 4)]);
        b.tag("xhint:as=rss", body);
        vec![(("pad", int, 0, 0), vec![]), (("", body, 64, 0), vec![])]
    });
    let within = || {
        Program::of("rss", |b| {
            let int = b.u32();
            b.strukt("", 8, &[("value", int, 0)])
        })
    };
    assert_eq!(within().meets(&nic, "0:0:0"), met(12, "rx.value by as"));
    assert_eq!(within().meets(&nic, "0:0"), met(8, "rx by as"));
    assert_eq!(Program::number("value").meets(&nic, "0:0"), met(12, "rx.value by name"));
}

#[test]
fn what_several_fields_mean_is_none_of_them() {
    let nic = nic(16, |b| {
        let int = b.u32();
        let same = b.union("", 4, &[("one", int), ("two", int)]);
        tag(b, "xhint:hint=flow_mark", same, 0);
        tag(b, "xhint:hint=flow_mark", same, 1);
        let entry = b.strukt("", 4, &[("length", int, 0)]);
        tag(b, "xhint:hint=pkt_len", entry, 0);
        let entries = b.array(entry, 1);
        vec![
            (("inner", int, 0, 0), vec!["xhint:hint=rx_hash"]),
            (("outer", int, 32, 0), vec!["xhint:hint=rx_hash"]),
            (("", same, 64, 0), vec![]),
            (("entries", entries, 96, 0), vec![]),
        ]
    });
    assert_eq!(
        Program::number("rx_hash").meets(&nic, "0:0"),
        missed(
            "struct rx has no 'rx_hash', and 'inner' and 'outer' have the hint rx_hash, each with a place of its own: bind \
             rx_hash to one of them"
        )
    );
    let bind = |local: &str, target: &str| {
        let [local, target] = [local, target].map(|text| FieldName::read(text).unwrap());
        Binding { bind_fields: vec![FieldBind { local, target }], ..bound(0) }
    };
    let bound_to = |local, target| Program::number("rx_hash").meets_as(&nic, "0:0", &bind(local, target));
    assert_eq!(bound_to("nic_meta.rx_hash", "rx.outer"), met(4, "rx.outer by bind"));
    assert_eq!(bound_to("nic_meta.rx_hash", "nic_meta.one"), met(8, "rx.one by bind"));
    // Of another struct, another flavour, another layout.
    for (local, target) in
        [("other.rx_hash", "rx.outer"), ("nic_meta___v2.rx_hash", "rx.outer"), ("nic_meta.rx_hash", "ice.outer")]
    {
        assert_eq!(bound_to(local, target).0, 0, "{local}={target}");
    }
    // One number in one place is one, and what is in an array is not looked for.
    assert_eq!(Program::number("flow_mark").meets(&nic, "0:0"), met(8, "rx.one by hint flow_mark"));
    assert_eq!(Program::number("pkt_len").meets(&nic, "0:0"), missed("struct rx has no 'pkt_len'"));
}

/// A layout with another field first, and its id in a field of this type, so many bits of it from bit 32 on.
fn with_selector(bits: u32, ty: impl FnOnce(&mut Build) -> u32) -> Universe {
    nic(12, |b| {
        let int = b.u32();
        let ty = ty(b);
        let id = (("which", ty, 32, bits), vec!["xhint:selector"]);
        vec![(("pad", int, 0, 0), vec![]), id, (("btf_id", int, 64, 0), vec![])]
    })
}

#[test]
fn btf_id_is_the_selector() {
    // Also where another field has the name.
    let whole = with_selector(0, Build::u32);
    assert_eq!(Program::number("btf_id").meets(&whole, "0:0"), met(4, "rx.which by selector"));
    // What means the id by a tag, or by the vocabulary's word for it.
    assert_eq!(Program::number("layout_id").meets(&whole, "0:0"), met(4, "rx.which by hint layout_id"));
    assert_eq!(
        Program::number("my_id").tagged("xhint:selector").meets(&whole, "0:0"),
        met(4, "rx.which by hint layout_id")
    );
}

#[test]
fn a_selector_of_which_no_plain_read_gives_the_id_is_not_met() {
    let id = |universe: &Universe| Program::number("btf_id").meets(universe, "0:0");
    let mut short = Build::new();
    let (int, half) = (short.u32(), short.u16());
    let layout = short.strukt("rx", 8, &[("pad", int, 0), ("which", half, 4)]);
    short.tag("xhint:as=nic_meta", layout);
    short.tag("xhint:id=7", layout);
    tag(&mut short, "xhint:selector", layout, 1);
    let short = universe(Build::new(), vec![short]);
    assert_eq!(id(&short), met(4, "rx.which by selector"), "a narrower number is the same number");
    let big = with_selector(0, |b| {
        let int = b.u32();
        b.typedef("__be32", int)
    });
    let (exists, place, why) = id(&big);
    assert!((exists, place) == (0, None) && why.starts_with("'which' is __be32, but unsigned int"), "{why}");
    let some = with_selector(0, |b| b.enumeration("which", 4, false, &[("A", 1)]));
    assert_eq!(id(&some), missed("'which' is enum which, not unsigned int"));
    let mut bits = Build::new();
    let int = bits.u32();
    let layout = bits.composite(Kind::Struct, "rx", 4, &[("x", int, 0, 20), ("which", int, 20, 12)]);
    bits.tag("xhint:as=nic_meta", layout);
    bits.tag("xhint:id=7", layout);
    tag(&mut bits, "xhint:selector", layout, 1);
    let (exists, place, why) = id(&universe(Build::new(), vec![bits]));
    assert!((exists, place) == (0, None) && why.contains("which layout they have in 'which'"), "{why}");
}

#[test]
fn a_tag_of_the_programs_that_is_not_understood_is_an_error() {
    let mut program = Program::number("hash").tagged("xhint:hint=rx_hsah");
    let relo = program.btf.relo(FieldExists, program.own, "0:0");
    let local: Btf = program.btf.done();
    let error = resolve(&local, &tagged(), &bound(0), relo).unwrap_err();
    assert!(matches!(error, Error::Tag { .. }));
    let says = error.to_string();
    let begins = "field 'hash' of the program's struct 'nic_meta' has the tag \"xhint:hint=rx_hsah\": no such hint; the nearest are rx_hash";
    assert!(says.starts_with(begins), "{says}");
}
