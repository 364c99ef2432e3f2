//! Compiles the example program and the example NICs, which `xhint demo` carries with it. Needs clang with its BPF
//! target; `CLANG` names another compiler. The headers are those of the libbpf that xhint is built with.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

const PROGRAM: &str = "hints.bpf.c";
const NICS: [&str; 3] = ["nics/alpha_fw1.c", "nics/alpha_fw2.c", "nics/beta.c"];

fn main() {
    let own = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    // Of the workspace's top, by symbolic links, which a package has as files.
    let (examples, include) = (own.join("examples"), own.join("include"));
    println!("cargo:rerun-if-env-changed=CLANG");
    for dir in [&examples, &include] {
        println!("cargo:rerun-if-changed={}", dir.display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let object = |source: &Path| PathBuf::from(source.file_name().unwrap_or_default()).with_extension("o");
    let program = examples.join(PROGRAM);
    compile(&program, &own, &out.join(object(&program)), None);
    // Once as they are, and once with metadata that Linux 6.1 lets through.
    for (dir, room) in [("nics", None), ("nics-short", Some("-DMETA_ROOM=32"))] {
        let dir = out.join(dir);
        if let Err(error) = fs::create_dir_all(&dir) {
            eprintln!("{}: {error}", dir.display());
            exit(1);
        }
        for nic in NICS {
            let nic = examples.join(nic);
            compile(&nic, &own, &dir.join(object(&nic)), room);
        }
    }
}

fn compile(source: &Path, top: &Path, object: &Path, define: Option<&str>) {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    // libbpf-sys tells where it put its headers.
    let libbpf = env::var("DEP_BPF_INCLUDE").unwrap_or_default();
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let mut command = Command::new(&clang);
    command
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"])
        // So that the paths in line info are the same wherever it is built.
        .arg(format!("-ffile-prefix-map={}/=", top.display()))
        .arg("-fdebug-compilation-dir=.")
        .arg("-I")
        .arg(top.join("include"))
        .arg(format!("-I{libbpf}"))
        // The kernel's asm/ headers, where Debian keeps those of the machine it builds on.
        .arg(format!("-I/usr/include/{arch}-linux-gnu"))
        .args(define)
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object);
    let failed = match command.status() {
        Ok(status) if status.success() && fs::metadata(object).is_ok() => return,
        Ok(status) => format!("{status}"),
        Err(error) => format!("{error}; install clang, or name one by CLANG"),
    };
    eprintln!("{clang} could not compile {}: {failed}", source.display());
    exit(1);
}
