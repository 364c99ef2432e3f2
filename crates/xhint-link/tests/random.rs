//! Random programs that fill their stack in every way there is, run in the kernel before and after each kind of linking.
//!
//! The oracle is the kernel on the unlinked program, its relocations resolved by libbpf against a BTF with the one layout.
//! `XHINT_RANDOM_SEED` and `XHINT_RANDOM_FILES` ask for others and for more.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

use own::{nic_of, universe};
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::damage::Random;
use xhint_testkit::fixture::{self, Compile};
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture::Variant, may_load, skipped};

/// Programs in an object.
const PROGRAMS: usize = 24;
/// How deep branches nest.
const DEPTH: usize = 2;
/// Bytes of a program's array on the stack.
const BYTES: usize = 64;

/// Layouts that have both fields in different places, and one that lacks `mark`.
const LAYOUTS: [&str; 3] = [
    "__u32 value; __u32 mark; __u32 pad; __u32 btf_id;",
    "__u32 mark; __u32 pad; __u32 value; __u32 btf_id;",
    "__u32 pad[2]; __u32 value; __u32 btf_id;",
];

/// What all programs share: ways to write another's stack.
const HEAD: &str = r#"#include "kernel.h"
#define FN static __noinline __attribute__((unused))
#define HIDE(x) asm volatile("" : "+r"(x))
typedef volatile __u8 v1; typedef volatile __u16 v2; typedef volatile __u32 v4; typedef volatile __u64 v8;
struct nic_meta { __u32 mark; __u32 value; } CORE;
struct { __uint(type, 22); __uint(max_entries, 4); __type(value, __u64); } queue SEC(".maps");
struct { __uint(type, 2); __uint(max_entries, 3); __type(key, __u32); __type(value, __u64); } array SEC(".maps");
struct box { v8 *to; __u64 what; };
static long (*load_bytes)(struct xdp_md *, __u32, void *, __u32) = (void *)189;
static long (*push)(void *, const void *, __u64) = (void *)87;
static long (*pop)(void *, void *) = (void *)88;
static long (*each)(void *, void *, void *, __u64) = (void *)164;
static long (*loop)(__u32, void *, void *, __u64) = (void *)181;
FN int fill(v8 *p, __u64 v) { HIDE(p); *p = v; return 0; }
FN int half(v4 *p, __u64 v) { HIDE(p); p[1] = v; return 0; }
FN int below(v8 *p, __u64 v) { HIDE(p); p[-1] += v; return 0; }
FN int deeper(v8 *p, __u64 v) { HIDE(p); return fill(p, v ^ 3) + half((v4 *)p, v); }
FN int through(struct box *b) { HIDE(b); *b->to = b->what; return 0; }
FN __u64 twice(__u64 v) { HIDE(v); return v * 2; }
FN __u64 local(__u64 v) { v8 a[2] = { v, 5 }; fill(&a[1], v); return a[0] + a[1]; }
FN long on_loop(__u32 n, void *c) { v8 *p = c; *p += n + 1; return 0; }
FN long on_box(__u32 n, void *c) { struct box *b = c; *b->to += b->what + n; return 0; }
FN long on_each(void *m, __u32 *k, __u64 *v, void *c) { v4 *p = c; p[0] += *k + 1; return 0; }
"#;

/// Writes the body of one program.
struct Writer<'r> {
    random: &'r mut Random,
    out: String,
    /// Whether nobody else is given an address in the stack, so that the guard's slot keeps what it has.
    quiet: bool,
    /// The slot that statements are to write, if it is to be one.
    aim: Option<usize>,
}

