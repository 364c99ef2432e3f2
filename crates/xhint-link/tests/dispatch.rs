//! Packets of many layouts, interleaved, through one linked object.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use own::{compiled, nics, universe};
use xhint_link::{Dispatch, Error, Fallback, Link, LinkOptions, Linked, Object};
use xhint_testkit::damage::Random;
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture, may_load};

const PASS: u32 = 2;

/// A layout of fixtures/nics.c: id, bytes, where `value` and `mark` stand, and where the id.
struct Shape {
    name: &'static str,
    id: u32,
    size: usize,
    value: usize,
    mark: Option<usize>,
    put_id: fn(&mut [u8]),
}

fn at_end(bytes: &mut [u8], id: u32) {
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&id.to_le_bytes());
}

const SHAPES: [Shape; 7] = [
    Shape { name: "first_of_16", id: 0x11, size: 16, value: 0, mark: Some(4), put_id: |b| at_end(b, 0x11) },
    Shape {
        name: "second_of_16",
        id: 0xffff_fff0,
        size: 16,
        value: 4,
        mark: Some(8),
        put_id: |b| at_end(b, 0xffff_fff0),
    },
    Shape { name: "long_one", id: 0x12, size: 40, value: 28, mark: Some(24), put_id: |b| at_end(b, 0x12) },
    Shape { name: "short_one", id: 7, size: 8, value: 0, mark: None, put_id: |b| at_end(b, 7) },
    Shape {
        name: "id_in_front",
        id: 0x301,
        size: 12,
        value: 8,
        mark: Some(4),
        put_id: |b| b[..2].copy_from_slice(&0x301u16.to_le_bytes()),
    },
    Shape { name: "id_in_bits", id: 9, size: 20, value: 0, mark: Some(8), put_id: |b| b[4] = b[4] & 0x87 | 9 << 3 },
    Shape {
        name: "id_in_network_order",
        id: 0x0102_0304,
        size: 24,
        value: 8,
        mark: Some(0),
        put_id: |b| b[4..8].copy_from_slice(&[1, 2, 3, 4]),
    },
];

fn word(bytes: &[u8], at: usize) -> u64 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()).into()
}

fn link(options: &LinkOptions) -> Result<Linked, Error> {
    let object = Object::parse(compiled("reader.bpf.c")).unwrap();
    object.link(&universe(&[("nics.c", nics())]), options)
}

fn run(loaded: &Loaded, metadata: &[u8]) -> (u32, [u64; 5]) {
    let outcome = loaded.run("reader", metadata, &[0; 64]).unwrap();
    let bytes = loaded.global(".bss");
    let word = |n: usize| u64::from_ne_bytes(bytes[n * 8..n * 8 + 8].try_into().unwrap());
    (outcome.returned, [word(0), word(1), word(2), word(3), word(4)])
}

fn interleaved(dispatch: Dispatch, walk: bool) {
    if !may_load() {
        return;
    }
    let linked = link(&LinkOptions { dispatch, walk, ..LinkOptions::default() }).unwrap();
    let [warning] = linked.report.warnings.as_slice() else { panic!("{:?}", linked.report.warnings) };
    assert!(warning.contains("reader.bpf.c:32") && warning.contains("nic_meta.value"), "{warning}");
    assert!(warning.contains("without_value"), "{warning}");
    let loaded = Loaded::load(&fixture::keep("reader", "o", &linked.bytes), None).unwrap();
    let room = xhint_testkit::run::room();
    let shapes: Vec<_> = SHAPES.iter().filter(|s| s.size <= room).collect();
    assert!(shapes.len() >= 6, "the kernel takes but {room} bytes of metadata");
    let (mut random, mut unknown) = (Random::new(17), 0);
    for packet in 0..500 {
        let shape = shapes[random.below(shapes.len())];
        let mut metadata: Vec<u8> = (0..shape.size).map(|_| random.next() as u8).collect();
        (shape.put_id)(&mut metadata);
        let (returned, out) = run(&loaded, &metadata);
        let mark = shape.mark.map_or(0, |at| word(&metadata, at));
        let expected = [shape.size as u64, word(&metadata, shape.value), mark, shape.id.into(), unknown];
        assert_eq!((returned, out), (PASS, expected), "packet {packet}: {}", shape.name);
        // In between one that is of no layout, or of the one that lacks what the program reads.
        let stray: &[u8] = match packet % 5 {
            0 => &[],
            1 => &[0; 16],
            2 => &[0x11, 0, 0, 0],
            3 => &[0xff; 40],
            _ => &[[0u8; 36].as_slice(), &[0x99, 0, 0, 0]].concat(),
        };
        let stray = stray.get(..stray.len().min(room)).unwrap();
        unknown += 1;
        let (returned, out) = run(&loaded, stray);
        assert_eq!((returned, out), (PASS, [0, 0, 0, 0, unknown]), "stray {packet}");
    }
}

