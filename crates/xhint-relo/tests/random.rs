//! Programs and targets made up at random, beside libbpf: whatever combination of types nobody thought of.
//!
//! Each round makes two sets of structs and enums by the same names, with fields drawn from one pool of names and types.
//! One set is the target; the program holds the other, and asks everything there is to ask of each of its fields. The
//! numbers are the same in every run; `XHINT_ROUNDS` asks for more of them.

#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "common/elf.rs"]
mod elf;

use std::fmt::Write;
use std::sync::Arc;

use elf::link;
use xhint_btf::Btf;
use xhint_relo::Binding;
use xhint_testkit::fixture::{Compile, keep, section};
use xhint_testkit::matrix::{Subject, World, compare};
use xhint_testkit::may_load;
use xhint_universe::Universe;

const STRUCTS: u32 = 12;
const ENUMS: u32 = 4;

/// Xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 20) % u64::from(n)) as u32
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u32) as usize]
    }
}

/// A field that the program can ask for.
struct Field {
    path: String,
    bitfield: bool,
    number: bool,
    array: bool,
    /// Whether clang can be asked about it; of arrays of arrays it only loads elements.
    askable: bool,
}

const PRELUDE: &str = "
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef signed char __s8; typedef short __s16; typedef int __s32; typedef long long __s64; typedef __u32 __be32;
typedef const volatile __u16 odd_t; typedef __u32 row_t[3];
";
const NUMBERS: [&str; 13] =
    ["__u8", "__s8", "__u16", "__s16", "__u32", "__s32", "__u64", "__s64", "_Bool", "char", "__be32", "odd_t", "long"];

struct Side<'r> {
    random: &'r mut Random,
    code: String,
    /// Per struct.
    fields: Vec<Vec<Field>>,
    enumerators: Vec<Vec<String>>,
}

impl Side<'_> {
    /// Structs and enums; those of a later number may hold those of an earlier one.
    fn make(random: &mut Random, clang_is_new: bool) -> Side<'_> {
        let mut side = Side { random, code: PRELUDE.to_owned(), fields: Vec::new(), enumerators: Vec::new() };
        for n in 0..ENUMS {
            let mut names = Vec::new();
            let mut list = String::new();
            for m in 0..6 {
                if side.random.one_in(3) {
                    continue;
                }
                let flavour = side.random.pick(&["", "", "___old", "___b"]);
                let big = if clang_is_new && n == 3 { 40 } else { 8 };
                let sign = if side.random.one_in(3) && n != 3 { "-" } else { "" };
                let name = format!("E{n}_{m}{flavour}");
                write!(list, "{name} = {sign}0x{:x}LL, ", (u64::from(side.random.below(200)) << big) + m).unwrap();
                names.push(name);
            }
            if names.is_empty() {
                list = format!("E{n}_0 = 1");
                names.push(format!("E{n}_0"));
            }
            writeln!(side.code, "enum e{n} {{ {list} }};").unwrap();
            side.enumerators.push(names);
        }
        for n in 0..STRUCTS {
            let mut fields = Vec::new();
            let mut names: Vec<u32> = (0..14).filter(|_| !side.random.one_in(3)).collect();
            for at in (1..names.len()).rev() {
                let other = side.random.below(at as u32 + 1) as usize;
                names.swap(at, other);
            }
            let body = side.body(n, &names, "", 0, &mut fields);
            let keyword = if n % 5 == 4 { "union" } else { "struct" };
            writeln!(side.code, "{keyword} s{n} {{ {body} }} __attribute__((preserve_access_index));").unwrap();
            if n % 4 == 1 {
                writeln!(side.code, "typedef {keyword} s{n} s{n}_t;").unwrap();
            }
            side.fields.push(fields);
        }
        side
    }

    fn body(&mut self, n: u32, names: &[u32], prefix: &str, depth: u32, fields: &mut Vec<Field>) -> String {
        let mut out = String::new();
        let mut left = names;
        while let [name, rest @ ..] = left {
            left = rest;
            if depth < 3 && rest.len() > 2 && self.random.one_in(4) {
                let (inner, after) = rest.split_at(1 + self.random.below(rest.len() as u32 - 1) as usize);
                left = after;
                let named = self.random.one_in(2);
                let path = if named { format!("{prefix}f{name}.") } else { prefix.to_owned() };
                let kind = self.random.pick(&["struct", "union"]);
                let body = self.body(n, inner, &path, depth + 1, fields);
                let label = if named { format!("f{name}") } else { String::new() };
                write!(out, "{kind} {{ {body} }} {label}; ").unwrap();
                continue;
            }
            out.push_str(&self.field(n, *name, prefix, fields));
        }
        out
    }

    fn field(&mut self, n: u32, name: u32, prefix: &str, fields: &mut Vec<Field>) -> String {
        let path = format!("{prefix}f{name}");
        let plain = Field { path: path.clone(), bitfield: false, number: false, array: false, askable: true };
        let number = self.random.pick(&NUMBERS);
        match self.random.below(12) {
            0 | 1 if !["_Bool", "odd_t", "long"].contains(&number) => {
                // clang refuses to be asked about wider ones where it takes the struct for less aligned than they are.
                let width = 1 + self.random.below(8);
                fields.push(Field { bitfield: true, ..plain });
                format!("{number} f{name} : {width}; ")
            }
            2 => {
                let (len, at) = (1 + self.random.below(4), self.random.below(2));
                fields.push(Field { array: true, path: path.clone(), ..plain });
                if at < len {
                    fields.push(Field { path: format!("{path}[{at}]"), number: true, array: true, ..plain });
                }
                format!("{number} f{name}[{len}]; ")
            }
            3 => {
                fields.push(Field {
                    path: format!("{path}[1][2]"),
                    number: true,
                    array: true,
                    askable: false,
                    ..plain
                });
                format!("row_t f{name}[2]; ")
            }
            4 => {
                fields.push(Field { number: true, ..plain });
                format!("enum e{} f{name}; ", self.random.below(ENUMS))
            }
            5 => {
                fields.push(plain);
                let to = self.random.pick(&["void", "struct s0", "struct nowhere", "__u32"]);
                format!("{to} *f{name}; ")
            }
            6 if n > 0 => {
                let inner = self.random.below(n);
                let keyword = if inner % 5 == 4 { "union" } else { "struct" };
                if let Some(field) = self.fields[inner as usize].first() {
                    fields.push(Field { path: format!("{path}.{}", field.path), ..*field });
                }
                fields.push(plain);
                format!("{keyword} s{inner} f{name}; ")
            }
            _ => {
                fields.push(Field { number: true, ..plain });
                format!("{number} f{name}; ")
            }
        }
    }
}

