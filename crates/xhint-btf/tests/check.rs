//! What the checking pass refuses and what it lets through, on bytes made by hand, in both byte orders.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

mod image;

use std::sync::Arc;

use image::{HEADER, INT, ORDERS, STRINGS, image, info, other_base, parse, place};
use xhint_btf::check::MAX_CHAIN;
use xhint_btf::{Btf, Error, Kind};
use xhint_testkit::fixture::corpus;

/// Parses in both orders and expects the same error of both.
fn fault(types: &[u32]) -> Error {
    let [little, big] = ORDERS.map(|order| parse(order, types).unwrap_err());
    assert_eq!(little, big);
    little
}

fn fine(types: &[u32]) {
    for order in ORDERS {
        parse(order, types).unwrap();
    }
}

/// One type of each kind, the first an int; [`Kind::Ptr`] and so on refer to it.
fn each_kind() -> Vec<Vec<u32>> {
    vec![
        INT.to_vec(),
        vec![0, info(Kind::Ptr, 0), 1],
        vec![0, info(Kind::Array, 0), 0, 1, 1, 7],
        vec![3, info(Kind::Struct, 2), 8, 1, 1, 0, 3, 1, 32],
        vec![3, info(Kind::Union, 1), 4, 1, 1, 0],
        vec![3, info(Kind::Enum, 2), 4, 1, u32::MAX, 3, 2],
        vec![3, info(Kind::Fwd, 0), 0],
        vec![3, info(Kind::Typedef, 0), 1],
        vec![0, info(Kind::Volatile, 0), 1],
        vec![0, info(Kind::Const, 0), 1],
        vec![0, info(Kind::Restrict, 0), 2],
        vec![3, info(Kind::Func, 1), 13],
        vec![0, info(Kind::FuncProto, 2), 1, 1, 1, 0, 0],
        vec![3, info(Kind::Var, 0), 1, 1],
        vec![3, info(Kind::Datasec, 1), 4, 14, 0, 4],
        vec![3, info(Kind::Float, 0), 8],
        vec![3, info(Kind::DeclTag, 0), 4, u32::MAX],
        vec![3, info(Kind::TypeTag, 0), 1],
        vec![3, info(Kind::Enum64, 1), 8, 1, u32::MAX, u32::MAX],
    ]
}

#[test]
fn every_kind_is_read_where_it_starts() {
    let kinds = each_kind();
    for order in ORDERS {
        let btf = parse(order, &kinds.concat()).unwrap();
        assert_eq!(btf.order(), order);
        assert_eq!(btf.end_id() as usize, kinds.len() + 1);
        for (ty, number) in btf.types().zip(1..) {
            assert_eq!(ty.kind() as u32, number);
        }
        assert_eq!(btf.ty(4).unwrap().members().map(|m| m.bit_offset).collect::<Vec<_>>(), [0, 32]);
    }
}

#[test]
fn a_type_cut_short_is_truncated() {
    for ty in each_kind() {
        let alone = [&INT[..], &ty].concat();
        for words in 1..ty.len() {
            let error = fault(&alone[..INT.len() + words]);
            // Without its second word nobody knows how long it should be.
            let need = if words < 2 { 12 } else { ty.len() * 4 };
            let want = Error::Truncated { what: "a type", at: place(4), need, have: words * 4 };
            assert_eq!(error, want, "{ty:x?} cut to {words} words");
        }
    }
}

#[test]
fn a_type_section_that_is_no_whole_words_is_truncated() {
    for order in ORDERS {
        let mut bytes = image(order, &INT, STRINGS, &[]);
        bytes[12..16].copy_from_slice(&order.bytes(18));
        // The strings follow wherever the types end.
        bytes[16..20].copy_from_slice(&order.bytes(18));
        bytes.splice(40..40, [7, 7]);
        let want = Error::Truncated { what: "a type", at: place(4), need: 12, have: 0 };
        assert_eq!(Btf::parse(bytes).unwrap_err(), want);
    }
}

