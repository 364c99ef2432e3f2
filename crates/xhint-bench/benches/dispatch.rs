//! The price of dispatch: nanoseconds a packet, beside programs written by hand. `cargo bench -p xhint-bench --bench
//! dispatch`, as root.
//!
//! Each program reads five fields of the metadata and writes the id of the next packet's layout into it, so that one
//! test run of the kernel's is a stream of packets: of one layout (steady), or of layouts in random order. All layouts
//! have one length. What is compared is the ratio to one program with fixed offsets, in the same order of ids.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::fmt::Write;
use std::sync::Arc;

use libbpf_rs::{ObjectBuilder, ProgramInput};
use xhint_btf::Btf;
use xhint_object::{Dispatch, LinkOptions, Object, btf_of};
use xhint_testkit::fixture::{self, Compile};
use xhint_testkit::privileged;
use xhint_universe::Universe;

const PACKETS: u32 = 2_000_000;
const ROUNDS: usize = 9;
/// Bytes of metadata of every layout here.
const SIZE: u32 = 48;

/// Fields of a layout, in the order of layout 0.
const FIELDS: [&str; 11] = ["f0", "f1", "f2", "f3", "f4", "p0", "p1", "p2", "p3", "p4", "p5"];

/// What all programs share: `next` decides the layout of the next packet.
const HEAD: &str = r#"
#include "kernel.h"
__u64 out[8];
__u32 seed;
const volatile __u32 mask = 0;
char LICENSE[] SEC("license") = "Dual BSD/GPL";
static __always_inline __u32 next_id(void)
{
	seed = seed * 1664525 + 1013904223;
	return 1 + (seed >> 16 & mask);
}
"#;

/// The program that is linked: it knows no layout.
const LINKED: &str = r#"
struct nic_meta { __u32 f0; __u32 f1; __u32 f2; __u32 f3; __u32 f4; __u32 btf_id; } CORE;
SEC("xdp") int program(struct xdp_md *ctx)
{
	struct nic_meta *m = (void *)(long)ctx->data_meta;
	if (!bpf_core_type_exists(struct nic_meta)) return XDP_DROP;
	if ((void *)m + bpf_core_type_size(struct nic_meta) > (void *)(long)ctx->data) return XDP_ABORTED;
	out[0] += m->f0; out[1] += m->f1; out[2] += m->f2; out[3] += m->f3; out[4] += m->f4;
	m->btf_id = next_id();
	return XDP_PASS;
}
"#;

/// Where field `n` stands in layout `layout`: layouts are rotations of one another, told apart by where the first
/// filler stands beyond that.
fn order(layout: usize) -> Vec<&'static str> {
    let mut fields = FIELDS.to_vec();
    let (a, b) = (layout % 11, layout / 11 % 11);
    fields.rotate_left(a);
    fields.swap(b, (b + 1 + layout / 121) % 11);
    fields
}

fn members(layout: usize) -> String {
    order(layout).iter().map(|f| format!("__u32 {f}; ")).collect::<String>() + "__u32 btf_id;"
}

/// Reads of layout `layout` at fixed offsets, and the writing of the next id.
fn reads(layout: usize) -> String {
    let order = order(layout);
    let mut out = String::new();
    for n in 0..5 {
        let at = order.iter().position(|f| *f == format!("f{n}")).unwrap();
        write!(out, "out[{n}] += w[{at}]; ").unwrap();
    }
    out
}

fn by_hand(body: &str, functions: &str) -> Vec<u8> {
    let source = format!(
        "{HEAD}{functions}\nSEC(\"xdp\") int program(struct xdp_md *ctx)\n{{\n__u32 *w = (void *)(long)ctx->data_meta;\n\
         if ((void *)w + {SIZE} > (void *)(long)ctx->data) return XDP_ABORTED;\n{body}\n}}\n"
    );
    compiled("hand", &source)
}

fn fixed() -> Vec<u8> {
    by_hand(&format!("{} w[11] = next_id(); return XDP_PASS;", reads(0)), "")
}

fn switch(layouts: usize) -> Vec<u8> {
    let case = |n: usize| format!("case {}: {} w[11] = next_id(); return XDP_PASS;\n", n + 1, reads(n));
    let cases: String = (0..layouts).map(case).collect();
    by_hand(&format!("switch (w[11]) {{\n{cases}default: return XDP_DROP;\n}}"), "")
}

/// A bare tail call: index and jump, nothing looked up.
fn bare(layouts: usize) -> Vec<u8> {
    let mut functions = String::new();
    for n in 0..layouts {
        writeln!(
            functions,
            "SEC(\"xdp\") int copy{n}(struct xdp_md *ctx) {{ __u32 *w = (void *)(long)ctx->data_meta; if ((void *)w + \
             {SIZE} > (void *)(long)ctx->data) return XDP_ABORTED; {} w[11] = next_id(); return XDP_PASS; }}",
            reads(n)
        )
        .unwrap();
    }
    let values: String = (0..layouts).map(|n| format!("[{}] = (void *)&copy{n}, ", n + 1)).collect();
    write!(
        functions,
        "struct {{ __uint(type, 3); __uint(max_entries, 4096); __uint(key_size, 4); __array(values, int (void *)); }} \
         slots SEC(\".maps\") = {{ .values = {{ {values} }} }};"
    )
    .unwrap();
    by_hand("bpf_tail_call(ctx, &slots, w[11]); return XDP_DROP;", &functions)
}

