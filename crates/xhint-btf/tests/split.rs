//! What the checking pass asks of a split BTF and its base, on bytes made by hand, in both byte orders.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

mod image;

use std::sync::Arc;

use image::{HEADER, INT, ORDERS, STRINGS, image, info, other_base, parse, place};
use xhint_btf::check::MAX_CHAIN;
use xhint_btf::{Btf, Error, Kind};

#[test]
fn a_split_btf_goes_on_where_its_base_ends() {
    for (order, other) in ORDERS.into_iter().zip(ORDERS.into_iter().rev()) {
        let base = Arc::new(parse(order, &INT).unwrap());
        let split = |types: &[u32], strings: &[u8]| Btf::parse_split(image(order, types, strings, &[]), base.clone());
        let member = |name, ty| [3, info(Kind::Struct, 1), 4, name, ty, 0];
        let btf = split(&member(7, 1), b"\0x\0").unwrap();
        assert_eq!((btf.first_id(), btf.end_id()), (2, 3));
        let field = btf.ty(2).unwrap().members().next().unwrap();
        assert_eq!((field.name, field.type_id), ("x", 1));
        let at = place(0);
        let error = split(&member(7, 3), b"\0x\0").unwrap_err();
        assert_eq!(error, other_base(Error::TypeId { id: 2, at, target: 3, last: 2 }));
        let error = split(&member(9, 1), b"\0x\0").unwrap_err();
        assert_eq!(error, other_base(Error::StringOffset { id: 2, at, offset: 9, end: 9 }));
        // It may have no strings of its own, and need not begin with the empty one.
        split(&member(3, 1), b"").unwrap();
        split(&member(6, 1), b"x\0").unwrap();
        assert_eq!(split(&[], b"x").unwrap_err(), Error::Strings { what: "end", at: HEADER });
        // A chain that goes into the base ends there, one in the split may loop.
        split(&[0, info(Kind::Const, 0), 1], b"").unwrap();
        let looped = split(&[0, info(Kind::Const, 0), 2], b"").unwrap_err();
        assert_eq!(looped, Error::Chain { id: 2, at, limit: MAX_CHAIN });
        let strange = Btf::parse_split(image(other, &[], b"", &[]), base.clone());
        assert_eq!(strange.unwrap_err(), Error::BaseOrder { own: other, base: order });
    }
}

#[test]
fn a_name_of_a_split_btf_begins_a_string_of_the_base_or_its_own() {
    for order in ORDERS {
        let base = Arc::new(parse(order, &INT).unwrap());
        let named = |name, strings: &[u8]| {
            Btf::parse_split(image(order, &[name, info(Kind::Struct, 0), 4], strings, &[]), base.clone())
        };
        // The base's strings are "\0a\0bc\0", its own begin at 6.
        for (name, text) in [(0, ""), (1, "a"), (3, "bc"), (2, ""), (5, "")] {
            let read = named(name, b"").map(|btf| btf.ty(2).unwrap().name().to_owned());
            let inside = Error::InsideString { id: 2, at: place(0), offset: name };
            let want = if matches!(name, 2 | 5) { Err(other_base(inside)) } else { Ok(text.to_owned()) };
            assert_eq!(read, want, "{name}");
        }
        assert_eq!(named(6, b"xy\0z\0").unwrap().ty(2).unwrap().name(), "xy", "where the base ends a string begins");
        assert_eq!(named(9, b"xy\0z\0").unwrap().ty(2).unwrap().name(), "z");
        let inside = Error::InsideString { id: 2, at: place(0), offset: 7 };
        assert_eq!(named(7, b"xy\0z\0").unwrap_err(), other_base(inside));
        // Behind the last string there is none, also where it is the base's.
        for (strings, name) in [(&b""[..], 6), (b"\0", 7), (b"x\0", 8)] {
            let beyond = Error::StringOffset { id: 2, at: place(0), offset: name, end: name };
            assert_eq!(named(name, strings).unwrap_err(), other_base(beyond), "{strings:?}");
            let link = Arc::new(named(if strings == b"x\0" { 6 } else { 0 }, strings).unwrap());
            let beyond = Error::StringOffset { id: 3, at: place(0), offset: name, end: name };
            let types = [name, info(Kind::Struct, 0), 4];
            assert_eq!(Btf::parse_split(image(order, &types, b"", &[]), link).unwrap_err(), other_base(beyond));
        }
        // Its own strings are out of sight: the base is larger than the one it was made for.
        let idle = Error::NoOwnName { first: 6, end: 8 };
        assert_eq!(named(1, b"x\0").unwrap_err(), other_base(idle));
        // What stands alone has no base to be wrong about.
        Btf::parse(image(order, &[4, info(Kind::Struct, 0), 4], STRINGS, &[])).unwrap();
    }
}