#[test]
fn every_type_id_is_checked() {
    // A type, and its words that are type ids. The last type is [2].
    let cases: [(Vec<u32>, &[usize]); 14] = [
        (vec![0, info(Kind::Ptr, 0), 1], &[2]),
        (vec![3, info(Kind::Typedef, 0), 1], &[2]),
        (vec![0, info(Kind::Volatile, 0), 1], &[2]),
        (vec![0, info(Kind::Const, 0), 1], &[2]),
        (vec![0, info(Kind::Restrict, 0), 1], &[2]),
        (vec![3, info(Kind::TypeTag, 0), 1], &[2]),
        (vec![3, info(Kind::Func, 0), 1], &[2]),
        (vec![3, info(Kind::Var, 0), 1, 0], &[2]),
        (vec![3, info(Kind::DeclTag, 0), 1, 0], &[2]),
        (vec![0, info(Kind::Array, 0), 0, 1, 1, 0], &[3, 4]),
        (vec![3, info(Kind::Struct, 2), 8, 1, 1, 0, 3, 1, 32], &[4, 7]),
        (vec![3, info(Kind::Union, 2), 4, 1, 1, 0, 3, 1, 0], &[4, 7]),
        (vec![0, info(Kind::FuncProto, 2), 1, 1, 1, 3, 1], &[2, 4, 6]),
        (vec![3, info(Kind::Datasec, 2), 4, 1, 0, 4, 1, 0, 4], &[3, 6]),
    ];
    for (ty, ids) in cases {
        fine(&[&INT[..], &ty].concat());
        for at in ids {
            for target in [3, 1 << 31, u32::MAX] {
                let mut bad = ty.clone();
                bad[*at] = target;
                let error = fault(&[&INT[..], &bad].concat());
                assert_eq!(error, Error::TypeId { id: 2, at: place(4), target, last: 2 }, "word {at} of {ty:x?}");
            }
        }
    }
}

#[test]
fn every_string_offset_is_checked() {
    let cases: [(Vec<u32>, &[usize]); 6] = [
        (vec![1, info(Kind::Fwd, 0), 0], &[0]),
        (vec![3, info(Kind::Struct, 2), 8, 1, 1, 0, 3, 1, 32], &[0, 3, 6]),
        (vec![3, info(Kind::Union, 2), 4, 1, 1, 0, 3, 1, 0], &[0, 3, 6]),
        (vec![3, info(Kind::Enum, 2), 4, 1, 9, 3, 9], &[0, 3, 5]),
        (vec![3, info(Kind::Enum64, 2), 8, 1, 9, 9, 3, 9, 9], &[0, 3, 6]),
        (vec![0, info(Kind::FuncProto, 2), 1, 1, 1, 3, 1], &[0, 3, 5]),
    ];
    for (ty, names) in cases {
        fine(&[&INT[..], &ty].concat());
        for at in names {
            for offset in [6, 1 << 31, u32::MAX] {
                let mut bad = ty.clone();
                bad[*at] = offset;
                let error = fault(&[&INT[..], &bad].concat());
                assert_eq!(error, Error::StringOffset { id: 2, at: place(4), offset, end: 6 }, "word {at} of {ty:x?}");
            }
        }
    }
}

