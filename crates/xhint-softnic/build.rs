//! Compiles the wire program. Needs clang with its BPF target and libbpf's headers (Debian: clang,
//! libbpf-dev); `CLANG` names another compiler.

use std::path::PathBuf;
use std::process::Command;
use std::{env, process};

const SOURCE: &str = "bpf/wire.bpf.c";

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_string());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("wire.bpf.o");
    let status = Command::new(&clang)
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"])
        // The kernel's asm/ headers, where Debian keeps those of the machine it builds on.
        .args(multiarch().iter().map(|dir| format!("-I{dir}")))
        .args(["-c", SOURCE, "-o"])
        .arg(&out)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("{clang} could not compile {SOURCE}: {status}; are libbpf's headers installed?")),
        Err(error) => fail(&format!("{clang} could not be run: {error}; install clang, or name it by CLANG")),
    }
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