fn linked(layouts: usize, dispatch: Dispatch) -> Vec<u8> {
    let tags = |n: usize| {
        let id = n + 1;
        format!(
            "__attribute__((btf_decl_tag(\"xhint:layout\"))) __attribute__((btf_decl_tag(\"xhint:as=nic_meta\"))) \
             __attribute__((btf_decl_tag(\"xhint:id={id}\")))"
        )
    };
    let one = |n: usize| format!("struct l{n} {{ {} }} {};\nstruct l{n} *v{n};\n", members(n), tags(n));
    let source: String = (0..layouts).map(one).collect();
    let nic = compiled("nics", &format!("#include \"kernel.h\"\n{source}"));
    let mut universe = Universe::new(Arc::new(Btf::parse(fixture::corpus("vmlinux.btf")).unwrap()));
    universe.add("nics", Arc::new(btf_of(nic, None).unwrap())).unwrap();
    let object = Object::parse(compiled("program", &format!("{HEAD}{LINKED}"))).unwrap();
    object.link(&universe, &LinkOptions { dispatch, ..LinkOptions::default() }).unwrap().bytes
}

fn compiled(stem: &str, source: &str) -> Vec<u8> {
    std::fs::read(Compile::new(&fixture::keep(stem, "c", source.as_bytes())).object()).unwrap()
}

/// A loaded object, and the shortest time that its program took a packet.
struct Way {
    name: String,
    object: libbpf_rs::Object,
    best: f64,
}

impl Way {
    fn new(name: &str, bytes: &[u8], layouts: u32) -> Way {
        let mut open = ObjectBuilder::default().open_memory(bytes).unwrap();
        let mut rodata = open.maps_mut().find(|m| m.name().to_string_lossy().ends_with(".rodata")).unwrap();
        rodata.initial_value_mut().unwrap()[..4].copy_from_slice(&(layouts - 1).to_ne_bytes());
        let object = open.load().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(object.maps().count() > 0);
        Way { name: name.to_owned(), object, best: f64::MAX }
    }

    fn round(&mut self) {
        let program = self.object.progs_mut().find(|p| p.name() == "program").unwrap();
        let mut packet = [0u8; SIZE as usize + 64];
        packet[SIZE as usize - 4] = 1;
        let context: Vec<u8> = [SIZE, SIZE + 64, 0, 0, 0, 0].iter().flat_map(|w| w.to_ne_bytes()).collect();
        let mut context_in = context;
        let input = ProgramInput {
            data_in: Some(&packet),
            context_in: Some(&mut context_in),
            repeat: PACKETS,
            ..ProgramInput::default()
        };
        let output = program.test_run(input).unwrap();
        assert_eq!(output.return_value, 2, "{}", self.name);
        self.best = self.best.min(output.duration.as_nanos() as f64);
    }
}

fn compare(title: &str, layouts: u32, ways: Vec<(&str, Vec<u8>)>) {
    let mut ways: Vec<Way> = ways.iter().map(|(name, bytes)| Way::new(name, bytes, layouts)).collect();
    for _ in 0..ROUNDS {
        ways.iter_mut().for_each(Way::round);
    }
    println!("\n{title}");
    let base = ways[0].best;
    for way in &ways {
        println!("  {:<42} {:>6.1} ns  {:>5.2}", way.name, way.best, way.best / base);
    }
}

fn main() {
    if !privileged() {
        return;
    }
    println!("best of {ROUNDS} rounds of {PACKETS} packets; the last column is the ratio to the first row");
    for (title, mask) in [("steady", 1), ("random order", 0)] {
        for layouts in [2, 64] {
            let ways = vec![
                ("fixed offsets, by hand", fixed()),
                ("switch on the id, by hand", switch(layouts)),
                ("--dispatch static", linked(layouts, Dispatch::Static)),
                ("bare tail call by index, by hand", bare(layouts)),
                ("--dispatch tail", linked(layouts, Dispatch::Tail)),
            ];
            let spread = if mask == 1 { 1 } else { layouts as u32 };
            compare(&format!("{layouts} layouts, {title}"), spread, ways);
        }
    }
    let ways = vec![
        ("fixed offsets, by hand", fixed()),
        ("bare tail call, 2 layouts, by hand", bare(2)),
        ("--dispatch tail, 2 layouts", linked(2, Dispatch::Tail)),
        ("--dispatch tail, 1000 layouts", linked(1000, Dispatch::Tail)),
    ];
    compare("2 and 1000 layouts, steady", 1, ways);
}