/// Tails of every length up to several rows, with a fault at each element, at the section's end and before it.
#[test]
fn a_fault_is_found_wherever_it_stands_in_a_tail() {
    for elements in 1..=30 {
        for (kind, words, roles) in [
            (Kind::Struct, &[1, 1, 0][..], "sio"),
            (Kind::FuncProto, &[1, 1], "si"),
            (Kind::Enum, &[1, u32::MAX], "s-"),
            (Kind::Enum64, &[1, u32::MAX, u32::MAX], "s--"),
            (Kind::Datasec, &[1, u32::MAX, u32::MAX], "i--"),
        ] {
            let third = if kind == Kind::FuncProto { 1 } else { 4 };
            let mut ty = vec![0, info(kind, elements), third];
            ty.extend(words.iter().cycle().take(words.len() * elements as usize));
            for rest in [&[][..], &[0, info(Kind::Ptr, 0), 1].repeat(8)] {
                let last = 2 + rest.len() as u32 / 3;
                fine(&[&INT[..], &ty, rest].concat());
                for (word, role) in (3..ty.len()).zip(roles.chars().cycle()) {
                    let mut bad = ty.clone();
                    bad[word] = 33;
                    let at = place(4);
                    let want = match role {
                        's' => Error::StringOffset { id: 2, at, offset: 33, end: 6 },
                        'i' => Error::TypeId { id: 2, at, target: 33, last },
                        'o' => Error::MemberOffset { id: 2, at, member: (word as u32 - 3) / 3, bit: 33, size: 4 },
                        _ => continue,
                    };
                    assert_eq!(
                        fault(&[&INT[..], &bad, rest].concat()),
                        want,
                        "{kind}, {elements} elements, word {word}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_fault_named_is_the_first_however_many_types_there_are() {
    let types = [&INT[..], &[0, info(Kind::Ptr, 0), 1].repeat(1000)].concat();
    fine(&types);
    for number in [0, 1, 253, 254, 255, 256, 510, 511, 512, 999] {
        let word = 4 + number * 3;
        let mut bad = types.clone();
        bad[word + 2] = 1002;
        *bad.last_mut().unwrap() = 5000;
        let target = if number == 999 { 5000 } else { 1002 };
        let want = Error::TypeId { id: 2 + number as u32, at: place(word), target, last: 1001 };
        assert_eq!(fault(&bad), want);
    }
}

#[test]
fn a_member_may_start_at_the_end_of_its_struct_but_not_beyond() {
    let member = |info, size, offset| [&INT[..], &[0, info, size, 1, 1, offset]].concat();
    let plain = info(Kind::Struct, 1);
    let bitfields = plain | 1 << 31;
    fine(&member(plain, 4, 32));
    fine(&member(bitfields, 4, 8 << 24 | 32));
    // More bits than 32 can count.
    fine(&member(plain, 1 << 30, u32::MAX));
    let at = place(4);
    assert_eq!(fault(&member(plain, 4, 33)), Error::MemberOffset { id: 2, at, member: 0, bit: 33, size: 4 });
    // Without the flag the upper byte is offset too.
    let bit = 8 << 24 | 32;
    assert_eq!(fault(&member(plain, 4, bit)), Error::MemberOffset { id: 2, at, member: 0, bit, size: 4 });
    let error = fault(&member(bitfields, 4, 8 << 24 | 33));
    assert_eq!(error, Error::MemberOffset { id: 2, at, member: 0, bit: 33, size: 4 });
    let error = fault(&member(info(Kind::Union, 1), 0, 1));
    assert_eq!(error, Error::MemberOffset { id: 2, at, member: 0, bit: 1, size: 0 });
}

#[test]
fn a_signed_enum_keeps_the_upper_byte_of_its_names() {
    let bad = [3, info(Kind::Enum, 2) | 1 << 31, 4, 1, 0, 1, 0, 0, info(Kind::Fwd, 0), 0];
    fine(&bad);
    for word in [3, 5] {
        let mut bad = bad;
        bad[word] = 1 << 24 | 1;
        let want = Error::StringOffset { id: 1, at: place(0), offset: 1 << 24 | 1, end: 6 };
        assert_eq!(fault(&bad), want);
    }
}

#[test]
fn an_unknown_kind_is_skipped_by_the_layout_section_and_else_refused() {
    let unknown = |kind: u32, vlen: u32| kind << 24 | vlen;
    let types = [&INT[..], &[3, unknown(100, 2), 77, 9, 9, 9, 9, 9], &[0, info(Kind::Ptr, 0), 2]].concat();
    assert_eq!(fault(&types), Error::Kind { id: 2, at: place(4), kind: 100 });
    assert_eq!(fault(&[3, 0, 0]), Error::Kind { id: 1, at: place(0), kind: 0 });
    let mut layouts = vec![[0; 4]; 101];
    layouts[100] = [4, 8, 0, 0];
    for order in ORDERS {
        let btf = Btf::parse(image(order, &types, STRINGS, &layouts)).unwrap();
        let kinds: Vec<Kind> = btf.types().map(|ty| ty.kind()).collect();
        assert_eq!(kinds, [Kind::Int, Kind::Unknown, Kind::Ptr]);
        assert_eq!(btf.ty(3).unwrap().target(), 2);
        // Its name is checked all the same, and void has no layout.
        let mut bad = types.clone();
        bad[4] = 6;
        let error = Btf::parse(image(order, &bad, STRINGS, &layouts)).unwrap_err();
        assert_eq!(error, Error::StringOffset { id: 2, at: place(4) + 8, offset: 6, end: 6 });
        let error = Btf::parse(image(order, &[0, 0, 0], STRINGS, &layouts)).unwrap_err();
        assert_eq!(error, Error::Kind { id: 1, at: place(0) + 8, kind: 0 });
        let error = Btf::parse(image(order, &types[..9], STRINGS, &layouts)).unwrap_err();
        assert_eq!(error, Error::Truncated { what: "a type", at: place(4) + 8, need: 32, have: 20 });
        // A layout that breaks the alignment is none.
        layouts[100] = [4, 6, 0, 0];
        assert!(matches!(Btf::parse(image(order, &types, STRINGS, &layouts)), Err(Error::Kind { kind: 100, .. })));
        layouts[100] = [4, 8, 0, 0];
    }
}

#[test]
fn a_type_may_have_more_elements_than_16_bits_count() {
    let many = 70_000;
    let names = [1, 5].repeat(many);
    let types = [&[0, info(Kind::Enum, many as u32), 4][..], &names, &INT].concat();
    for order in ORDERS {
        let btf = parse(order, &types).unwrap();
        assert_eq!((btf.ty(1).unwrap().enumerators().len(), btf.ty(2).unwrap().kind()), (many, Kind::Int));
    }
}

#[test]
fn many_unknown_kinds_among_known_ones() {
    let types = [[0, 77 << 24, 5], [0, info(Kind::Ptr, 0), 1]].concat().repeat(600);
    let layouts = vec![[0; 4]; 78];
    for order in ORDERS {
        let btf = Btf::parse(image(order, &types, STRINGS, &layouts)).unwrap();
        assert_eq!(btf.types().filter(|ty| ty.kind() == Kind::Ptr).count(), 600);
    }
}

#[test]
fn chains_that_loop_are_refused() {
    let link = |kind, target| [0, info(kind, 0), target];
    let array = |elem| [0, info(Kind::Array, 0), 0, elem, elem, 1];
    let at = place(0);
    let refused = Error::Chain { id: 1, at, limit: MAX_CHAIN };
    assert_eq!(fault(&link(Kind::Typedef, 1)), refused);
    assert_eq!(fault(&link(Kind::Const, 1)), refused);
    assert_eq!(fault(&[link(Kind::Volatile, 2), link(Kind::Restrict, 1)].concat()), refused);
    assert_eq!(fault(&[link(Kind::TypeTag, 3), link(Kind::Typedef, 1), link(Kind::Const, 2)].concat()), refused);
    assert_eq!(fault(&array(1)), refused);
    assert_eq!(fault(&[&array(2)[..], &link(Kind::Typedef, 1)].concat()), refused);
    // The loop starts at the second type.
    let late = [&INT[..], &link(Kind::Typedef, 3), &link(Kind::Const, 2)].concat();
    assert_eq!(fault(&late), Error::Chain { id: 2, at: place(4), limit: MAX_CHAIN });
    // A list is no chain: the pointer ends it.
    fine(&[[3, info(Kind::Struct, 1), 8, 1, 2, 0].as_slice(), &link(Kind::Ptr, 1)].concat());
    fine(&link(Kind::Ptr, 1));
}

#[test]
fn chains_are_followed_whatever_flag_their_links_bear() {
    let flag = 1 << 31;
    let refused = Error::Chain { id: 1, at: place(0), limit: MAX_CHAIN };
    for kind in [Kind::Typedef, Kind::Volatile, Kind::Const, Kind::Restrict, Kind::TypeTag] {
        fine(&[&[0, info(kind, 0) | flag, 2][..], &INT].concat());
        assert_eq!(fault(&[0, info(kind, 0) | flag, 1]), refused, "{kind}");
    }
    // The third word of an array is no id, however it may look.
    let array = |elem| [0, info(Kind::Array, 0) | flag, 2, elem, 2, 1];
    fine(&[&array(2)[..], &INT].concat());
    assert_eq!(fault(&[&array(1)[..], &INT].concat()), refused);
}

#[test]
fn chains_are_followed_however_far_their_links_stand_apart() {
    let pointers = |count: usize| [0, info(Kind::Ptr, 0), 0].repeat(count);
    for far in [1, 254, 255, 256, 257, 600] {
        let (last, at) = (far as u32 + 2, place(0));
        // Two links and a pointer, forwards and backwards; then a loop of the two.
        let links = |first, second| {
            [&[0, info(Kind::Const, 0), first][..], &pointers(far), &[0, info(Kind::Typedef, 0), second]].concat()
        };
        fine(&links(last, 2));
        fine(&links(2, 1));
        assert_eq!(fault(&links(last, 1)), Error::Chain { id: 1, at, limit: MAX_CHAIN }, "{far} types apart");
        // Of several that do not end the first is named, though another comes back to itself sooner.
        assert_eq!(fault(&links(last, last)), Error::Chain { id: 1, at, limit: MAX_CHAIN });
        let id = last;
        assert_eq!(fault(&links(2, last)), Error::Chain { id, at: place(3 + far * 3), limit: MAX_CHAIN });
    }
}

#[test]
fn named_types_are_those_that_c_code_can_ask_for_by_name() {
    use Kind::{Enum, Enum64, Float, Fwd, Int, Struct, Typedef, Union};
    let can_ask = [Int, Struct, Union, Enum, Enum64, Typedef, Fwd, Float];
    // Over the edges of what is looked at together, rare kinds among them and alone, some named and all.
    let pointers = [0, info(Kind::Ptr, 0), 1].repeat(300);
    let all = each_kind().concat().repeat(100);
    let frequent = [INT.to_vec(), pointers.clone(), [3, info(Typedef, 0), 1].repeat(600), pointers].concat();
    for types in [all, frequent] {
        for order in ORDERS {
            let base = Arc::new(parse(order, &types).unwrap());
            // Names among the base's strings and among its own.
            let more = [[3, info(Fwd, 0), 0], [6, info(Fwd, 0), 0]].concat();
            let split = Btf::parse_split(image(order, &more, b"x\0", &[]), base.clone()).unwrap();
            for btf in [&*base, &split] {
                let named = btf.types().filter(|ty| can_ask.contains(&ty.kind()));
                let want: Vec<_> = named.map(|ty| (ty.id(), ty.name_offset())).collect();
                let mut seen = Vec::new();
                btf.for_each_named(|id, name| seen.push((id, name)));
                assert_eq!(seen, want);
                let ids = |types: Vec<xhint_btf::Type<'_>>| types.iter().map(|ty| ty.id()).collect::<Vec<_>>();
                for pair in can_ask.windows(2).chain([&[Kind::DeclTag, Kind::Ptr][..], &[Kind::Unknown, Kind::Var]]) {
                    let want = btf.types().filter(|ty| pair.contains(&ty.kind())).collect();
                    assert_eq!(ids(btf.of_kinds([pair[0], pair[1]]).collect()), ids(want), "{pair:?}");
                }
            }
        }
    }
}

#[test]
fn chains_end_within_the_limit() {
    // `links` typedefs, each of the next or each of the one before, and an int.
    let forwards =
        |links: u32| -> Vec<u32> { (0..links).flat_map(|n| [1, info(Kind::Typedef, 0), n + 2]).chain(INT).collect() };
    let backwards = |links: u32| -> Vec<u32> {
        INT.into_iter().chain((0..links).flat_map(|n| [1, info(Kind::Typedef, 0), n + 1])).collect()
    };
    let most = MAX_CHAIN as u32;
    fine(&forwards(most));
    fine(&backwards(most));
    assert_eq!(fault(&forwards(most + 1)), Error::Chain { id: 1, at: place(0), limit: MAX_CHAIN });
    let last = most + 2;
    let at = place(4 + MAX_CHAIN * 3);
    assert_eq!(fault(&backwards(most + 1)), Error::Chain { id: last, at, limit: MAX_CHAIN });
}

#[test]
fn the_string_section_begins_and_ends_with_zero_and_is_utf8() {
    for order in ORDERS {
        let error = |strings| Btf::parse(image(order, &[], strings, &[])).unwrap_err();
        assert_eq!(error(b""), Error::Strings { what: "begin", at: HEADER });
        assert_eq!(error(b"a\0"), Error::Strings { what: "begin", at: HEADER });
        assert_eq!(error(b"\0a"), Error::Strings { what: "end", at: HEADER });
        assert_eq!(error(b"\0ab\xff\0"), Error::NotUtf8 { at: HEADER + 3 });
        assert_eq!(Btf::parse(image(order, &[], b"\0", &[])).unwrap().end_id(), 1);
    }
}

#[test]
fn no_name_starts_inside_a_character() {
    let strings = "\0é\0".as_bytes();
    let fwd = |name| [name, info(Kind::Fwd, 0), 0];
    for order in ORDERS {
        let btf = Arc::new(Btf::parse(image(order, &fwd(1), strings, &[])).unwrap());
        assert_eq!(btf.ty(1).unwrap().name(), "é");
        let inside = |id| Error::InsideString { id, at: HEADER, offset: 2 };
        assert_eq!(Btf::parse(image(order, &fwd(2), strings, &[])).unwrap_err(), inside(1));
        // Nor one of a split BTF inside its base's.
        let split = |name, own: &[u8]| Btf::parse_split(image(order, &fwd(name), own, &[]), btf.clone());
        assert_eq!(split(2, b"").unwrap_err(), other_base(inside(2)));
        assert_eq!(split(1, b"").unwrap().ty(2).unwrap().name(), "é");
        assert_eq!(split(4, b"x\0").unwrap().ty(2).unwrap().name(), "x");
    }
}

#[test]
fn what_libbpf_writes_with_a_layout_section_is_what_it_is_without() {
    let base = Arc::new(Btf::parse(corpus("vmlinux.btf")).unwrap());
    let raw = corpus("ice-layout.btf");
    let word = |at: usize| u32::from_le_bytes(*raw[at..].first_chunk().unwrap());
    assert_eq!(word(4), 32, "the header's length");
    let with = Btf::parse_split(raw.clone(), base.clone()).unwrap();
    let without = Btf::parse_split(corpus("ice.btf"), base.clone()).unwrap();
    let types =
        |btf: &Btf| btf.types().map(|ty| format!("{ty:?} {:?}", ty.members().collect::<Vec<_>>())).collect::<Vec<_>>();
    assert_eq!(types(&with), types(&without));
    assert!(with.types().len() > 10);

    // All kinds made unknown ones, 64 further: then their sizes are what libbpf's section says.
    let (layouts, len) = (32 + word(24) as usize, word(28) as usize);
    let (mut moved, mut at) = (raw.clone(), 32);
    while at < 32 + word(12) as usize {
        let (kind, elements) = (raw[at + 7] & 0x7f, u32::from_le_bytes([raw[at + 4], raw[at + 5], raw[at + 6], 0]));
        let [once, each, ..] = raw[layouts + kind as usize * 4..] else { panic!("no size of kind {kind}") };
        moved[at + 7] += 64;
        at += 12 + once as usize + each as usize * elements as usize;
    }
    let shifted = [&[0; 64 * 4], &raw[layouts..layouts + len]].concat();
    moved.extend(&shifted);
    moved[24..28].copy_from_slice(&(raw.len() as u32 - 32).to_le_bytes());
    moved[28..32].copy_from_slice(&(shifted.len() as u32).to_le_bytes());
    let moved = Btf::parse_split(moved, base).unwrap();
    assert_eq!(moved.types().len(), with.types().len());
    assert!(moved.types().all(|ty| ty.kind() == Kind::Unknown));
    let names = |btf: &Btf| btf.types().map(|ty| ty.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&moved), names(&with));
}

/// Every reference of every type, asked for by the public interface.
fn references_exist(btf: &Btf) {
    let id = |id: u32| assert!(btf.ty(id).is_some(), "type [{id}]");
    let name = |offset: u32| assert!(btf.str_at(offset).is_some(), "string {offset}");
    for ty in btf.types() {
        name(ty.name_offset());
        id(ty.target());
        for member in ty.members() {
            id(member.type_id);
            assert!(u64::from(member.bit_offset) <= u64::from(ty.size()) * 8);
        }
        ty.params().for_each(|param| id(param.type_id));
        ty.vars().for_each(|var| id(var.type_id));
        ty.array().into_iter().flat_map(|array| [array.elem, array.index]).for_each(id);
        let end = btf.skip_mods_and_typedefs(ty.id());
        assert!(!end.kind().is_modifier() && end.kind() != Kind::Typedef);
    }
}

/// Whatever words are changed, what is let through holds no reference into nothing.
#[test]
fn what_is_let_through_is_sound() {
    let types: Vec<u32> = each_kind().concat().repeat(2);
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let (mut passed, mut refused) = (0, 0);
    for round in 0..5_000 {
        let mut changed = types.clone();
        for _ in 0..=random(2) {
            let word = random(changed.len());
            changed[word] = match random(4) {
                0 => random(64) as u32,
                1 => changed[word] ^ 1 << random(32),
                2 => info([Kind::Ptr, Kind::Struct, Kind::Const, Kind::Array, Kind::Enum][random(5)], random(5) as u32),
                _ => u32::MAX - random(3) as u32,
            };
        }
        match parse(ORDERS[round % 2], &changed) {
            Ok(btf) => {
                references_exist(&btf);
                passed += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(passed > 500 && refused > 500, "{passed} passed, {refused} refused");
}

#[test]
fn a_section_without_bytes_lies_within_the_file_too() {
    // Header of 24 bytes: no types, far off; one string.
    let words: [u32; 5] = [24, 0xffff_fffc, 0, 0, 1];
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    bytes.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    bytes.push(0);
    let error = xhint_btf::Btf::parse(bytes).unwrap_err().to_string();
    assert!(error.contains("the type section"), "{error}");
}
