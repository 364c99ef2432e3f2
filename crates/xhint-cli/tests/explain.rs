//! `xhint explain` and `xhint link` with the same options say the same: what is refused, why, and what of it is at fault.

#![allow(missing_docs, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{example, xhint};
use serde_json::Value;
use xhint::btf::Btf;
use xhint::link::{Dispatch, Fallback, Link, LinkOptions, Object};
use xhint::universe::Universe;
use xhint_testkit::fixture::{self, Compile, keep};

/// How objects are linked here: options as the library has them.
fn ways() -> Vec<LinkOptions> {
    let dispatch = |dispatch| LinkOptions { dispatch, ..LinkOptions::default() };
    vec![
        dispatch(Dispatch::Auto),
        dispatch(Dispatch::None),
        dispatch(Dispatch::Table),
        LinkOptions { fallback: Fallback::Action(2), walk: false, ..dispatch(Dispatch::Static) },
        LinkOptions { allow_missing: true, prune: true, ..dispatch(Dispatch::Tail) },
    ]
}

fn universe(nics: &[&str]) -> Universe {
    let mut universe = Universe::new(Arc::new(Btf::parse(fixture::corpus("vmlinux.btf")).unwrap()));
    for nic in nics {
        universe.add(nic, Arc::new(Btf::parse(fixture::nic(nic)).unwrap())).unwrap();
    }
    // What the programs of the testkit know as nic_meta, in each file that has it.
    for name in ["nic_meta", "nic_meta___fw7"] {
        let _absent = universe.add_layout(name);
    }
    universe
}

/// Every program of the testkit with every NIC, and with pairs of them, in each way.
#[test]
fn every_object_is_explained_as_it_is_linked() {
    let nics = fixture::names("nics", ".c");
    let mut worlds: Vec<Vec<&str>> = nics.iter().map(|nic| vec![nic.as_str()]).collect();
    worlds.extend(nics.windows(2).map(|pair| vec![pair[0].as_str(), pair[1].as_str()]));
    let worlds: Vec<_> = worlds.iter().map(|nics| (nics, universe(nics))).collect();
    let (mut linked, mut refused) = (0, 0);
    for source in fixture::names("programs", ".bpf.c") {
        let object = Object::parse(std::fs::read(fixture::program(&source).object()).unwrap()).unwrap();
        for (nics, universe) in &worlds {
            for options in ways() {
                let what = format!("{source} {nics:?} {options:?}");
                let explained = object.explain(universe, &options);
                let report = &explained.report;
                let says = explained.refused.as_ref().map(ToString::to_string);
                let at_fault = report.layouts.iter().filter(|l| l.refused.is_some()).count();
                match object.link(universe, &options) {
                    Ok(done) => {
                        linked += 1;
                        assert_eq!((says, at_fault, &report.fallback_refused), (None, 0, &None), "{what}");
                        assert_eq!(report.dispatch, done.report.dispatch, "{what}");
                        assert_eq!(report.warnings, done.report.warnings, "{what}");
                        // What fails is what goes to the fallback, and nothing else.
                        for (n, layout) in report.layouts.iter().enumerate() {
                            let fails = report.relocations.iter().any(|r| r.results.len() > 1 && r.fails(n));
                            assert_eq!(layout.fallback, fails && !options.allow_missing, "{what}: {}", layout.name);
                        }
                    }
                    Err(error) => {
                        refused += 1;
                        assert_eq!(says, Some(error.to_string()), "{what}");
                        assert_eq!(report.refused, says, "{what}");
                    }
                }
            }
        }
    }
    assert!(linked > 200 && refused > 200, "{linked} linked, {refused} refused");
}

