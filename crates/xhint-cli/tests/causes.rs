//! The same fault has the same cause whichever way one comes to it: `link`, `explain`, `attach`, `layouts add`, the library.

#![allow(missing_docs, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::process::Command;

use common::{World, bad, good, xhint};
use xhint_testkit::fixture::{self, Compile, keep};
use xhint_testkit::privileged;

const TAGS: &str = r#"#define tag(text) __attribute__((btf_decl_tag(text)))
#define LAYOUT tag("xhint:layout") tag("xhint:as=nic_meta")
"#;

fn compiled(name: &str, ending: &str, source: &str) -> String {
    Compile::new(&keep(name, ending, source.as_bytes())).object().display().to_string()
}

fn nic(name: &str, source: &str) -> String {
    compiled(name, "c", &format!("{TAGS}{source}"))
}

fn program(name: &str, head: &str, body: &str) -> String {
    let source = format!(
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include <xhint.h>\n{head}\n
         SEC(\"xdp\") int prog(struct xdp_md *ctx) {{
             struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
             if (!xhint_fits(ctx, m)) return XDP_PASS;
             {body}
         }}
         char LICENSE[] SEC(\"license\") = \"GPL\";"
    );
    compiled(name, "bpf.c", &source)
}

const META: &str = "struct nic_meta { __u32 rx_hash, seq; } __attribute__((preserve_access_index));";

/// What is wrong, and what has to be said of it to the last word.
struct Fault {
    what: &'static str,
    program: String,
    /// One that is right, to which the other is added; none if the program itself is at fault.
    right: Option<String>,
    wrong: String,
    /// Named besides, so that all verbs but `layouts add` do without the right one.
    also: Vec<String>,
    cause: Vec<String>,
}

fn faults() -> Vec<Fault> {
    let plain = program("plain", META, "return m->rx_hash;");
    let right = nic("right", "struct right { unsigned rx_hash, seq, btf_id; } LAYOUT; struct right *r;");
    let unguarded = program("unguarded", META, "return m->seq;");
    let poor = nic("poor", "struct poor { unsigned rx_hash, btf_id; } LAYOUT; struct poor *p;");
    let kinds = format!("{META} enum pkt_kind {{ PKT_TCP = 1 }};");
    let asks = program("asks", &kinds, "return bpf_core_enum_value(enum pkt_kind, PKT_TCP) + m->rx_hash;");
    let kind = |name: &str, value: u32, more: &str| {
        let source = format!(
            "enum pkt_kind {{ PKT_TCP = {value} }} kind; struct both {{ unsigned rx_hash, btf_id; }} LAYOUT; struct both *b;
             {more}"
        );
        nic(name, &source)
    };
    let one = kind("one", 5, "");
    let other = kind("other", 6, "struct third { unsigned a[3], rx_hash, btf_id; } LAYOUT; struct third *t;");
    let cut = fixture::nic("plain.c");
    let cut = keep("cut", "btf", &cut[..cut.len() / 2]).display().to_string();
    let undeclared = META.replace("__attribute__((preserve_access_index))", "");
    let no_core = program("no_core", &undeclared, "return m->rx_hash;");
    let fault =
        |what, program: &String, right: Option<&String>, wrong: &String, also: &[&String], cause: &[&str]| Fault {
            what,
            program: program.clone(),
            right: right.cloned(),
            wrong: wrong.clone(),
            also: also.iter().map(|s| (*s).clone()).collect(),
            cause: cause.iter().map(|s| (*s).to_owned()).collect(),
        };
    let veth = fixture::corpus_path("veth.btf").display().to_string();
    vec![
        fault(
            "missing",
            &unguarded,
            Some(&right),
            &poor,
            &[],
            &["unguarded", "nic_meta.seq", "struct poor has no 'seq'"],
        ),
        fault(
            "ambiguous",
            &asks,
            Some(&one),
            &other,
            &[&one],
            &["asks", "pkt_kind::PKT_TCP is ambiguous", &one, "gives 5", &other, "gives 6"],
        ),
        fault("truncated", &plain, Some(&right), &cut, &[], &[&cut, "truncated: the type section needs"]),
        fault("wrong base", &plain, Some(&right), &veth, &[], &[&veth, "base"]),
        fault("no CO-RE", &no_core, None, &right, &[], &["struct nic_meta", "preserve_access_index"]),
    ]
}

/// What the library says of it.
fn library(fault: &Fault) -> String {
    let linker = xhint::Linker::new().unwrap();
    let linked = || {
        let mut link = linker.program(&fault.program)?;
        for nic in fault.also.iter().chain([&fault.wrong]) {
            link = link.nic(nic)?;
        }
        link.link()
    };
    match linked() {
        Err(error) => error.to_string(),
        Ok(linked) => linked.report.warnings.join("\n"),
    }
}

#[test]
fn every_way_tells_the_same_cause() {
    if !privileged() {
        return;
    }
    let world = World::new(&["causes"]);
    let n = world.netns[0].clone();
    let link = format!("-n {n} link add near type veth peer name far");
    assert!(Command::new("ip").args(link.split(' ')).status().unwrap().success());
    let on = ["--dev", "near", "--netns", &n];
    let out = keep("causes", "o", b"").display().to_string();
    for fault in faults() {
        let nics: Vec<&str> = fault.also.iter().chain([&fault.wrong]).flat_map(|nic| ["--nic", nic]).collect();
        let said = |arguments: &[&str]| String::from_utf8(xhint(arguments).stderr).unwrap();
        let program = fault.program.as_str();
        let mut told = vec![
            ("link", said(&[&["link", program, "-o", &out][..], &nics].concat())),
            ("explain", said(&[&["explain", program][..], &nics].concat())),
            ("attach", bad(&[&["attach", program][..], &on, &nics].concat())),
            ("library", library(&fault)),
        ];
        if let Some(right) = &fault.right {
            good(&[&["attach", program, "--dispatch", "static", "--nic", right][..], &on].concat());
            told.push(("layouts add", bad(&["layouts", "add", "near", &fault.wrong, "--netns", &n])));
            good(&["detach", "near", "--netns", &n]);
        }
        for (way, said) in told {
            for part in &fault.cause {
                assert!(said.contains(part), "{}, {way}: '{part}' is not in: {said}", fault.what);
            }
            assert!(!said.contains("  "), "{way}: {said}");
        }
    }
}

/// An id that nobody has: each verb says which there are, in one form, and takes it in any.
#[test]
fn an_unknown_id_is_told_with_those_that_are() {
    let (program, right) = (
        program("ids", META, "return m->rx_hash;"),
        nic("ids", "struct right { unsigned rx_hash, btf_id; } LAYOUT tag(\"xhint:id=17\"); struct right *r;"),
    );
    let out = keep("ids", "o", b"").display().to_string();
    let link = ["link", &program, "--nic", &right, "-o", &out];
    let explain = ["explain", &program, "--nic", &right];
    for verb in [&link[..], &explain] {
        let says = bad(&[verb, &["--layout", "0x99"]].concat());
        assert!(says.contains("no layout is called '0x99'; there is right (0x00000011)"), "{says}");
        for form in ["0x11", "0x00000011", "0X11", "17", "right"] {
            good(&[verb, &["--layout", form]].concat());
        }
    }
    let shown = good(&["layout", "show", &right]) + &good(&explain);
    assert!(shown.matches("0x00000011").count() >= 2 && !shown.contains("0x11"), "{shown}");
    assert!(fs::metadata(&out).unwrap().len() > 0);
}