impl Writer<'_> {
    fn below(&mut self, end: usize) -> usize {
        self.random.below(end)
    }

    /// A variable.
    fn var(&mut self) -> &'static str {
        ["a", "b", "c"][self.below(3)]
    }

    /// Something to write: mostly a small number, so that what is overwritten and what is not differ.
    fn value(&mut self) -> String {
        match self.below(8) {
            0..=3 => self.below(5).to_string(),
            4 => format!("{}", self.random.next() as i32),
            _ => self.var().to_owned(),
        }
    }

    /// A place on the stack for so many bytes.
    fn place(&mut self, bytes: usize) -> String {
        let at = self.offset(bytes);
        format!("*(v{bytes} *)((char *)s + {at})")
    }

    fn offset(&mut self, bytes: usize) -> usize {
        match self.aim {
            Some(slot) => slot * 8 + self.below(8 / bytes) * bytes,
            None => self.below(BYTES / bytes) * bytes,
        }
    }

    fn bytes(&mut self) -> usize {
        [1, 2, 4, 8, 8, 8][self.below(6)]
    }

    fn statements(&mut self, depth: usize) {
        for _ in 0..2 + self.below(5) {
            self.statement(depth);
        }
    }

    /// A slot gets a number, something may write it, and it is looked at.
    fn probe(&mut self) {
        let (slot, number) = (1 + self.below(6), self.below(4));
        self.aim = Some(slot);
        writeln!(self.out, "\ts[{slot}] = {number};").unwrap();
        let which = 14 + self.below(16);
        self.one(0, which);
        self.aim = None;
        let var = self.var();
        match self.below(3) {
            0 => writeln!(self.out, "\tif (s[{slot}] == {number}) {{ {var} += 11; HIDE({var}); }}").unwrap(),
            _ => writeln!(self.out, "\t{var} += s[{slot}];").unwrap(),
        }
    }

    fn statement(&mut self, depth: usize) {
        if !self.quiet && self.below(3) == 0 {
            return self.probe();
        }
        let which = self.below(if self.quiet { 14 } else { 30 });
        self.one(depth, which);
    }

    fn one(&mut self, depth: usize, which: usize) {
        let (bytes, var, value) = (self.bytes(), self.var(), self.value());
        let (place, eight, four) = (self.place(bytes), self.place(8), self.place(4));
        let word = if self.below(2) == 0 { &eight } else { &four };
        let text = match which {
            0..=2 => format!("{place} = {value};"),
            3..=5 => format!("{var} += {eight};"),
            6 => format!("{var} = {place};"),
            7 => format!("{var} = {value};"),
            8 => format!("{var} -= {eight};"),
            9 => format!("{var} = {var} * 3 ^ {place};"),
            10 => format!("{place} = bpf_core_field_exists(m->mark);"),
            11 | 12 if depth > 0 => return self.branch(depth, &place, var),
            11..=13 => format!("{var} += twice({place}) + local({var});"),
            14 => {
                let sync = ["add", "or", "and", "xor"][self.below(4)];
                format!("{var} ^= __sync_fetch_and_{sync}(&{word}, {value});")
            }
            15 => format!("__sync_fetch_and_add(&{word}, {value});"),
            16 => format!("{var} += __sync_lock_test_and_set(&{word}, {value});"),
            17 => format!("{var} += __sync_val_compare_and_swap(&{word}, {}, {value});", self.below(3)),
            18 => format!("{{ v{bytes} *p = &{place}; HIDE(p); *p = {value}; }}"),
            19 | 20 => {
                // The verifier does not know that the queue is 0, so it takes any of two places or more for possible.
                let at = match self.aim {
                    Some(slot) => format!("({} | ctx->rx_queue_index & 8)", slot * 8),
                    None => var.to_owned(),
                };
                let at = format!("*(v{bytes} *)((char *)s + ({at} & {}))", (BYTES - 1) & !(bytes - 1));
                if which == 19 { format!("{at} = {value};") } else { format!("{var} += {at}; {at} = {var};") }
            }
            21 => {
                let (at, len) = (self.offset(8).saturating_sub(self.below(8)), 1 + self.below(12));
                format!("load_bytes(ctx, {var} & 15, (char *)s + {}, {len});", at.min(BYTES - len))
            }
            22 => format!("push(&queue, (void *)&{eight}, 0); pop(&queue, (void *)&{});", self.place(8)),
            23 => {
                let call = ["fill(&", "half((v4 *)&", "deeper(&"][self.below(3)];
                format!("{call}{eight}, {value});")
            }
            24 => format!("below(&s[{}], {value});", self.offset(8) / 8 % 7 + 1),
            25 => format!("{{ struct box x = {{ &{eight}, {value} }}; through(&x); }}"),
            26 => format!("loop(2 + (ctx->rx_queue_index & 1), on_loop, (void *)&{eight}, 0);"),
            27 => format!(
                "{{ struct box x = {{ &{eight}, {value} }}; loop(2 + (ctx->rx_queue_index & 1), on_box, &x, 0); }}"
            ),
            28 => format!("each(&array, on_each, (void *)&{four}, 0);"),
            _ => format!("{{ v8 *p = &{eight}; HIDE(p); fill(p, {value}); *p += 1; }}"),
        };
        writeln!(self.out, "\t{text}").unwrap();
    }

    fn branch(&mut self, depth: usize, place: &str, var: &str) {
        let (compare, with) = (["==", "!=", "<", ">", "&"][self.below(5)], self.below(4));
        match self.below(4) {
            0 if self.quiet => writeln!(self.out, "\tif (guard) {{ {var} += m->mark;").unwrap(),
            1 => writeln!(self.out, "\tfor (__u32 i = 0; i < {with}; i++) {{ HIDE(i);").unwrap(),
            2 => writeln!(self.out, "\tif ({var} {compare} {with}) {{").unwrap(),
            _ => writeln!(self.out, "\tif ({place} {compare} {with}) {{").unwrap(),
        }
        self.statements(depth - 1);
        self.out.push_str("\t}\n");
    }
}

