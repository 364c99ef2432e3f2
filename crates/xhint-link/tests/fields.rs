//! Fields that a NIC calls otherwise than the program: what meets them by a hint, by another name, as the selector or by a
//! bind becomes the instructions that libbpf makes where the NIC's fields are renamed by hand, and reads the same bytes.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use std::path::{Path, PathBuf};

use own::case::{self, Case, compile, program};
use own::{nic_of, universe};
use xhint_link::{Dispatch, Error, FieldBind, FieldName, Link, LinkOptions, Linked, Object};
use xhint_testkit::flat::{Nic, merge};
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture, oracle};

/// What the program calls its fields; three by tags, the others by words of the vocabulary or by names of its own.
const STRUCTS: &str = r#"
    #define tag(text) __attribute__((btf_decl_tag(text)))
    struct nic_meta {
        __u32 rx_hash;
        __u64 rx_timestamp;
        __s16 delta;
        __u32 queue : 5 tag("xhint:hint=rx_queue");
        __u32 colour : 11 tag("xhint:hint=flow_mark");
        __u32 lane tag("xhint:hint=acme.lane");
        struct { __be32 ipv4_src; } l3;
        struct { __u16 index; __u8 slots[2]; } ring;
        __u32 gone;
        __u32 btf_id;
    } CORE;
    __u64 out[16];
"#;
const BODY: &str = "
    struct nic_meta *m = meta;
    if (meta + bpf_core_type_size(struct nic_meta) > data) return XDP_DROP;
    out[0] = bpf_core_field_exists(m->rx_hash) + bpf_core_field_exists(m->l3.ipv4_src) * 2
        + bpf_core_field_exists(m->ring.slots[1]) * 4 + bpf_core_field_exists(m->btf_id) * 8
        + bpf_core_field_exists(m->queue) * 16 + bpf_core_field_exists(m->gone) * 32;
    out[1] = m->rx_hash;
    out[2] = m->rx_timestamp;
    out[3] = m->delta;
    out[4] = BPF_CORE_READ_BITFIELD(m, queue);
    out[5] = BPF_CORE_READ_BITFIELD(m, colour);
    out[6] = m->lane;
    out[7] = m->l3.ipv4_src;
    out[8] = m->ring.index;
    out[9] = m->ring.slots[1];
    out[10] = bpf_core_field_size(m->ring.slots) + bpf_core_field_size(m->colour) * 16;
    out[11] = bpf_core_field_offset(m->colour) + bpf_core_field_offset(m->rx_timestamp) * 256;
    out[12] = m->btf_id;
";
/// Where the NIC has them, by its own names.
const TAGGED: &str = r#"
    struct rx {
        __u32 layout_id tag("xhint:selector");
        __u32 spare : 3;
        __u32 ring_no : 7 tag("xhint:hint=rx_queue");
        __u32 label : 12 tag("xhint:hint=flow_mark");
        __u32 rss_result tag("xhint:hint=rx_hash");
        __s16 drift tag("xhint:as=offset") tag("xhint:as=delta");
        __u16 path tag("xhint:hint=acme.lane");
        __be32 source tag("xhint:hint=ipv4_src");
        struct { __u8 a; __u8 b; __u16 index; __u8 places[4] tag("xhint:as=slots"); } of_queue tag("xhint:as=ring");
        struct { __u64 stamp tag("xhint:hint=rx_timestamp"); } ptp;
    } LAYOUT(5);
    struct rx *r;
"#;
/// The same by the program's.
const RENAMED: &str = "
    struct nic_meta {
        __u32 btf_id;
        __u32 spare : 3;
        __u32 queue : 7;
        __u32 colour : 12;
        __u32 rx_hash;
        __s16 delta;
        __u16 lane;
        struct { __be32 ipv4_src; } l3;
        struct { __u8 a; __u8 b; __u16 index; __u8 slots[4]; } ring;
        __u64 rx_timestamp;
    };
    struct nic_meta *r;
