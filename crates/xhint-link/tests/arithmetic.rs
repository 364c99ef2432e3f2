//! What the linker computes of numbers is what the kernel computes: random instructions, with all that hangs on them decided and
//! removed, give what they gave.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]

mod own;

use std::fmt::Write;

use own::universe;
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::damage::Random;
use xhint_testkit::fixture::{self, Compile, Variant};
use xhint_testkit::may_load;
use xhint_testkit::run::Loaded;

const PROGRAMS: usize = 64;
const INSTRUCTIONS: usize = 40;
const FILES: u64 = 4;
/// Bits that are looked at in the end.
const TESTS: usize = 12;
/// Numbers at which results change their kind.
const EDGES: [i64; 14] = [0, 1, 2, -1, 7, 31, 32, 63, 0x7f, 0x80, 0x8000, 0x7fff_ffff, -0x8000_0000, -0x80];

fn number(random: &mut Random) -> i64 {
    match random.below(3) {
        0 => i64::from(random.next() as i32),
        _ => EDGES[random.below(EDGES.len())],
    }
}

/// An instruction on r0 to r5 and the stack, all of which have values; a jump leads to `next`.
fn instruction(random: &mut Random, next: &str) -> String {
    let (a, b, imm) = (random.below(6), random.below(6), number(random));
    let wide = random.below(2) == 0;
    let reg = if wide { 'r' } else { 'w' };
    let second = if random.below(2) == 0 { format!("{reg}{b}") } else { imm.to_string() };
    let (bytes, word) = [(1, 8), (2, 16), (4, 32), (8, 64)][random.below(4)];
    let place = 8 * (1 + random.below(4)) - bytes * random.below(8 / bytes);
    match random.below(16) {
        0..=3 => format!("{reg}{a} {} {second}", ["+=", "-=", "*=", "|=", "&=", "^="][random.below(6)]),
        4 => format!("{reg}{a} {} {reg}{b}", ["/=", "%=", "s/=", "s%="][random.below(4)]),
        5 => format!("{reg}{a} {} {imm}", ["/=", "%=", "s/=", "s%="][random.below(4)]).replace(" 0", " 3"),
        6 => {
            format!("{reg}{a} {} {}", ["<<=", ">>=", "s>>="][random.below(3)], random.below(if wide { 64 } else { 32 }))
        }
        7 => format!("{reg}{a} {} {reg}{b}", ["<<=", ">>=", "s>>="][random.below(3)]),
        8 => format!("{reg}{a} = -{reg}{a}"),
        9 => format!("{reg}{a} = {second}"),
        10 => format!("{reg}{a} = (s{}){reg}{b}", [8, 16][random.below(2)]),
        11 => format!("r{a} = {} r{a}", ["bswap16", "bswap32", "bswap64", "be32", "le16"][random.below(5)]),
        12 => format!("*(u{word} *)(r10 - {place}) = r{b}"),
        13 if bytes < 8 => format!("r{a} = *(s{word} *)(r10 - {place})"),
        13 => format!("r{a} = *(u{word} *)(r10 - {place})"),
        14 => format!("r{a} = {} ll", random.next() as i64),
        _ => {
            let compare = ["==", "!=", "<", "<=", ">", ">=", "s<", "s<=", "s>", "s>=", "&"][random.below(11)];
            format!("if {reg}{a} {compare} {second} goto {next}")
        }
    }
}

fn source(random: &mut Random) -> String {
    let mut out = "#include \"kernel.h\"\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n".to_owned();
    for n in 0..PROGRAMS {
        let mut body = String::new();
        for reg in 0..6 {
            writeln!(body, "r{reg} = {} ll", number(random)).unwrap();
        }
        for slot in 1..=4 {
            writeln!(body, "*(u64 *)(r10 - {}) = r{slot}", 8 * slot).unwrap();
        }
        for at in 0..INSTRUCTIONS {
            let next = format!("l{n}_{}", at + 1 + random.below(4).min(INSTRUCTIONS - at - 1));
            writeln!(body, "l{n}_{at}: {}", instruction(random, &next)).unwrap();
        }
        writeln!(body, "l{n}_{INSTRUCTIONS}: r7 = 0").unwrap();
        // Each bit decides a branch.
        for test in 0..TESTS {
            let (reg, slot, mask) = (test % 6, 1 + test % 4, 1_u64 << random.below(64));
            writeln!(body, "r8 = {mask:#x} ll\nr7 *= 3\nif r{reg} & r8 goto t{n}_{test}\nr7 += 1\nt{n}_{test}:")
                .unwrap();
            writeln!(body, "r9 = *(u64 *)(r10 - {})\nif r9 & r8 goto s{n}_{test}\nr7 += 1\ns{n}_{test}:", 8 * slot)
                .unwrap();
        }
        // The kernel gives back the lower half.
        body.push_str("r0 = r7\nr7 >>= 32\nr0 ^= r7\nexit\n");
        let lines: String = body.lines().map(|line| format!("\t\t\"{line}\\n\"\n")).collect();
        writeln!(
            out,
            "SEC(\"xdp\") __attribute__((naked)) int p{n}(struct xdp_md *ctx)\n{{\n\tasm volatile(\n{lines}\t\t);\n}}"
        )
        .unwrap();
    }
    out
}

#[test]
fn numbers_come_out_as_the_kernel_has_them() {
    let clang = fixture::clangs().last().unwrap();
    if !may_load() || *clang != "clang-19" {
        return;
    }
    let universe = universe(&[]);
    let (mut lost, mut all) = (0, 0);
    for seed in 1..=FILES {
        let source = fixture::keep("arithmetic", "c", source(&mut Random::new(seed)).as_bytes());
        let path = Compile::new(&source).variant(Variant { clang, cpu: "v4" }).object();
        let object = Object::parse(std::fs::read(&path).unwrap()).unwrap();
        let options = LinkOptions { dispatch: Dispatch::None, prune: true, walk: false, ..LinkOptions::default() };
        let linked = object.link(&universe, &options).unwrap();
        let kept = fixture::keep("arithmetic", "o", &linked.bytes);
        let pruned = Object::parse(linked.bytes).unwrap();
        let length = |object: &Object| object.functions().iter().map(|f| f.code.len()).sum::<usize>();
        all += length(&object);
        lost += length(&object) - length(&pruned);
        let (before, after) = (Loaded::load(&path, None).unwrap(), Loaded::load(&kept, None).unwrap());
        for n in 0..PROGRAMS {
            let run = |loaded: &Loaded| loaded.run(&format!("p{n}"), &[], &[0; 64]).unwrap().returned;
            assert_eq!(run(&before), run(&after), "seed {seed}, p{n}, {}, {}", source.display(), kept.display());
        }
    }
    // That much is decided at all.
    assert!(lost * 10 > all, "{lost} of {all}");
}