/// The C source of an object.
fn source(random: &mut Random) -> String {
    let mut out = HEAD.to_owned();
    for n in 0..PROGRAMS {
        let quiet = n % 3 == 0;
        let mut writer = Writer { random, out: String::new(), quiet, aim: None };
        (0..3).for_each(|_| writer.statements(DEPTH));
        let body = writer.out;
        let slots: Vec<_> = (0..BYTES / 8).map(|_| random.below(3).to_string()).collect();
        // The packet's bytes are what nobody knows beforehand.
        let packet = "load_bytes(ctx, 0, &a, 8); load_bytes(ctx, 8, &b, 8);";
        writeln!(
            out,
            "SEC(\"xdp\") int p{n}(struct xdp_md *ctx)\n{{\n\t\
             struct nic_meta *m = (void *)(long)ctx->data_meta;\n\tv8 s[{}] = {{ {} }};\n\t\
             __u64 a = 0, b = 0, c = {};\n\tv4 guard = bpf_core_field_exists(m->mark);\n\n\t{packet}\n\t\
             if (!bpf_core_type_exists(struct nic_meta))\n\t\treturn 2;\n\t\
             if ((void *)m + bpf_core_type_size(struct nic_meta) > (void *)(long)ctx->data)\n\t\treturn 1;\n\t\
             c += m->value;\n{body}\t\
             for (int i = 0; i < {}; i++)\n\t\ta = a * 31 + s[i];\n\t\
             a = a * 31 + b + c * 7;\n\treturn a ^ a >> 32;\n}}",
            BYTES / 8,
            slots.join(", "),
            random.below(4),
            BYTES / 8,
        )
        .unwrap();
    }
    out + "char LICENSE[] SEC(\"license\") = \"GPL\";\n"
}

/// The BTF that libbpf resolves against: the layout under the name that programs ask for.
fn flat(layout: &str) -> PathBuf {
    let source =
        fixture::keep("flat", "c", format!("#include \"kernel.h\"\nstruct nic_meta {{ {layout} }} x;\n").as_bytes());
    let object = fs::read(Compile::new(&source).object()).unwrap();
    fixture::keep("flat", "btf", fixture::section(&object, ".BTF").unwrap())
}

/// What programs return for packets that begin with these bytes, with metadata of this layout.
fn run(loaded: &Loaded, layout: usize, heads: &[[u8; 16]]) -> Vec<Vec<u32>> {
    let mut metadata = [[7u8, 0, 1, 0], [3, 0, 0, 0], [2, 0, 5, 0], [layout as u8 + 1, 0, 0, 0]].concat();
    metadata[12] = layout as u8 + 1;
    let one = |n: usize, head: &[u8; 16]| {
        let packet = [&head[..], &[0x5a; 48]].concat();
        loaded.run(&format!("p{n}"), &metadata, &packet).unwrap().returned
    };
    (0..PROGRAMS).map(|n| heads.iter().map(|head| one(n, head)).collect()).collect()
}

