//! Compiles the filler, once for each set of what it may need, and makes the constants of its hash. Needs clang with its BPF
//! target and libbpf's headers (Debian: clang, libbpf-dev); `CLANG` names another compiler.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

const SOURCE: &str = "bpf/fill.bpf.c";
/// The parts that it may have: the object with the parts of a sum of these numbers has that number in its name.
const PARTS: [(u32, &str); 3] = [(1, "-DKFUNCS"), (2, "-DHASH"), (4, "-DDRIVER")];
/// The key of Microsoft's RSS documents ("Verifying the RSS hash calculation").
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];

/// Two IPv6 addresses and two ports.
const INPUT_BITS: usize = 288;

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    if let Err(error) = fs::write(out.join("toeplitz.inc"), table()) {
        fail(&format!("{}: {error}", out.display()));
    }
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_string());
    for form in 0..1 << PARTS.len() {
        let parts: Vec<_> = PARTS.iter().filter(|(bit, _)| form & bit != 0).map(|(_, part)| *part).collect();
        compile(&clang, &parts, &out, &out.join(format!("fill_{form}.bpf.o")));
    }
}

fn compile(clang: &str, parts: &[&str], include: &Path, to: &Path) {
    let status = Command::new(clang)
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"])
        .args(parts)
        .arg(format!("-I{}", include.display()))
        // The kernel's asm/ headers, where Debian keeps those of the machine it builds on.
        .args(multiarch().iter().map(|dir| format!("-I{dir}")))
        .args(["-c", SOURCE, "-o"])
        .arg(to)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("{clang} could not compile {SOURCE}: {status}; are libbpf's headers installed?")),
        Err(error) => fail(&format!("{clang} could not be run: {error}; install clang, or name it by CLANG")),
    }
}

/// For each word of the input, the 63 bits of the key that begin at its place, the first in the lowest bit.
fn table() -> String {
    let key = |bit: usize| KEY.get(bit / 8).is_some_and(|byte| byte.wrapping_shl(bit as u32 % 8) & 0x80 != 0);
    let backwards = |from: usize| (from..).take(63).zip(0..).fold(0u64, |all, (bit, n)| all | u64::from(key(bit)) << n);
    let mut out = String::new();
    for place in (0..INPUT_BITS).step_by(32) {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{:#018x}ull,", backwards(place));
    }
    out
}

fn multiarch() -> Option<String> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").ok()?;
    let dir = format!("/usr/include/{arch}-linux-gnu");
    PathBuf::from(&dir).is_dir().then_some(dir)
}

fn fail(what: &str) -> ! {
    eprintln!("{what}");
    process::exit(1);
}
