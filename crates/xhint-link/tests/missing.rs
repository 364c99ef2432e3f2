//! Nothing is silent: what a layout lacks is an error in the terms of the source, unless the program never reads it.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use std::path::Path;

use bytes::Bytes;
use own::{nic_of, universe};
use xhint_link::{Dispatch, Error, Link, LinkOptions, Linked, Object};
use xhint_testkit::fixture::{self, Compile};
use xhint_testkit::may_load;
use xhint_testkit::run::Loaded;

fn object(define: Option<&str>) -> Object {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/missing.bpf.c");
    let mut compile = Compile::new(&path);
    if let Some(define) = define {
        compile = compile.argument(format!("-D{define}"));
    }
    Object::parse(std::fs::read(compile.object()).unwrap()).unwrap()
}

fn nic() -> Bytes {
    nic_of("struct small { __u32 value; __u32 gone_too; __u32 btf_id; } LAYOUT(1); struct small *v;")
}

fn link(define: Option<&str>, options: &LinkOptions) -> Result<Linked, Error> {
    object(define).link(&universe(&[("small.btf", nic())]), options)
}

#[test]
fn guards_that_became_constant_hide_what_they_guard() {
    let linked = link(None, &LinkOptions::default()).unwrap();
    assert_eq!(linked.report.warnings, [""; 0]);
    if may_load() {
        let loaded = Loaded::load(&fixture::keep("missing", "o", &linked.bytes), None).unwrap();
        let outcome = loaded.run("guarded", &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0], &[0; 64]).unwrap();
        assert_eq!(outcome.returned, 2);
        assert_eq!(loaded.global(".bss")[..16], [1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn what_is_missing_is_to_be_guarded_by_what_asks_for_it() {
    let nic = nic_of(
        "enum kind { HERE = 1 }; struct rx { enum kind kind; __u32 value; __u32 btf_id; } LAYOUT(1); struct rx *v;",
    );
    let universe = universe(&[("nic", nic)]);
    for (read, guard) in [
        ("bpf_core_enum_value(enum kind, GONE)", "bpf_core_enum_value_exists()"),
        ("m->gone", "bpf_core_field_exists()"),
        ("bpf_core_field_size(m->gone)", "bpf_core_field_exists()"),
    ] {
        let program = format!(
            "#include \"kernel.h\"
             enum kind {{ HERE, GONE }};
             struct nic_meta {{ __u32 value; __u32 gone; }} CORE;
             SEC(\"xdp\") int prog(struct xdp_md *ctx)
             {{
                 struct nic_meta *m = (void *)(long)ctx->data_meta;

                 return (void *)m + bpf_core_type_size(*m) > (void *)(long)ctx->data ? 0 : m->value + {read};
             }}"
        );
        let source = fixture::keep("guard", "bpf.c", program.as_bytes());
        let object = Object::parse(std::fs::read(Compile::new(&source).object()).unwrap()).unwrap();
        let error = object.link(&universe, &LinkOptions::default()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("guard it with {guard}")), "{error}");
    }
}

#[test]
fn an_unguarded_read_names_file_line_struct_field_and_what_there_is_instead() {
    let error = link(Some("UNGUARDED"), &LinkOptions::default()).unwrap_err();
    let Error::Missing { first, more } = &error else { panic!("{error}") };
    assert_eq!((first.access.as_str(), first.text.as_str(), *more), ("nic_meta.gone", "out[0] = m->gone;", 0));
    let text = error.to_string();
    for part in [
        "missing.bpf.c:51:",
        "nic_meta.gone",
        "struct small",
        "gone_too",
        "small 0x00000001 of small.btf",
        "bpf_core_field_exists()",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_guard_that_only_the_loader_sets_can_be_allowed() {
    let error = link(Some("BY_LOADER"), &LinkOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    let options = LinkOptions { allow_missing: true, ..LinkOptions::default() };
    let linked = link(Some("BY_LOADER"), &options).unwrap();
    assert_eq!(linked.report.warnings.len(), 1);
    if may_load() {
        // `use_gone` is 0 when it is loaded, so the verifier never comes to the read.
        Loaded::load_one(&fixture::keep("allowed", "o", &linked.bytes), None, "unguarded").unwrap();
    }
}

#[test]
fn a_fallback_that_would_read_metadata_is_refused_with_the_way_out() {
    let options = LinkOptions { dispatch: Dispatch::Static, ..LinkOptions::default() };
    let error = link(Some("UNGUARDED"), &options).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::FallbackMissing { .. }), "{text}");
    assert!(text.contains("missing.bpf.c:") && text.contains("a fixed action"), "{text}");
}

#[test]
fn explain_tells_dead_from_reached() {
    let universe = universe(&[("small.btf", nic())]);
    let report = object(Some("UNGUARDED")).explain(&universe, &LinkOptions::default()).report;
    let gone: Vec<_> =
        report.relocations.iter().filter(|r| r.access == "nic_meta.gone" && r.kind.name() == "byte_off").collect();
    let reached: Vec<_> = gone.iter().map(|r| (r.function.as_str(), r.results[0].reached)).collect();
    assert_eq!(reached, [("gone_of", false), ("gone_if", false), ("unguarded", true)]);
    let place = gone[2].place.as_ref().unwrap();
    assert_eq!((place.line, place.text.as_str()), (51, "out[0] = m->gone;"));
    assert!(gone.iter().all(|r| r.results[0].value.is_none() && r.results[0].why.is_some()));
    let value = report.relocations.iter().find(|r| r.kind.name() == "type_size").unwrap();
    assert_eq!((value.results[0].was, value.results[0].value), (8, Some(12)));
}

#[test]
fn a_plain_read_of_a_bitfield_is_told_as_that_and_not_to_be_guarded() {
    let nic = nic_of("struct bits { __u32 value : 20; __u32 rest : 12; __u32 btf_id; } LAYOUT(1); struct bits *b;");
    let error = object(None).link(&universe(&[("bits.btf", nic.clone())]), &LinkOptions::default());
    assert!(error.is_ok(), "nothing reads it");
    let source = "#include \"kernel.h\"
        char LICENSE[] SEC(\"license\") = \"GPL\";
        struct nic_meta { __u32 value; } CORE;
        __u64 sum;
        SEC(\"xdp\") int reader(struct xdp_md *ctx)
        {
            struct nic_meta *m = (void *)(long)ctx->data_meta;
            if (!bpf_core_field_exists(m->value) || (void *)m + bpf_core_type_size(struct nic_meta) > (void *)(long)ctx->data)
                return XDP_DROP;
            sum += READ;
            return XDP_PASS;
        }";
    let link = |read: &str| {
        let source = fixture::keep("bits", "c", source.replace("READ", read).as_bytes());
        let object = Object::parse(std::fs::read(Compile::new(&source).object()).unwrap()).unwrap();
        object.link(&universe(&[("bits.btf", nic.clone())]), &LinkOptions::default())
    };
    let error = link("m->value").unwrap_err();
    let Error::Missing { first, .. } = &error else { panic!("{error}") };
    let says = error.to_string();
    assert!(
        first.exists && says.contains("bitfield of 20 bits") && says.contains("BPF_CORE_READ_BITFIELD()"),
        "{says}"
    );
    assert!(says.contains("BPF_CORE_READ_BITFIELD_PROBED()") && !says.contains("guard"), "{says}");
    // And the cure is one.
    let linked = link("BPF_CORE_READ_BITFIELD(m, value)").unwrap();
    if may_load() {
        let loaded = Loaded::load(&fixture::keep("bits", "o", &linked.bytes), None).unwrap();
        let outcome = loaded.run("reader", &[0x67, 0x45, 0xf3, 0xff, 1, 0, 0, 0], &[0; 64]).unwrap();
        assert_eq!((outcome.returned, loaded.global(".bss")[..4].to_vec()), (2, vec![0x67, 0x45, 3, 0]));
    }
}

#[test]
fn a_bitfield_is_read_plainly_where_it_has_the_same_bits_and_nowhere_else() {
    let source = r#"#include "kernel.h"
struct nic_meta { __u32 pad : 3; __u32 mark : 4; __u32 word; } CORE;
__u32 got;
SEC("xdp") int reader(struct xdp_md *ctx)
{
	struct nic_meta *m = (void *)(long)ctx->data_meta;
	if ((void *)m + bpf_core_type_size(struct nic_meta) > (void *)(long)ctx->data)
		return 1;
	got = m->mark;
	return 2;
}
char LICENSE[] SEC("license") = "GPL";
"#;
    let program = Compile::new(&fixture::keep("bits-plain", "bpf.c", source.as_bytes())).object();
    let object = Object::parse(std::fs::read(program).unwrap()).unwrap();
    let link = |body: &str| {
        let nic = nic_of(&format!("struct nic {{ {body} }} LAYOUT(7); struct nic *n;"));
        object.link(&universe(&[("nic.btf", nic)]), &LinkOptions::default())
    };
    for other in [
        "__u32 mark : 4; __u32 pad : 3; __u32 btf_id;",
        "__u32 pad : 3; __u32 mark : 5; __u32 btf_id;",
        "__u32 mark; __u32 btf_id;",
    ] {
        let says = link(other).unwrap_err().to_string();
        assert!(says.contains("mark") && says.contains("BPF_CORE_READ_BITFIELD()"), "{other}: {says}");
    }
    let linked = link("__u32 pad : 3; __u32 mark : 4; __u32 more : 25; __u32 btf_id;").unwrap();
    if may_load() {
        let loaded = Loaded::load(&fixture::keep("bits-plain", "o", &linked.bytes), None).unwrap();
        let outcome = loaded.run("reader", &[0x2d, 0, 0, 0, 7, 0, 0, 0], &[0; 64]).unwrap();
        assert_eq!((outcome.returned, loaded.global(".bss")[0]), (2, 5));
    }
}

/// A program whose guard is spilled while others are given addresses in its stack.
fn spilled(call: &str) -> Result<Linked, Error> {
    let source = format!(
        r#"#include "kernel.h"
#define FN static __noinline __attribute__((unused))
#define HIDE(x) asm volatile("" : "+r"(x))
struct nic_meta {{ __u32 value; }} CORE;
typedef volatile __u64 v8;
static long (*loop)(__u32, void *, void *, __u64) = (void *)181;
FN int fill(v8 *p, __u64 v) {{ HIDE(p); *p = v; return 0; }}
FN int anywhere(v8 *p, __u64 v) {{ HIDE(p); p[v & 1] = v; return 0; }}
FN long on_loop(__u32 n, void *c) {{ v8 *p = c; *p += n + 1; return 0; }}
SEC("xdp") int prog(struct xdp_md *ctx)
{{
	struct nic_meta *m = (void *)(long)ctx->data_meta;
	v8 there = bpf_core_type_exists(struct nic_meta), local[2] = {{ 1, 2 }};

	if (there && (void *)m + bpf_core_type_size(struct nic_meta) > (void *)(long)ctx->data)
		return 1;
	{call}
	if (there)
		local[0] += m->value;
	return local[0];
}}
char LICENSE[] SEC("license") = "GPL";
"#
    );
    let object = Compile::new(&fixture::keep("spilled", "bpf.c", source.as_bytes())).argument("-w").object();
    let object = Object::parse(std::fs::read(object).unwrap()).unwrap();
    let options = LinkOptions { dispatch: Dispatch::Static, ..LinkOptions::default() };
    object.link(&universe(&[("small.btf", nic())]), &options)
}

#[test]
fn a_guard_in_the_stack_outlives_calls_that_cannot_write_it() {
    for call in ["fill(&local[0], 5);", "loop(2, on_loop, (void *)&local[0], 0);"] {
        assert_eq!(spilled(call).unwrap().report.warnings, [""; 0], "{call}");
    }
}

#[test]
fn what_is_not_known_to_be_reached_is_said_to_be_so_with_the_call_to_blame() {
    let error = spilled("fill(&local[0], 5);\n\tanywhere(&local[0], ctx->rx_queue_index);").unwrap_err();
    let Error::FallbackMissing { first, .. } = &error else { panic!("{error}") };
    assert!(first.lost.is_some());
    let text = error.to_string();
    for part in
        ["is not known", "`anywhere(&local[0], ctx->rx_queue_index);`", ".bpf.c:", "may write", "right before it"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("; guard it"), "{text}");
    // Where there is no guard, that is what is said.
    let text = spilled("there = 1;\n\tanywhere(&local[0], 1);").unwrap_err().to_string();
    assert!(text.contains("; guard it") && !text.contains("is not known"), "{text}");
}