";
/// Byte `i` of the metadata is 0x80 + i but for the id, 5. rx: layout_id @0, bits @4, rss_result @8, drift @12, path @14,
/// source @16, of_queue @20 (index @22, places @24), stamp @32. Bits 3 to 9 and 10 to 21 of 0x87868584.
const READ: [u64; 13] = [
    31,
    0x8b8a_8988,
    0xa7a6_a5a4_a3a2_a1a0,
    0xffff_ffff_ffff_8d8c,
    0x30,
    0x1a1,
    0x8f8e,
    0x9392_9190,
    0x9796,
    0x99,
    4 + 4 * 16,
    4 + 32 * 256,
    5,
];

fn object() -> PathBuf {
    fixture::keep("fields", "o", &compile(&program(STRUCTS, BODY)))
}

/// The kernel's types and the renamed NIC's, for libbpf.
fn flat() -> PathBuf {
    fixture::keep("fields", "btf", &merge(&fixture::corpus("vmlinux.btf"), &[Nic::Standalone(&nic_of(RENAMED))]))
}

fn link(object: &Path, nic: &str, bind: &[(&str, &str)]) -> Result<Linked, Error> {
    let name = |text| FieldName::read(text).unwrap();
    let bind_fields =
        bind.iter().map(|(local, target)| FieldBind { local: name(local), target: name(target) }).collect();
    let options = LinkOptions { dispatch: Dispatch::None, bind_fields, explain: true, ..LinkOptions::default() };
    let object = Object::parse(std::fs::read(object).unwrap()).unwrap();
    object.link(&universe(&[("nic.c", nic_of(nic))]), &options)
}

fn run(object: &Path, btf: Option<&Path>) -> Vec<u64> {
    let metadata: Vec<u8> = [5, 0, 0, 0].into_iter().chain(0x84..0xa8).collect();
    let loaded = Loaded::load(object, btf).unwrap();
    let outcome = loaded.run("prog", &metadata, &[0; 64]).unwrap();
    assert_eq!(outcome.returned, 2, "XDP_PASS");
    // Behind `sum`.
    let words = loaded.global(".bss");
    let words = words.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
    let words: Vec<u64> = words.collect();
    let at = words.iter().position(|word| *word == 31).unwrap();
    words[at..at + READ.len()].to_vec()
}

/// Each way to meet the fields gives what libbpf gives for the renamed NIC.
fn same_as_renamed(what: &str, linked: &Linked) {
    let ours = fixture::keep("fields", "o", &linked.bytes);
    let expected = oracle::relocate(&object(), Some(&flat())).unwrap();
    oracle::assert_same(what, &expected, &oracle::relocate(&ours, None).unwrap());
    assert_eq!(run(&ours, None), READ, "{what}");
}

/// By what fields were met, and which, each once.
fn met(linked: &Linked) -> Vec<(String, String)> {
    let results = linked.report.relocations.iter().flat_map(|relo| &relo.results);
    let mut met: Vec<_> = results.filter_map(|r| Some((r.by.clone()?, r.target.clone()?))).collect();
    met.sort();
    met.dedup();
    met
}

#[test]
fn hints_and_other_names_give_what_renaming_gives() {
    if !xhint_testkit::privileged() {
        return;
    }
    assert_eq!(run(&object(), Some(&flat())), READ, "libbpf and the kernel alone");
    let linked = link(&object(), TAGGED, &[]).unwrap();
    same_as_renamed("tagged", &linked);
    let told: Vec<_> = met(&linked).into_iter().map(|(by, target)| format!("{target}, by {by}")).collect();
    assert_eq!(
        told,
        [
            "rx.drift (__s16, 16 bits), by as",
            "rx.of_queue.index (__u16, 16 bits), by as",
            "rx.of_queue.places (__u8[4], 32 bits), by as",
            "rx.of_queue.places[1] (unsigned char, 8 bits), by as",
            "rx.path (__u16, 16 bits), by hint acme.lane",
            "rx.label (__u32, 12 bits), by hint flow_mark",
            "rx.source (__be32, 32 bits), by hint ipv4_src",
            "rx.rss_result (__u32, 32 bits), by hint rx_hash",
            "rx.ring_no (__u32, 7 bits), by hint rx_queue",
            "rx.ptp.stamp (__u64, 64 bits), by hint rx_timestamp",
            "rx.layout_id (__u32, 32 bits), by selector",
        ]
    );
}

