//! Time grows with the input and not with its square: four times as many layouts, tags or fields take about four times
//! as long, and never sixteen.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::process::Command;

use common::{bad, example};
use xhint_testkit::fixture::keep;
use xhint_testkit::hostile::Forge;

const STRUCT: u32 = 4;
const TAG: u32 = 17;

/// `count` layouts, each with a name, an id and `aliases` names that it is declared `as`.
fn layouts(count: u32, aliases: u32) -> String {
    let mut forge = Forge::new();
    let name = forge.string("unsigned int");
    let int = forge.ty(name, 1, 0, 4, &[32]);
    let [hash, id, layout, meta] =
        ["rx_hash", "btf_id", "xhint:layout", "xhint:as=nic_meta"].map(|text| forge.string(text));
    for n in 0..count {
        let name = forge.string(&format!("l{n}"));
        let ty = forge.ty(name, STRUCT, 2, 8, &[hash, int, 0, id, int, 32]);
        let number = forge.string(&format!("xhint:id={}", n + 1));
        for tag in [layout, meta, number] {
            forge.ty(tag, TAG, 0, ty, &[u32::MAX]);
        }
        for n in 0..aliases {
            let alias = forge.string(&format!("xhint:as=alias{n}"));
            forge.ty(alias, TAG, 0, ty, &[u32::MAX]);
        }
    }
    keep(&format!("growth-{count}-{aliases}"), "btf", &forge.bytes()).display().to_string()
}

/// Seconds of processor time, the least of three runs.
fn cost(arguments: &[&str]) -> f64 {
    let once = || {
        let script = "TIMEFORMAT='%U %S'; time \"$@\" >/dev/null 2>&1";
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash", env!("CARGO_BIN_EXE_xhint")]).args(arguments).env("LC_ALL", "C");
        let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
        said.split_whitespace().map(|n| n.parse::<f64>().unwrap()).sum::<f64>()
    };
    (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// Whether a run on the larger input takes less than eight times what one on the smaller, a quarter, does, beyond what a
/// run on next to nothing takes.
fn grows_evenly(what: &str, run: impl Fn(&str) -> Vec<String>, sizes: [String; 3]) {
    let [least, small, large] = sizes.map(|file| {
        let arguments = run(&file);
        cost(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    });
    // Below ten milliseconds the clock says little.
    let small = (small - least).max(0.01);
    let ratio = (large - least) / small;
    assert!(ratio < 8.0, "{what}: {least:.3} s, {small:.3} s and {large:.3} s: {ratio:.1} times as long");
}

fn of(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
fn with_the_number_of_layouts() {
    let sizes = || [layouts(1, 0), layouts(5_000, 0), layouts(20_000, 0)];
    grows_evenly("layout show", |file| of(&["layout", "show", file]), sizes());
    grows_evenly("layout show --json", |file| of(&["layout", "show", file, "--json"]), sizes());
    let (program, out) = (example("hints.bpf.c"), keep("growth-out", "o", b"").display().to_string());
    let one = |file: &str| of(&["link", &program, "--nic", file, "--layout", "l0", "-o", &out]);
    grows_evenly("link for one", one, sizes());
    grows_evenly("link for all", |file| of(&["link", &program, "--nic", file, "-o", &out]), sizes());
}

#[test]
fn with_the_number_of_tags() {
    let sizes = [layouts(1, 0), layouts(1, 30_000), layouts(1, 120_000)];
    grows_evenly("tags", |file| of(&["layout", "show", file]), sizes);
}

#[test]
fn more_layouts_than_one_object_can_hold_are_refused_in_words() {
    let (program, out) = (example("hints.bpf.c"), keep("growth-out", "o", b"").display().to_string());
    let says = bad(&["link", &program, "--nic", &layouts(5_000, 0), "--dispatch", "tail", "-o", &out]);
    assert!(says.len() < 1_000, "{says}");
}
