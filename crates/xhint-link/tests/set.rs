//! Constants are set as their types say: the kernel runs a program that shows what it sees of them.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use std::error::Error as _;

use own::{nic_of, universe};
use xhint_link::{Link, LinkOptions, Object};
use xhint_testkit::fixture::{self, Compile};
use xhint_testkit::may_load;
use xhint_testkit::run::Loaded;

const C: &str = "#include \"kernel.h\"
char LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";
enum mode { OFF, SLOW = 7, FAST };
enum depth { SHALLOW = -5, DEEP = 9 };
enum wide { NARROW, WIDE = 0x123456789abcULL };
struct pair { __u32 a, b; };
const volatile __u8 u8 = 1;
const volatile __s8 s8;
const volatile __u16 u16;
const volatile short s16;
const volatile __u32 u32;
const volatile int s32;
const volatile __u64 u64 = 5;
const volatile long s64;
const volatile _Bool on;
const volatile enum mode mode;
const volatile enum depth depth;
const volatile enum wide wide;
const volatile char name[8] = \"eth0\";
const volatile __u32 apart SEC(\".rodata.apart\") = 3;
const volatile struct pair pair;
const volatile __u32 *volatile const pointer;
const volatile __u16 ports[4];
const __u32 folded = 4;
volatile __u32 variable = 4;
__s64 out[15];
SEC(\"xdp\") int prog(struct xdp_md *ctx)
{
    __s64 seen[] = { u8, s8, u16, s16, u32, s32, u64, s64, on, mode, depth, wide, apart, name[0] + name[6], name[7] };
#pragma unroll
    for (int i = 0; i < 15; i++)
        out[i] = seen[i];
    variable += pair.a + ports[1] + !pointer + *(const volatile __u32 *)&folded;
    return XDP_PASS;
}";

fn compiled() -> Object {
    let source = fixture::keep("set", "c", C.as_bytes());
    Object::parse(std::fs::read(Compile::new(&source).object()).unwrap()).unwrap()
}

/// What the program sees, linked with these values.
fn seen(values: &[(&str, &str)]) -> Vec<i64> {
    let mut object = compiled();
    values.iter().for_each(|(name, value)| object.set(name, value).unwrap());
    let nic = nic_of("struct rx { __u32 hash; __u32 btf_id; } LAYOUT(5); struct rx *r;");
    let linked = object.link(&universe(&[("nic.c", nic)]), &LinkOptions::default()).unwrap();
    let path = fixture::keep("set", "linked.o", &linked.bytes);
    let loaded = Loaded::load(&path, None).unwrap();
    loaded.run("prog", &[], &[0; 64]).unwrap();
    loaded.global(".bss").chunks_exact(8).take(15).map(|b| i64::from_ne_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn a_program_sees_what_was_set() {
    if !may_load() {
        return;
    }
    assert_eq!(seen(&[]), [1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 3, 101, 0]);
    let most = [
        ("u8", "255"),
        ("s8", "-128"),
        ("u16", "0xffff"),
        ("s16", "-0x8000"),
        ("u32", "4294967295"),
        ("s32", "-2147483648"),
        ("u64", "0x7fffffffffffffff"),
        ("s64", "-9223372036854775808"),
        ("on", "true"),
        ("mode", "FAST"),
        ("depth", "SHALLOW"),
        ("wide", "WIDE"),
        ("apart", "17"),
        ("name", "abcdefg"),
    ];
    let values = [
        255,
        -128,
        0xffff,
        -0x8000,
        0xffff_ffff,
        -0x8000_0000,
        i64::MAX,
        i64::MIN,
        1,
        8,
        -5,
        0x1234_5678_9abc,
        17,
        i64::from(b'a') + i64::from(b'g'),
        0,
    ];
    assert_eq!(seen(&most), values);
    // What is shorter leaves nothing of what was there, and the last word counts.
    let again = [("name", ""), ("mode", "7"), ("on", "1"), ("on", "0"), ("depth", "-1"), ("u8", "2")];
    assert_eq!(seen(&again), [2, 0, 0, 0, 0, 0, 5, 0, 0, 7, -1, 0, 3, 0, 0]);
}

#[test]
fn what_does_not_fit_is_an_error_and_changes_nothing() {
    let mut object = compiled();
    let mut why = |name: &str, value: &str| {
        let error = object.set(name, value).unwrap_err();
        assert_eq!(error.to_string(), format!("variable '{name}'"));
        error.source().unwrap().to_string()
    };
    for (name, value, says) in [
        ("u8", "256", "__u8 takes 0 to 255"),
        ("u8", "-1", "__u8 takes 0 to 255"),
        ("u8", "", "'' does not fit"),
        ("u8", "1 ", "'1 ' does not fit"),
        ("u8", "+1", "'+1' does not fit"),
        ("u8", "-+1", "'-+1' does not fit"),
        ("s8", "128", "__s8 takes -128 to 127"),
        ("s8", "-129", "__s8 takes -128 to 127"),
        ("u16", "0x10000", "__u16 takes 0 to 65535"),
        ("s32", "0xffffffff", "int takes -2147483648 to 2147483647"),
        ("u64", "18446744073709551616", "__u64 takes 0 to 18446744073709551615"),
        ("s64", "9223372036854775808", "long takes -9223372036854775808 to 9223372036854775807"),
        ("u64", "340282366920938463463374607431768211456", "__u64 takes"),
        ("on", "yes", "takes true or false"),
        ("mode", "FASTER", "it takes OFF, SLOW, FAST"),
        ("depth", "4294967291", "it takes SHALLOW, DEEP"),
        ("name", "abcdefgh", "char[8] takes 7 bytes"),
        ("pair", "1", "struct pair; integers"),
        ("pointer", "1", "integers, bool, enums and arrays of char"),
        ("ports", "1", "array of something else than char"),
        ("folded", "1", "declare it const volatile"),
        ("variable", "1", ".data"),
        ("out", "1", ".bss"),
        (
            "limit",
            "1",
            "there is none; the program has apart, depth, mode, name, on, s16, s32, s64, s8, u16, u32, u64, u8, wide",
        ),
    ] {
        let said = why(name, value);
        assert!(said.contains(says), "{name}={value}: {said}");
    }
    if may_load() {
        assert_eq!(seen(&[])[0], 1);
    }
}

#[test]
fn a_program_without_constants_says_so() {
    let source =
        fixture::keep("unset", "c", b"#include \"kernel.h\"\nSEC(\"xdp\") int prog(struct xdp_md *ctx) { return 2; }");
    let mut object = Object::parse(std::fs::read(Compile::new(&source).object()).unwrap()).unwrap();
    let error = object.set("limit", "1").unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "there is none; the program has no const volatile variable");
}