/// A NIC BTF with this layout, and a program that reads `field` of it without asking.
fn nic(name: &str, fields: &str, id: u32) -> String {
    let source = format!(
        "#define tag(text) __attribute__((btf_decl_tag(text)))
         struct {name} {{ {fields} }} tag(\"xhint:layout\") tag(\"xhint:as=nic_meta\") tag(\"xhint:id={id}\");
         struct {name} *keep;"
    );
    Compile::new(&keep(name, "c", source.as_bytes())).object().display().to_string()
}

fn program(name: &str, guard: &str, read: &str) -> String {
    let source = format!(
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include <xhint.h>\n
         struct nic_meta {{ __u32 rx_hash, nowhere; }} __attribute__((preserve_access_index));
         SEC(\"xdp\") int {name}(struct xdp_md *ctx) {{
             struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
             if (!({guard})) return XDP_PASS;
             return {read};
         }}
         char LICENSE[] SEC(\"license\") = \"GPL\";"
    );
    Compile::new(&keep(name, "bpf.c", source.as_bytes())).object().display().to_string()
}

/// What the command line says of one input, by both verbs.
struct Both {
    code: Option<i32>,
    error: String,
    report: Value,
    text: String,
    /// Of `explain`.
    warnings: Vec<String>,
}

fn both(arguments: &[&str]) -> Both {
    let out = fixture::cache().join(format!("both-{}.o", std::process::id())).display().to_string();
    let link = xhint(&[&["link", "-o", &out][..], arguments].concat());
    let explain = xhint(&[&["explain"][..], arguments].concat());
    let json = xhint(&[&["explain", "--json"][..], arguments].concat());
    let last = |bytes: &[u8]| {
        let said = String::from_utf8(bytes.to_vec()).unwrap();
        said.lines().filter(|l| l.starts_with("error: ")).collect::<String>()
    };
    assert_eq!(explain.status.code(), link.status.code(), "{arguments:?}: {}", last(&link.stderr));
    assert_eq!(json.status.code(), link.status.code(), "{arguments:?}");
    assert_eq!(last(&explain.stderr), last(&link.stderr), "{arguments:?}");
    assert_eq!(last(&json.stderr), last(&link.stderr), "{arguments:?}");
    Both {
        code: link.status.code(),
        error: last(&link.stderr),
        warnings: String::from_utf8_lossy(&explain.stderr)
            .lines()
            .filter(|l| l.starts_with("warning: "))
            .map(str::to_owned)
            .collect(),
        report: serde_json::from_slice(&json.stdout).unwrap_or(Value::Null),
        text: String::from_utf8(explain.stdout).unwrap(),
    }
}

#[test]
fn both_verbs_refuse_the_same_with_the_same_words() {
    let base = fixture::corpus_path("vmlinux.btf").display().to_string();
    let full = nic("full", "unsigned rx_hash, btf_id;", 1);
    let other = nic("other", "unsigned pad, rx_hash, btf_id;", 2);
    let poor = nic("poor", "unsigned mark, more[3], btf_id;", 3);
    let front = nic("front", "unsigned kind tag(\"xhint:selector\"), rx_hash;", 4);
    let careful = program("careful", "xhint_fits(ctx, m) && bpf_core_field_exists(m->rx_hash)", "m->rx_hash");
    let careless = program("careless", "xhint_fits(ctx, m)", "m->rx_hash");
    let blind = program("blind", "(void *)m + 16 <= (void *)(long)ctx->data", "m->rx_hash");
    let read = |more: &[&str]| both(&[more, &["--base", &base]].concat());

    let fine = read(&[&careful, "--nic", &full, "--nic", &other]);
    assert_eq!((fine.code, fine.report["dispatch"]["kind"].as_str()), (Some(0), Some("static")), "{}", fine.error);
    assert!(fine.text.contains("full 0x00000001 of") && fine.text.contains("no layout: links"), "{}", fine.text);

    // One layout lacks it: its packets go to the fallback, and that is no refusal.
    let partly = read(&[&careless, "--nic", &full, "--nic", &poor]);
    assert_eq!(partly.code, Some(0), "{}", partly.error);
    let fallback = |n: usize| partly.report["layouts"][n]["fallback"] == true;
    assert_eq!((fallback(0), fallback(1)), (false, true), "{}", partly.text);
    assert!(partly.text.contains("packets of this layout go to the fallback"), "{}", partly.text);

    // All do.
    let none = read(&[&careless, "--nic", &poor, "--dispatch", "static"]);
    assert!(
        none.error.contains("has no 'rx_hash'") && none.error.contains("bpf_core_field_exists()"),
        "{}",
        none.error
    );
    assert!(none.report["layouts"][0]["refused"].as_str().unwrap().contains("rx_hash"), "{}", none.report);
    let scant = nic("scant", "unsigned mark, more[4], btf_id;", 5);
    let neither = read(&[&careless, "--nic", &poor, "--nic", &scant]);
    assert_eq!((neither.code, &neither.warnings), (Some(1), &vec![]), "no packet goes anywhere");
    for (n, name) in ["poor", "scant"].iter().enumerate() {
        let layout = &neither.report["layouts"][n];
        assert_eq!(layout["fallback"], false, "{layout}");
        let refused = layout["refused"].as_str().unwrap();
        assert!(refused.contains(name) && refused.contains("; guard it with bpf_core_field_exists()"), "{refused}");
        assert!(refused.contains(".bpf.c:") && !refused.starts_with("careless: "), "its place comes first: {refused}");
        assert!(layout["lacks"].as_str().unwrap().starts_with("careless: "), "{layout}");
    }
    assert!(!neither.text.contains("fallback"), "{}", neither.text);

    // The fallback does: packets of no layout come to the read.
    let fallback = read(&[&blind, "--nic", &full, "--nic", &other]);
    assert!(fallback.error.contains("--fallback pass, drop or aborted"), "{}", fallback.error);
    assert!(fallback.report["fallback_refused"].is_string() && fallback.text.contains("no layout: refused"));
    assert_eq!(read(&[&blind, "--nic", &full, "--nic", &other, "--fallback", "drop"]).code, Some(0));

    // Selectors in different places.
    let clash = read(&[&careful, "--nic", &full, "--nic", &front]);
    assert!(clash.error.contains("full 0x00000001") && clash.error.contains("(--first NAME)"), "{}", clash.error);
    assert!(clash.report["layouts"][0]["refused"].is_string() && clash.report["layouts"][1]["refused"].is_string());
    assert_eq!(read(&[&careful, "--nic", &full, "--nic", &front, "--first", "front"]).code, Some(0));
    let unknown = read(&[&careful, "--nic", &full, "--first", "nosuch"]);
    assert!(unknown.error.contains("no layout is called 'nosuch'; there is full"), "{}", unknown.error);

    let several = read(&[&careful, "--nic", &full, "--nic", &other, "--dispatch", "none"]);
    assert!(several.error.contains("--layout NAME, or --dispatch auto"), "{}", several.error);
    assert!(several.text.contains("0 becomes 4"), "each is explained all the same: {}", several.text);

    let twice = read(&[&careful, "--nic", &full, "--bind", "nic_meta=full", "--bind", "nic_meta=nic_meta"]);
    assert_eq!(twice.code, Some(1));
    let table = read(&[&careful, "--nic", &full, "--nic", &other, "--dispatch", "table", "--no-walk"]);
    assert!(table.error.contains("CAP_PERFMON") && table.error.contains("--dispatch static"), "{}", table.error);
}

/// The inputs of the examples, too.
#[test]
fn the_examples_are_explained_as_they_link() {
    let base = fixture::corpus_path("vmlinux.btf").display().to_string();
    let nics: Vec<String> = ["alpha_fw1", "alpha_fw2", "beta"].map(|n| example(&format!("nics/{n}.c"))).to_vec();
    for more in [&[][..], &["--dispatch", "tail"], &["--no-walk"], &["--layout", "nosuch"], &["--first", "0x0"]] {
        let nics: Vec<&str> = nics.iter().flat_map(|nic| ["--nic", nic.as_str()]).collect();
        both(&[&[example("hints.bpf.c").as_str(), "--base", &base], &nics[..], more].concat());
    }
    assert!(Path::new(&base).exists());
}

/// By what else than its name a field was met is shown beside what it met.
#[test]
fn what_a_field_was_met_by_is_said() {
    let nic = nic(
        "tagged_rx",
        "unsigned layout_id tag(\"xhint:selector\"); unsigned rss tag(\"xhint:hint=rx_hash\"); unsigned other;",
        31,
    );
    let program = program("by_hint", "xhint_fits(ctx, m) && bpf_core_field_exists(m->rx_hash)", "m->rx_hash");
    let arguments = ["--nic", &nic, "--dispatch", "none", &program];
    let told = both(&arguments);
    assert!(
        told.text.contains("tagged_rx: yes  tagged_rx.rss (unsigned int, 32 bits), by hint rx_hash\n"),
        "{}",
        told.text
    );
    assert!(told.text.contains("tagged_rx: 0 becomes 4  tagged_rx.rss (unsigned int, 32 bits), by hint rx_hash\n"));
    let by = |told: &Both| -> Vec<Value> {
        let all = told.report["relocations"].as_array().unwrap().iter();
        let field = all.filter(|relo| relo["access"] == "nic_meta.rx_hash");
        field.map(|relo| relo["results"][0]["by"].clone()).collect()
    };
    assert_eq!(by(&told), ["hint rx_hash", "hint rx_hash"]);
    let bound = both(&[&["--bind", "nic_meta.rx_hash=tagged_rx.other"][..], &arguments].concat());
    assert_eq!(by(&bound), ["bind", "bind"]);
    assert!(bound.text.contains("0 becomes 8  tagged_rx.other (unsigned int, 32 bits), by bind\n"), "{}", bound.text);
    let nowhere = both(&[&["--bind", "nic_meta.rx_hash=tagged_rx.othr"][..], &arguments].concat());
    let error = "'nic_meta.rx_hash' is bound to 'tagged_rx.othr': layout 'tagged_rx 0x0000001f' has no field 'othr'; \
                 the nearest are other, ";
    assert!(nowhere.code == Some(1) && nowhere.error.contains(error), "{}", nowhere.error);
    for half in ["nic_meta.rx_hash=tagged_rx", "nic_meta.=a.b", "nic_meta.a..b=a.b", "nic_meta.a=.b"] {
        assert_eq!(xhint(&[&["explain", "--bind", half][..], &arguments].concat()).status.code(), Some(2), "{half}");
    }
}