#[test]
fn binds_give_what_renaming_gives() {
    if !xhint_testkit::privileged() {
        return;
    }
    // No tag but the layout's, and a word of the vocabulary that would lead elsewhere.
    let bare = TAGGED.lines().map(|line| match line.split_once(" tag(") {
        Some((field, _)) if !line.contains("LAYOUT") && !line.contains("struct {") => format!("{field};\n"),
        _ => {
            line.replace("tag(\"xhint:as=slots\")", "")
                .replace("tag(\"xhint:as=ring\")", "")
                .replace("tag(\"xhint:hint=rx_timestamp\")", "")
                + "\n"
        }
    });
    let bare: String = bare.collect();
    assert!(!bare.contains("xhint:"), "{bare}");
    let bind = [
        ("nic_meta.rx_hash", "rx.rss_result"),
        ("nic_meta.rx_timestamp", "nic_meta.ptp.stamp"),
        ("nic_meta.delta", "rx.drift"),
        ("nic_meta.queue", "rx.ring_no"),
        ("nic_meta.colour", "rx.label"),
        ("nic_meta.lane", "rx.path"),
        ("nic_meta.l3.ipv4_src", "rx.source"),
        ("nic_meta.ring", "rx.of_queue"),
        ("nic_meta.ring.slots", "rx.of_queue.places"),
        ("nic_meta.btf_id", "rx.layout_id"),
    ];
    let linked = link(&object(), &bare, &bind).unwrap();
    same_as_renamed("bound", &linked);
    assert!(met(&linked).iter().all(|(by, _)| by == "bind"), "{:?}", met(&linked));
}

#[test]
fn a_bound_field_that_is_nowhere_is_an_error_with_the_nearest() {
    let object = object();
    let refused = |local, target| link(&object, TAGGED, &[(local, target)]).unwrap_err().to_string();
    assert_eq!(
        refused("nic_meta.rx_hsah", "rx.rss_result"),
        "'nic_meta.rx_hsah' is bound to 'rx.rss_result': the program's struct 'nic_meta' has no field 'rx_hsah'; the nearest \
         are rx_hash, delta, ring"
    );
    let says = refused("nic_meta.rx_hash", "rx.rss_reslt");
    let begins = "'nic_meta.rx_hash' is bound to 'rx.rss_reslt': layout 'rx 0x00000005' has no field 'rss_reslt'; the \
                  nearest are rss_result, ";
    assert!(says.starts_with(begins), "{says}");
    assert!(
        refused("nic_mta.rx_hash", "rx.rss_result").contains("has no struct 'nic_mta'; the nearest are nic_meta, ")
    );
    let twice = [("nic_meta.rx_hash", "rx.rss_result"), ("nic_meta.rx_hash", "rx.source")];
    assert_eq!(
        link(&object, TAGGED, &twice).unwrap_err().to_string(),
        "'nic_meta.rx_hash' is bound to 'rx.rss_result' and to 'rx.source'; it can be only one of them"
    );
    // A layout that may come later is waited for.
    let linked = link(&object, TAGGED, &[("nic_meta.rx_hash", "other.rss")]).unwrap();
    let says = "no layout is called 'other', so binding 'nic_meta.rx_hash' to 'other.rss' does nothing";
    assert!(linked.report.warnings.iter().any(|warning| warning == says), "{:?}", linked.report.warnings);
}