/// A program that asks for all that `side` has.
fn program(mut side: Side<'_>, clang_is_new: bool) -> String {
    let mut code = std::mem::take(&mut side.code);
    code.push_str(
        "#define SEC(n) __attribute__((section(n), used))\nchar licence[] SEC(\"license\") = \"GPL\";\n__u64 out;\n",
    );
    for (n, fields) in side.fields.iter().enumerate() {
        let keyword = if n % 5 == 4 { "union" } else { "struct" };
        let name = if n % 4 == 1 && side.random.one_in(2) { format!("s{n}_t") } else { format!("{keyword} s{n}") };
        writeln!(code, "SEC(\"xdp\") int ask{n}(void *ctx) {{ {name} *s = ctx; __u64 sum = 0;").unwrap();
        let mut ask = |what: String| writeln!(code, "  sum = sum * 31 + {what}; out = sum;").unwrap();
        for Field { path, bitfield, number, array, askable } in fields {
            // Everything of a field, but for what no element of an array can be asked, and for loads of bitfields, which
            // are the compiler's business.
            for kind in [0, 1, 2, 3, 4, 5] {
                if *askable && (kind < 3 || !array && (*number || *bitfield)) {
                    ask(format!("__builtin_preserve_field_info(s->{path}, {kind})"));
                }
            }
            if *number {
                ask(format!("(__u64)s->{path}"));
            }
        }
        for kind in if clang_is_new { 0..3 } else { 0..2 } {
            ask(format!("__builtin_preserve_type_info(*({name} *)0, {kind})"));
        }
        ask(format!("__builtin_btf_type_id(*({name} *)0, 1)"));
        code.push_str("  return 0; }\n");
    }
    code.push_str("SEC(\"xdp\") int enums(void *ctx) { __u64 sum = 0;\n");
    for (n, names) in side.enumerators.iter().enumerate() {
        for name in names {
            for kind in [0, 1] {
                writeln!(
                    code,
                    "  sum = sum * 31 + __builtin_preserve_enum_value(*(enum e{n} *){name}, {kind}); out = sum;"
                )
                .unwrap();
            }
        }
    }
    code.push_str("  return sum; }\n");
    code
}

/// What makes clang keep all types.
fn target(mut side: Side<'_>) -> String {
    for n in 0..STRUCTS {
        let keyword = if n % 5 == 4 { "union" } else { "struct" };
        writeln!(side.code, "{keyword} s{n} *keep{n};").unwrap();
        if n % 4 == 1 {
            writeln!(side.code, "s{n}_t *keep{n}_t;").unwrap();
        }
    }
    for n in 0..ENUMS {
        writeln!(side.code, "enum e{n} keep_e{n};").unwrap();
    }
    side.code
}

#[test]
fn made_up_programs_become_what_libbpf_makes_of_them() {
    if !may_load() {
        return;
    }
    let rounds = std::env::var("XHINT_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let compile =
        |code: &str, stem: &str| Compile::new(&keep(stem, "c", code.as_bytes())).argument("-Wno-everything").object();
    let is_new = xhint_testkit::fixture::clangs().last().is_some_and(|clang| *clang != "clang-14");
    let mut seeds = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..rounds {
        let seed = u64::from(seeds.below(u32::MAX)) << 20 | 1;
        let there = target(Side::make(&mut Random(seed ^ 0x5555_5555), is_new));
        let object = std::fs::read(compile(&there, "random-target")).unwrap();
        let base = section(&object, ".BTF").unwrap().to_vec();
        let flat = keep("random", "btf", &base);
        let here = program(Side::make(&mut Random(seed), is_new), is_new);
        let world = World { name: format!("round {seed:#x}"), base, splits: Vec::new(), nics: Vec::new(), flat };
        let subject = Subject { name: "random".to_owned(), object: compile(&here, "random-program") };
        compare(&[&world], &[subject], |world, object| {
            let universe = Universe::new(Arc::new(Btf::parse(world.base.clone()).map_err(|e| e.to_string())?));
            link(object, &universe, Binding::default())
        });
    }
}