/// Ways of linking, and whether all layouts are in one object.
fn ways() -> Vec<(LinkOptions, bool)> {
    let mut out = Vec::new();
    for (walk, prune) in [(true, false), (false, false), (true, true), (false, true)] {
        for dispatch in [Dispatch::None, Dispatch::Static, Dispatch::Tail, Dispatch::Table] {
            if walk || dispatch != Dispatch::Table {
                let options = LinkOptions { dispatch, walk, prune, ..LinkOptions::default() };
                out.push((options, dispatch != Dispatch::None));
            }
        }
    }
    out
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn linked_programs_compute_what_unlinked_ones_do() {
    if !may_load() {
        return;
    }
    let layout =
        |(n, fields): (usize, &&str)| format!("struct l{n} {{ {fields} }} LAYOUT({});\nstruct l{n} *v{n};\n", n + 1);
    let universe = universe(&[("nic", nic_of(&LAYOUTS.iter().enumerate().map(layout).collect::<String>()))]);
    let first = number("XHINT_RANDOM_SEED", 1);
    let files = number("XHINT_RANDOM_FILES", 4);
    let (mut runs, mut refused, mut linked_files) = (0, 0, 0);
    for seed in first.. {
        if linked_files == files {
            break;
        }
        let mut random = Random::new(seed);
        let source = fixture::keep("random", "c", source(&mut random).as_bytes());
        let cpu = if seed % 2 == 0 { "v4" } else { "v3" };
        let clang = fixture::clangs().last().unwrap();
        let cpu = if *clang == "clang-19" { cpu } else { "v3" };
        let path = Compile::new(&source).variant(Variant { clang, cpu }).argument("-w").object();
        let what = format!("seed {seed}, {}, {}", source.display(), path.display());
        let heads: Vec<[u8; 16]> = (0..3).map(|_| std::array::from_fn(|n| (random.next() >> n) as u8 & 0x83)).collect();
        let flats = LAYOUTS.map(flat);
        let unlinked = |n: usize| Ok(run(&Loaded::load(&path, Some(&flats[n]))?, n, &heads));
        let expected: Result<Vec<Vec<Vec<u32>>>, String> = (0..LAYOUTS.len()).map(unlinked).collect();
        // Old verifiers follow a spilled number less far; what they refuse as it was written tells nothing of linking.
        let expected = match expected {
            Err(error) if refused < files => {
                skipped(&format!("{what}: refused before linking: {}", error.lines().last().unwrap_or_default()));
                refused += 1;
                continue;
            }
            expected => expected.unwrap_or_else(|e| panic!("{what}: {e}")),
        };
        linked_files += 1;
        let object = Object::parse(fs::read(&path).unwrap()).unwrap();
        for (options, together) in ways() {
            let sets: Vec<Vec<usize>> = if together { vec![vec![0, 1, 2]] } else { (0..3).map(|n| vec![n]).collect() };
            for set in sets {
                let layouts = Some(set.iter().map(|n| format!("l{n}")).collect());
                let options = LinkOptions { layouts, ..options.clone() };
                let how = format!("{what}: {:?}, walk {}, prune {}", options.dispatch, options.walk, options.prune);
                let linked = object.link(&universe, &options).unwrap_or_else(|e| panic!("{how}: {e}"));
                assert_eq!(linked.report.warnings, [""; 0], "{how}");
                let kept = fixture::keep("random-linked", "o", &linked.bytes);
                let loaded = Loaded::load(&kept, None).unwrap_or_else(|e| panic!("{how}: {e}"));
                for layout in set {
                    for (n, (got, expected)) in run(&loaded, layout, &heads).iter().zip(&expected[layout]).enumerate() {
                        assert_eq!(got, expected, "{how}: layout {layout}, p{n}, {}", kept.display());
                        runs += got.len();
                    }
                }
                fs::remove_file(kept).unwrap();
            }
        }
    }
    eprintln!("{runs} runs of linked programs");
    assert!(runs > 1000);
}