#[test]
fn interleaved_packets_are_read_right_by_direct_calls() {
    interleaved(Dispatch::Static, true);
    interleaved(Dispatch::Static, false);
}

#[test]
fn interleaved_packets_are_read_right_by_table_and_tail_call() {
    interleaved(Dispatch::Tail, true);
    interleaved(Dispatch::Tail, false);
}

#[test]
fn interleaved_packets_are_read_right_by_rows() {
    interleaved(Dispatch::Table, true);
}

#[test]
fn auto_picks_direct_calls_for_few_layouts_and_says_why() {
    let report = link(&LinkOptions::default()).unwrap().report;
    assert_eq!(report.dispatch.kind, Some(Dispatch::Static));
    assert!(report.dispatch.why.contains("8 layouts"), "{}", report.dispatch.why);
}

#[test]
fn one_layout_needs_no_dispatch() {
    let one = LinkOptions { layouts: Some(vec!["long_one".to_owned()]), ..LinkOptions::default() };
    assert_eq!(link(&one).unwrap().report.dispatch.kind, Some(Dispatch::None));
}

#[test]
fn several_layouts_without_dispatch_are_refused_with_the_ways_out() {
    let error = link(&LinkOptions { dispatch: Dispatch::None, ..LinkOptions::default() }).unwrap_err().to_string();
    for part in ["nic_meta", "first_of_16 0x00000011 of nics.c", "choose one of them", "link for all"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_unknown_layout_is_named() {
    let options = LinkOptions { layouts: Some(vec!["longone".to_owned()]), ..LinkOptions::default() };
    let error = link(&options).unwrap_err().to_string();
    assert!(error.contains("'longone'") && error.contains("long_one"), "{error}");
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for dispatch in Dispatch::ALL.into_iter().filter(|d| *d != Dispatch::None) {
        let options = LinkOptions { dispatch, ..LinkOptions::default() };
        assert_eq!(link(&options).unwrap().bytes, link(&options).unwrap().bytes);
    }
}

#[test]
fn a_fixed_action_takes_the_place_of_the_fallback() {
    if !may_load() {
        return;
    }
    for dispatch in [Dispatch::Static, Dispatch::Tail, Dispatch::Table] {
        let linked = link(&LinkOptions { dispatch, fallback: Fallback::Action(1), ..LinkOptions::default() }).unwrap();
        let loaded = Loaded::load(&fixture::keep("reader", "o", &linked.bytes), None).unwrap();
        assert_eq!(run(&loaded, &[0; 16]).0, 1);
        let mut known = [0; 8];
        at_end(&mut known, 7);
        assert_eq!(run(&loaded, &known).0, PASS);
    }
}

#[test]
fn layouts_that_are_equal_or_lack_all_are_dispatched_too() {
    if !may_load() {
        return;
    }
    let two = |field: &str| {
        let layout = |n| format!("struct l{n} {{ __u32 {field}; __u32 btf_id; }} LAYOUT({n});\nstruct l{n} *v{n};\n");
        own::nic_of(&format!("{}{}", layout(1), layout(2)))
    };
    let object = Object::parse(compiled("reader.bpf.c")).unwrap();
    // What a program lacks matters only if it is the one to run.
    let other = Some("another".to_owned());
    for (field, program, values) in [("value", None, [5, 0]), ("other", other, [0, 1])] {
        for dispatch in [Dispatch::Static, Dispatch::Tail, Dispatch::Table] {
            for count in [false, true] {
                let options = LinkOptions { dispatch, count, program: program.clone(), ..LinkOptions::default() };
                let linked = object.link(&universe(&[("two", two(field))]), &options).unwrap();
                let loaded = Loaded::load(&fixture::keep("two", "o", &linked.bytes), None).unwrap();
                let (returned, out) = run(&loaded, &[5, 0, 0, 0, 2, 0, 0, 0]);
                assert_eq!((returned, [out[1], out[4]]), (PASS, values), "{dispatch:?} {field} {count}");
            }
        }
    }
    let error = object.link(&universe(&[("two", two("other"))]), &LinkOptions::default()).unwrap_err().to_string();
    assert!(error.contains("nic_meta.value") && error.contains("reader.bpf.c:32"), "{error}");
}

/// NIC BTF of so many layouts, in each of which `value` stands elsewhere.
fn many(count: usize) -> bytes::Bytes {
    let layout = |n: usize| {
        format!(
            "struct l{n} {{ __u32 pad[{}]; __u32 value; __u32 mark; __u32 p2[{}]; __u32 btf_id; }} LAYOUT({});\n\
             struct l{n} *v{n};\n",
            n % 20,
            n / 20,
            n + 1
        )
    };
    own::nic_of(&(0..count).map(layout).collect::<String>())
}

#[test]
fn more_layouts_than_the_kernel_takes_functions_are_refused() {
    // A function that the program calls, and that differs by layout, is one for each.
    let object = Object::parse(compiled("dispatch.bpf.c")).unwrap();
    let options = LinkOptions { dispatch: Dispatch::Static, ..LinkOptions::default() };
    let error = object.link(&universe(&[("many", many(300))]), &options).unwrap_err().to_string();
    assert!(error.contains("256 functions") && error.contains("tail calls"), "{error}");
    // Left to itself it takes the other way, and the kernel takes that.
    let linked = object.link(&universe(&[("many", many(300))]), &LinkOptions::default()).unwrap();
    assert_eq!(linked.report.dispatch.kind, Some(Dispatch::Tail));
    if may_load() {
        Loaded::load(&fixture::keep("many", "o", &linked.bytes), None).unwrap();
    }
}

/// More layouts than tail calls have slots for, with three fields in so many different places.
fn beyond_slots(kinds: usize) -> bytes::Bytes {
    const WORDS: usize = 10;
    let layout = |n: usize| {
        let kind = n % kinds;
        let mut free: Vec<usize> = (0..WORDS).collect();
        let mut take = |n: usize| free.remove(n % free.len());
        let fields = [(take(kind), 'a'), (take(kind / WORDS), 'b'), (take(kind / WORDS / (WORDS - 1)), 'c')];
        let word = |w: usize| match fields.iter().find(|(at, _)| *at == w) {
            Some((_, name)) => format!("__u32 {name};"),
            None => format!("__u32 pad{w};"),
        };
        let words: String = (0..WORDS).map(word).collect();
        format!("struct l{n} {{ {words} __u32 btf_id; }} LAYOUT({n}); struct l{n} *v{n};\n")
    };
    own::nic_of(&(1..=xhint_link::table::SLOT_COUNT as usize + 1).map(layout).collect::<String>())
}

/// What is left to the linker asks for no more rights than CAP_BPF and CAP_NET_ADMIN where few copies read them all; where it
/// has to, it says so. Where a table may not be, it is refused.
#[test]
fn more_layouts_than_slots_take_a_table_where_copies_are_many() {
    let program = "#include \"kernel.h\"\nchar LICENSE[] SEC(\"license\") = \"GPL\";
        struct nic_meta { __u32 a, b, c; } CORE;
        SEC(\"xdp\") int prog(struct xdp_md *ctx) {
            struct nic_meta *m = (void *)(long)ctx->data_meta;
            if (!bpf_core_type_exists(struct nic_meta)) return 2;
            if ((void *)m + bpf_core_type_size(struct nic_meta) > (void *)(long)ctx->data) return 1;
            return m->a * 10000 + m->b * 100 + m->c; }";
    let path = fixture::keep("slots", "c", program.as_bytes());
    let object = Object::parse(std::fs::read(fixture::Compile::new(&path).object()).unwrap()).unwrap();
    for (kinds, dispatch) in [(2, Dispatch::Static), (720, Dispatch::Table)] {
        let universe = universe(&[("many", beyond_slots(kinds))]);
        let Linked { bytes, report } = object.link(&universe, &LinkOptions::default()).unwrap();
        assert_eq!(report.dispatch.kind, Some(dispatch), "{}", report.dispatch.why);
        assert_eq!(report.dispatch.needs.contains("CAP_PERFMON"), dispatch == Dispatch::Table);
        let known = object.link(&universe, &LinkOptions { table: true, ..LinkOptions::default() }).unwrap();
        assert_eq!((known.report.dispatch.kind, known.report.dispatch.needs), (Some(Dispatch::Table), ""));
        let without = object.link(&universe, &LinkOptions { walk: false, ..LinkOptions::default() });
        assert_eq!(without.is_ok(), dispatch == Dispatch::Static, "{:?}", without.err());
        if !may_load() || xhint_testkit::run::room() < 44 {
            continue;
        }
        for bytes in [bytes, known.bytes] {
            let loaded = Loaded::load(&fixture::keep("slots", "o", &bytes), None).unwrap();
            for id in [1, 2, 718, 4097] {
                let kind = id % kinds;
                let (a, b) = (kind % 10, kind / 10 % 9);
                let b = b + usize::from(b >= a);
                let metadata: Vec<u8> = (10..20).chain([id as u32]).flat_map(|w: u32| w.to_ne_bytes()).collect();
                let returned = loaded.run("prog", &metadata, &[0; 64]).unwrap().returned as usize;
                assert_eq!(returned / 100, (a + 10) * 100 + b + 10, "{id}");
            }
        }
    }
}

#[test]
fn copies_that_jumps_cannot_span_are_called() {
    if !may_load() {
        return;
    }
    let object = Object::parse(compiled("long.bpf.c")).unwrap();
    let options = LinkOptions { dispatch: Dispatch::Static, ..LinkOptions::default() };
    let linked = object.link(&universe(&[("many", many(40))]), &options).unwrap();
    let copies = Object::parse(linked.bytes.clone()).unwrap();
    assert_eq!(copies.functions().iter().filter(|f| f.name.starts_with("reader__")).count(), 41);
    let loaded = Loaded::load(&fixture::keep("long", "o", &linked.bytes), None).unwrap();
    let size = |n: usize| 4 * (n % 20 + n / 20 + 3);
    let fit: Vec<_> = [0usize, 17, 24, 39].into_iter().filter(|n| size(*n) <= xhint_testkit::run::room()).collect();
    assert!(fit.len() >= 2);
    for n in fit {
        let size = size(n);
        let mut metadata: Vec<u8> = (0..size as u8).collect();
        at_end(&mut metadata, n as u32 + 1);
        assert_eq!(loaded.run("reader", &metadata, &[0; 64]).unwrap().returned, PASS);
        let sum = u64::from_ne_bytes(loaded.global(".bss")[..8].try_into().unwrap());
        assert_eq!(sum, word(&metadata, 4 * (n % 20)) * 400, "{n}");
    }
}