#[test]
fn a_bad_name_is_found_wherever_it_stands() {
    // With seven elements each, as many as there are ways to look at them; where their names stand.
    let elements = |element: &[u32]| element.iter().copied().cycle().take(7 * element.len()).collect::<Vec<_>>();
    let with = |head: [u32; 3], element: &[u32]| [&head[..], &elements(element)].concat();
    let all = [
        (with([1, info(Kind::Struct, 7), 8], &[3, 1, 0]), 3),
        (with([1, info(Kind::Union, 7), 8], &[3, 1, 0]), 3),
        (with([1, info(Kind::Enum, 7), 4], &[3, 9]), 2),
        (with([1, info(Kind::Enum64, 7), 8], &[3, 9, 9]), 3),
        (with([0, info(Kind::FuncProto, 7), 0], &[3, 1]), 2),
        (vec![0, info(Kind::FuncProto, 3), 0, 3, 1, 3, 1, 3, 1], 2),
        (vec![1, info(Kind::Typedef, 0), 1], 3),
    ];
    for order in ORDERS {
        let base = Arc::new(parse(order, &INT).unwrap());
        let link = Btf::parse_split(image(order, &[6, info(Kind::Fwd, 0), 0], b"link\0", &[]), base.clone()).unwrap();
        // In the base, in a split BTF between and in its own strings, the second byte is inside a name.
        for (base, first) in [(base.clone(), 6), (Arc::new(link), 11)] {
            for (types, stride) in &all {
                let padded = [types, &INT[..], &[0, info(Kind::Ptr, 0), 1], &INT[..], &INT[..], &INT[..]].concat();
                let read = |types: &[u32]| Btf::parse_split(image(order, types, b"own\0", &[]), base.clone());
                for at in [0].into_iter().chain((3..types.len()).step_by(*stride)) {
                    for (name, good) in [(first, true), (first + 1, false), (first + 4, false), (4, false), (7, false)]
                    {
                        // For a look at many in a row, and for one at the last in the file.
                        for whole in [types, &padded] {
                            let mut broken = [&[first, info(Kind::Fwd, 0), 0], &whole[..]].concat();
                            broken[3 + at] = name;
                            let read = read(&broken);
                            assert_eq!(
                                read.is_ok(),
                                good,
                                "{broken:x?} in {order:?}: word {at} {name}: {:?}",
                                read.err()
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_split_btf_refers_to_is_of_the_right_kind() {
    // In the base: [1] int, [2] prototype, [3] function, [4] variable, [5] data section, [6] struct, [7] tag on it.
    let base = [
        &INT[..],
        &[0, info(Kind::FuncProto, 0), 0],
        &[1, info(Kind::Func, 0), 2],
        &[1, info(Kind::Var, 0), 1, 0],
        &[1, info(Kind::Datasec, 1), 4, 4, 0, 4],
        &[1, info(Kind::Struct, 0), 4],
        &[1, info(Kind::DeclTag, 0), 6, u32::MAX],
    ]
    .concat();
    // A type of each sort, as of what it refers to, and what of [0] to [7] may stand there.
    let one = |target| {
        [
            (vec![1, info(Kind::Func, 0), target], "2"),
            (vec![1, info(Kind::Datasec, 1), 4, target, 0, 4], "34"),
            (vec![1, info(Kind::DeclTag, 0), target, u32::MAX], "12346"),
            (vec![0, info(Kind::Ptr, 0), target], "0126"),
            (vec![1, info(Kind::Typedef, 0), target], "0126"),
            (vec![0, info(Kind::Const, 0), target], "0126"),
            (vec![1, info(Kind::Var, 0), target, 0], "0126"),
            (vec![0, info(Kind::Array, 0), 0, target, 1, 1], "01234567"),
            (vec![0, info(Kind::Struct, 1), 4, 1, target, 0], "01234567"),
            (vec![0, info(Kind::FuncProto, 1), 0, 1, target], "01234567"),
            (vec![0, info(Kind::FuncProto, 0), target], "0126"),
        ]
    };
    // Members and parameters are many, and not asked.
    for order in ORDERS {
        let base = Arc::new(parse(order, &base).unwrap());
        for target in 0..8 {
            for (types, right) in one(target) {
                let read = Btf::parse_split(image(order, &types, b"", &[]), base.clone());
                match read {
                    Ok(_) => assert!(right.contains(&target.to_string()), "{types:x?} on [{target}]"),
                    Err(Error::OtherBase(cause)) => {
                        assert!(!right.contains(&target.to_string()), "{types:x?} on [{target}]: {cause}");
                        assert!(matches!(*cause, Error::TargetKind { id: 8, at: 24, target: t, .. } if t == target));
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn the_layout_section_of_a_base_holds_for_what_is_split_on_it() {
    let mut layouts = vec![[0; 4]; 23];
    layouts[22] = [0, 12, 0, 0];
    let split = [3, 22 << 24 | 1, 77, 9, 9, 9, 0, info(Kind::Ptr, 0), 2];
    for order in ORDERS {
        let base = Arc::new(Btf::parse(image(order, &INT, STRINGS, &layouts)).unwrap());
        let btf = Arc::new(Btf::parse_split(image(order, &split, b"", &[]), base.clone()).unwrap());
        assert_eq!(btf.types().map(|t| t.kind()).collect::<Vec<_>>(), [Kind::Unknown, Kind::Ptr]);
        // Over a link that has none, too; but what the split says of itself goes first.
        let third = Btf::parse_split(image(order, &split, b"", &[]), btf.clone()).unwrap();
        assert_eq!((third.first_id(), third.end_id(), third.chain().len()), (4, 6, 3));
        let own = image(order, &split, b"", &[[0; 4]]);
        let error = Btf::parse_split(own, base.clone()).unwrap_err();
        assert_eq!(error, Error::Kind { id: 2, at: place(0) + 8, kind: 22 });
    }
}
