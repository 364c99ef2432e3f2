//! Parsing the kernel's BTF, and linking objects, beside libbpf. `cargo bench -p xhint-bench --bench core`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use xhint_bench::clock::{medians, ms};
use xhint_bench::workload::{self, SIZES};
use xhint_bench::{KERNEL_BTF, memory, read};
use xhint_btf::Btf;
use xhint_testkit::oracle::{self, quiet};

const ROUNDS: usize = 51;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        [] => all(),
        ["--child", "parse", "ours"] => std::mem::forget(Btf::parse(read(Path::new(KERNEL_BTF))).unwrap()),
        ["--child", "parse", "libbpf"] => std::mem::forget(quiet::parse(Path::new(KERNEL_BTF))),
        _ => panic!("unknown arguments {arguments:?}"),
    }
    if !arguments.is_empty() {
        memory::report();
    }
}

fn all() {
    let kernel = Path::new(KERNEL_BTF);
    let btf = Btf::parse(read(kernel)).expect("the kernel's BTF");
    println!("libbpf {}; {} types in {KERNEL_BTF}", oracle::version(), btf.end_id());
    println!("{:<34} {:>9} {:>9} {:>7}", "milliseconds", "xhint", "libbpf", "ratio");
    let [ours, theirs] = medians(
        ROUNDS,
        [&mut || Box::new(Btf::parse(read(kernel)).expect("the kernel's BTF")), &mut || quiet::parse(kernel)],
    );
    row("parse the kernel's BTF", ours, theirs);
    for size in SIZES {
        let path = workload::object(&btf, size);
        println!("{} {}", path.display(), std::fs::read(&path).unwrap().len());
    }
    let [ours, theirs] = ["ours", "libbpf"].map(|who| memory::of_child(&["--child", "parse", who]));
    println!("{:<34} {ours:>9} {theirs:>9} {:>6.2}x", "peak KiB, parse", theirs as f64 / ours as f64);
}

fn row(what: &str, ours: Duration, theirs: Duration) {
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("{what:<34} {:>9} {:>9} {ratio:>6.2}x", ms(ours), ms(theirs));
}