#[test]
fn what_may_mean_two_fields_is_refused_where_it_is_read() {
    let two = r#"struct rx { __u32 inner tag("xhint:hint=rx_hash"); __u32 outer tag("xhint:hint=rx_hash"); __u32 btf_id; }
                 LAYOUT(5); struct rx *r;"#;
    let structs = "struct nic_meta { __u32 rx_hash; __u32 btf_id; } CORE;";
    let body = |guard| format!("struct nic_meta *m = meta; if (meta + 12 > data) return 2;\n{guard} sum = m->rx_hash;");
    let compiled = |guard| fixture::keep("fields", "o", &compile(&program(structs, &body(guard))));
    let error = link(&compiled(""), two, &[]).unwrap_err().to_string();
    let why = "struct rx has no 'rx_hash', and 'inner' and 'outer' have the hint rx_hash, each with a place of its own: bind \
               rx_hash to one of them";
    assert!(error.contains(why), "{error}");
    let linked = link(&compiled("if (bpf_core_field_exists(m->rx_hash))\n"), two, &[]).unwrap();
    let exists = &linked.report.relocations.iter().find(|r| r.results[0].value == Some(0)).unwrap().results[0];
    assert_eq!(exists.why.as_deref(), Some(why));
    let bound = link(&compiled(""), two, &[("nic_meta.rx_hash", "rx.outer")]).unwrap();
    assert!(met(&bound).contains(&("bind".to_owned(), "rx.outer (__u32, 32 bits)".to_owned())));
}

const TAGGED_AT_4: &str = r#"struct rx { __u32 pad; __u32 rss tag("xhint:hint=rx_hash"); __u32 mark; __u32 btf_id; } LAYOUT(5); struct rx *r;"#;
const TAGGED_AT_0: &str = r#"struct rx { __u32 rss tag("xhint:hint=rx_hash"); __u32 pad; __u32 mark; __u32 btf_id; } LAYOUT(5); struct rx *r;"#;
const BESIDE: &str = "struct nic_meta { __u32 pad; __u32 rx_hash; __u32 x; __u32 btf_id; } CORE;";
const INNER: &str = r#"struct in { __u32 hash; __u32 mark; }; struct rx { __u32 pad; struct in box tag("xhint:as=in"); __u32 btf_id; } LAYOUT(5); struct rx *r;"#;
const CASES: [Case; 5] = [
    Case {
        what: "a place where the layout has it by its hint",
        nic: TAGGED_AT_4,
        before: BESIDE,
        body: "CHECKED return *(__u32 *)(meta + 4);",
        value: 0x600d,
        told: None,
    },
    Case {
        what: "a place where it would be without the hint",
        nic: TAGGED_AT_0,
        before: BESIDE,
        body: "CHECKED return *(__u32 *)(meta + 4);",
        value: 0x600d,
        told: Some(false),
    },
    Case {
        what: "by CO-RE",
        nic: TAGGED_AT_0,
        before: BESIDE,
        body: "CHECKED return m->rx_hash;",
        value: 0xbad0,
        told: None,
    },
    Case {
        what: "in a struct that answers to the name, the same",
        nic: INNER,
        before: "struct in { __u32 hash; __u32 mark; }; struct nic_meta { struct in in; __u32 btf_id; } CORE;",
        body: "CHECKED return m->in.hash;",
        value: 0x600d,
        told: None,
    },
    Case {
        what: "in a struct that answers to the name, the other way round",
        nic: INNER,
        before: "struct in { __u32 mark; __u32 hash; }; struct nic_meta { struct in in; __u32 btf_id; } CORE;",
        body: "CHECKED return m->in.hash;",
        value: 0x77,
        told: Some(true),
    },
];

#[test]
fn what_is_read_plainly_is_held_against_what_the_fields_are_met_by() {
    if xhint_testkit::privileged() {
        case::check(&fixture::clangs()[..1], &CASES);
    }
}
