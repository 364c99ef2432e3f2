//! What goes wrong is told in one line that says what, where and what to do; nothing panics, nothing is silent.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, process};

use common::{World, bad, example, good, json, xhint};
use serde_json::Value;
use xhint_testkit::fixture::{Compile, keep};
use xhint_testkit::privileged;

/// A program that the verifier refuses.
const REFUSED: &[u8] = br#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int refused(struct xdp_md *ctx) { return *(int *)(long)ctx->data; }
"#;

#[test]
fn faults_are_told_in_one_line() {
    let (prog, beta) = (example("hints.bpf.c"), example("nics/beta.c"));
    let junk = std::env::temp_dir().join(format!("xhfault-{}.o", process::id()));
    fs::write(&junk, b"junk").unwrap();
    let junk_name = junk.display().to_string();
    let attach = |prog: &str, dev: &str, nic: &str| bad(&["attach", prog, "--dev", dev, "--nic", nic]);
    if privileged() {
        let gone = attach("/nonexistent.o", "lo", &beta);
        assert!(gone.contains("/nonexistent.o") && gone.contains("No such file"), "{gone}");
        assert!(attach(&prog, "nosuchdev0", &beta).contains("nosuchdev0: no such network device"));
        assert!(attach(&prog, "", &beta).contains("cannot be the name of a network device"));
        let says = attach(&prog, "lo", &junk_name);
        assert!(says.contains(&junk_name) && says.contains("neither BTF nor an ELF object"), "{says}");
        let says = attach(&junk_name, "lo", &beta);
        assert!(says.contains(&junk_name), "{says}");
        let refused = Compile::new(&keep("refused", "bpf.c", REFUSED)).object().display().to_string();
        let says = bad(&["attach", &refused, "--dev", "lo", "--mode", "generic", "--nic", &beta]);
        let reason = "R1 offset is outside of the packet (at instruction 1";
        assert!(says.contains("refused: the kernel refuses to load it: ") && says.contains(reason), "{says}");
        assert!(says.contains("--verbose"), "{says}");
        let says = attach(&prog, "lo", "/dev/zero");
        assert!(says.contains("/dev/zero: is no regular file and gives more than 64 MiB"), "{says}");
        let says = attach(&prog, "lo", &beta);
        assert!(says.contains("no native XDP") && says.contains("--mode generic"), "{says}");
        assert!(bad(&["status", "lo", "--netns", "no-such-namespace"]).contains("no-such-namespace"));
    }
    fs::remove_file(PathBuf::from(&junk)).unwrap();
    for usage in
        [&["attach"][..], &["attach", "x.o"], &["detach"], &["nic", "up"], &["nic", "fly"], &["attach", "--bind", "x"]]
    {
        assert_eq!(xhint(usage).status.code(), Some(2), "{usage:?}");
    }
}

/// A NIC whose struct `name` is no layout by itself; `tag` may make it one.
fn nic(name: &str, tag: &str) -> String {
    let source = format!("struct {name} {{ unsigned int rx_hash, btf_id; }} {tag};\nstruct {name} *keep;\n");
    Compile::new(&keep(name, "c", source.as_bytes())).object().display().to_string()
}

const TAGGED: &str = r#"__attribute__((btf_decl_tag("xhint:layout")))"#;

/// What it says that stops nothing.
fn warned(arguments: &[&str]) -> String {
    let output = xhint(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.starts_with("warning: "), "{arguments:?}: {said}");
    said
}

#[test]
fn a_link_for_nothing_is_not_silent() {
    let (prog, beta) = (example("hints.bpf.c"), example("nics/beta.c"));
    let out = keep("nothing", "o", b"").display().to_string();
    for verb in [&["link", "-o", &out][..], &["explain"]] {
        let says = warned(&[verb, &[&prog, "--nic", &nic("plain_rx", TAGGED)]].concat());
        assert!(says.contains("no layout answers to what the program asks for"), "{says}");
    }
    let link = ["link", &prog, "--nic", &beta, "-o", &out, "--bind"];
    let says = bad(&[&link[..], &["nic_meta=nope"]].concat());
    assert!(says.contains("no struct 'nope' in") && says.contains("layouts are beta_rx_completion"), "{says}");
    let says = warned(&[&link[..], &["nope=beta_rx_completion"]].concat());
    assert!(says.contains("asks nothing of a 'nope'"), "{says}");
    let says = bad(&["link", &prog, "--nic", &beta, "-o", "/no/such/folder/out.o"]);
    assert!(says.starts_with("error: cannot write /no/such/folder/out.o: No such file or directory"), "{says}");
}

#[test]
fn output_that_cannot_be_written_is_a_fault_and_no_panic() {
    let beta = example("nics/beta.c");
    let full_after = |arguments: &[&str], done: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
        let full = fs::File::create("/dev/full").unwrap();
        let output = command.args(arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let told = match done {
            "" => "error: cannot write to standard output: No space left",
            _ => ", but the report could not be written: No space left",
        };
        let all = said.contains(done) && said.contains(told);
        assert!(all && said.lines().count() == 1, "{arguments:?}: {said}");
    };
    let closed = |arguments: &[&str]| {
        let binary = env!("CARGO_BIN_EXE_xhint");
        let output =
            Command::new("sh").args(["-c", "exec \"$0\" \"$@\" >&-", binary]).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let told = said.starts_with("error: ") && said.contains("standard output: Bad file descriptor");
        assert!(told && said.lines().count() == 1, "{arguments:?}: {said}");
    };
    let full = |arguments: &[&str]| {
        full_after(arguments, "");
        closed(arguments);
    };
    closed(&["link", &example("hints.bpf.c"), "--nic", &beta, "-o", "-"]);
    closed(&["btf", "stitch", &beta, "-o", "-"]);
    full(&["--help"]);
    full(&["attach", "--help"]);
    full(&["--version"]);
    full(&["layout", "show", &beta]);
    full(&["btf", "dump", &beta]);
    if !privileged() {
        return;
    }
    let mut world = World::new(&["full"]);
    let (n, name, prog) = (world.netns[0].clone(), format!("wf{}", process::id()), example("hints.bpf.c"));
    world.nic(&name, &beta, &n);
    full(&["nic", "status", &name]);
    full_after(&["nic", "send", &name, "--count", "1"], "1 packets sent");
    full_after(&["attach", &prog, "--dev", &name, "--netns", &n, "--nic", &beta], "is attached");
    full(&["layouts", "list", &name, "--netns", &n]);
    let alpha = example("nics/alpha_fw1.c");
    for form in [&[][..], &["--json"]] {
        full_after(&[&["layouts", "add", &name, &alpha, "--netns", &n], form].concat(), "added nic_meta (id ");
        full_after(&[&["layouts", "remove", &name, &alpha, "--netns", &n], form].concat(), "removed nic_meta (id ");
    }
    full_after(&["detach", &name, "--netns", &n], "detached");
}

/// Where the pins are of what is attached.
fn site(device: &str, netns: &str) -> PathBuf {
    let maps = json(&["status", device, "--netns", netns, "--json"])["maps_dir"].as_str().unwrap().to_owned();
    Path::new(&maps).ancestors().nth(2).unwrap().to_owned()
}

/// What is done, and how it is told: once, in true words, and the same for people and programs.
#[test]
fn layouts_that_come_and_go_are_told_truly() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["words"]);
    let (n, name, prog) = (world.netns[0].clone(), format!("ww{}", process::id()), example("hints.bpf.c"));
    let (alpha, beta) = (example("nics/alpha_fw1.c"), example("nics/beta.c"));
    world.nic(&name, &beta, &n);
    good(&["attach", &prog, "--dev", &name, "--netns", &n, "--nic", &beta, "--dispatch", "tail"]);
    let add = |file: &str| ["layouts", "add", &name, file, "--netns", &n].map(str::to_owned);
    let verb = |arguments: &[String]| good(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let added = json(&["layouts", "add", &name, &alpha, "--netns", &n, "--json"]);
    assert_eq!(
        (added["added"][0]["name"].as_str(), added["warnings"].as_array().map(Vec::len)),
        (Some("nic_meta"), Some(0))
    );
    // The same file again, and the same in another file: there already.
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join("copy.o").display().to_string();
    fs::copy(&alpha, &copy).unwrap();
    for file in [&alpha, &copy, &copy] {
        let said = verb(&add(file));
        assert!(said.contains("there already; nothing to add") && said.lines().count() == 1, "{said}");
    }
    let said = good(&["layouts", "remove", &name, &alpha, "--netns", &n]);
    assert!(said.contains("its layouts stay, for others have them, too") && said.lines().count() == 1, "{said}");
    let says = bad(&["layouts", "remove", &name, "nic_meta_of_nobody", "--netns", &n]);
    assert!(says.contains("there is ") && says.contains("nic_meta (0x"), "{says}");
    let says = bad(&["layouts", "add", &name, &alpha, "--layout", "nobody", "--netns", &n]);
    assert!(says.contains("no layout of it is called 'nobody'; it has nic_meta (0x"), "{says}");

    // Counts begin anew where it is lost what was counted, and end where nothing is.
    let swap = |dispatch: &str| {
        good(&["attach", &prog, "--dev", &name, "--netns", &n, "--nic", &beta, "--dispatch", dispatch])
    };
    let said = swap("static");
    assert!(said.contains("swapped in") && said.contains("maps kept"), "{said}");
    fs::remove_dir_all(Path::new("/run/xhint/dev").join(site(&name, &n).file_name().unwrap())).unwrap();
    let said = swap("static");
    assert!(said.contains("map xhint_counts does not go on: it is lost which layouts"), "{said}");
    let said = swap("none");
    assert!(said.contains("map xhint_counts does not go on: the program has no such map any more"), "{said}");
    good(&["detach", &name, "--netns", &n]);
}

#[test]
fn whoever_is_waited_for_is_told() {
    if !privileged() {
        return;
    }
    let world = World::new(&["wait"]);
    let (n, prog, beta) = (world.netns[0].clone(), example("hints.bpf.c"), example("nics/beta.c"));
    let link = format!("-n {n} link add near type veth peer name far");
    assert!(Command::new("ip").args(link.split(' ')).status().unwrap().success());
    good(&["attach", &prog, "--dev", "near", "--netns", &n, "--nic", &beta]);
    // Holds the lock until its standard input is closed.
    let mut holder = Command::new("flock");
    holder.arg("-o").arg(site("near", &n)).args(["sh", "-c", "echo held; read end"]);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xhint"));
    command.args(["layouts", "add", "near", &example("nics/alpha_fw1.c"), "--netns", &n, "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let told = format!("near: waiting for another xhint (pid {}) that is at work on it", holder.id());
    assert!(line.contains(&told), "{line}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
    assert_eq!(said.lines().count(), 0, "it is told once");
    good(&["detach", "near", "--netns", &n]);
}

#[test]
fn who_may_not_look_is_told_so() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["look"]);
    let (n, name) = (world.netns[0].clone(), format!("wl{}", process::id()));
    let (prog, beta) = (example("hints.bpf.c"), example("nics/beta.c"));
    world.nic(&name, &beta, &n);
    good(&["attach", &prog, "--dev", &name, "--netns", &n, "--nic", &beta]);
    // In its namespace, with nobody's rights.
    let nobody = |arguments: &[&str]| {
        let inside = format!("--net=/run/netns/{n}");
        let drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_xhint")];
        let output = Command::new("nsenter").arg(inside).args(drop).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{arguments:?}: {said}");
        said
    };
    for verb in [&["status", &name][..], &["status"], &["detach", &name], &["layouts", "list", &name]] {
        let said = nobody(verb);
        assert!(said.contains("Permission denied") && said.contains("run as root"), "{verb:?}: {said}");
    }
    let said = nobody(&["demo"]);
    assert!(said.contains("CAP_NET_ADMIN") && said.contains("run as root"), "{said}");
    good(&["detach", &name, "--netns", &n]);
}

#[test]
fn a_layout_without_tags_is_named() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["plain"]);
    let (n, name) = (world.netns[0].clone(), format!("wp{}", process::id()));
    let (prog, beta, plain) = (example("hints.bpf.c"), example("nics/beta.c"), nic("nic_meta", ""));
    world.nic(&name, &beta, &n);
    let says = bad(&["nic", "flash", &name, "--layout", &plain]);
    assert!(says.contains(&plain) && says.contains("describes no layout"), "{says}");
    let on = ["--dev", &name, "--netns", &n];
    let ids = |v: &Value| v.as_array().unwrap().iter().map(|l| l["id"].as_u64().unwrap()).collect::<Vec<_>>();
    let other = nic("plain_rx", "");
    let done = json(&[&["attach", &prog, "--nic", &other, "--bind", "nic_meta=plain_rx", "--json"][..], &on].concat());
    assert_eq!((&done["layouts"][0]["name"], ids(&done["layouts"]).len()), (&"plain_rx".into(), 1), "{done}");
    let done = json(&[&["attach", &prog, "--nic", &plain, "--layout", "nic_meta", "--json"][..], &on].concat());
    assert_eq!((&done["layouts"][0]["name"], ids(&done["layouts"]).len()), (&"nic_meta".into(), 1), "{done}");
    // It stays one when another comes and goes.
    json(&[&["attach", &prog, "--nic", &beta, "--dispatch", "none", "--json"][..], &on].concat());
    assert!(bad(&["layouts", "add", &name, &example("nics/alpha_fw1.c"), "--netns", &n]).contains("--dispatch auto"));
    let done = json(&[&["attach", &prog, "--nic", &plain, "--layout", "nic_meta", "--json"][..], &on].concat());
    good(&["layouts", "add", &name, &beta, "--netns", &n]);
    let says = bad(&["layouts", "remove", &name, "nope", "--netns", &n]);
    assert!(says.contains("nic_meta (0x") && says.contains("beta_rx_completion (0x"), "{says}");
    good(&["layouts", "remove", &name, "beta_rx_completion", "--netns", &n]);
    assert_eq!(ids(&json(&["layouts", "list", &name, "--netns", &n, "--json"])), ids(&done["layouts"]));
    good(&["detach", &name, "--netns", &n]);
    let says = bad(&["layouts", "add", &name, &beta, "--netns", &n]);
    assert!(says.contains("nothing attached"), "{says}");
    let cookie = xhint::runtime::Netns::named(&n).unwrap().cookie();
    let left = |dir: fs::DirEntry| dir.file_name().to_string_lossy().starts_with(&format!("{cookie}-"));
    assert!(!fs::read_dir("/sys/fs/bpf/xhint/dev").into_iter().flatten().flatten().any(left), "nothing is left");
}

/// Two programs; the second reads without asking what firmware 1 lacks.
const TWO: &[u8] = br#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <xhint.h>
struct nic_meta { __u32 seq; __u32 btf_id; } __attribute__((preserve_access_index));
static __always_inline int mine(struct xdp_md *ctx, struct nic_meta *m)
{
	return xhint_fits(ctx, m) && xhint_is(m, struct nic_meta);
}
SEC("xdp") int first(struct xdp_md *ctx)
{
	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
	return mine(ctx, m) && bpf_core_field_exists(m->seq) && m->seq == 7 ? XDP_DROP : XDP_PASS;
}
SEC("xdp") int second(struct xdp_md *ctx)
{
	struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
	return mine(ctx, m) && m->seq == 7 ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"#;

#[test]
fn what_another_program_lacks_is_not_told() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["two"]);
    let (n, name) = (world.netns[0].clone(), format!("wt{}", process::id()));
    let prog = Compile::new(&keep("two", "bpf.c", TWO)).object().display().to_string();
    let (fw1, fw2) = (example("nics/alpha_fw1.c"), example("nics/alpha_fw2.c"));
    world.nic(&name, &fw1, &n);
    let on = ["attach", &prog, "--dev", &name, "--netns", &n, "--nic", &fw2, "--json", "--program"];
    let add = ["layouts", "add", &name, &fw1, "--netns", &n, "--json"];
    for dispatch in ["static", "tail"] {
        let output = xhint(&[&on[..], &["first", "--nic", &fw1, "--dispatch", dispatch]].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let done: Value = serde_json::from_slice(&output.stdout).unwrap();
        let fallback = |v: &Value| v.as_array().unwrap().iter().map(|l| l["fallback"] == true).collect::<Vec<_>>();
        assert_eq!(fallback(&done["layouts"]), [false, false], "{done}");
        good(&[&on[..], &["first", "--dispatch", dispatch]].concat());
        assert_eq!(fallback(&json(&add)["added"]), [false]);
        good(&[&on[..], &["second", "--dispatch", dispatch]].concat());
        let says = bad(&add);
        assert!(says.contains("has no 'seq'"), "{dispatch}: {says}");
    }
    good(&["detach", &name, "--netns", &n]);
}

/// Reads metadata of whatever kind, as if there always were some.
const BLIND: &[u8] = br#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct nic_meta { __u32 rx_hash; } __attribute__((preserve_access_index));
SEC("xdp") int blind(struct xdp_md *ctx)
{
	struct nic_meta *m = (void *)(long)ctx->data_meta;
	if ((void *)m + 32 > (void *)(long)ctx->data)
		return XDP_ABORTED;
	return m->rx_hash == 7 ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"#;

#[test]
fn a_program_that_cannot_do_without_metadata_takes_a_fixed_action() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["blind"]);
    let (n, name) = (world.netns[0].clone(), format!("wd{}", process::id()));
    let prog = Compile::new(&keep("blind", "bpf.c", BLIND)).object().display().to_string();
    let (fw1, fw2) = (example("nics/alpha_fw1.c"), example("nics/alpha_fw2.c"));
    world.nic(&name, &fw1, &n);
    let attach = ["attach", &prog, "--dev", &name, "--netns", &n, "--nic", &fw1, "--nic", &fw2];
    let says = bad(&attach);
    assert!(says.contains("nic_meta.rx_hash") && says.contains("--fallback"), "{says}");
    for dispatch in ["static", "tail"] {
        good(&[&attach[..], &["--fallback", "pass", "--dispatch", dispatch]].concat());
        good(&["layouts", "remove", &name, &fw2, "--netns", &n]);
        good(&["layouts", "add", &name, &fw2, "--netns", &n]);
        good(&["nic", "send", &name, "--count", "10"]);
    }
    let status = json(&["status", &name, "--netns", &n, "--json"]);
    assert_eq!((&status["options"]["fallback"], &status["counters"]["unknown"]["packets"]), (&2.into(), &0.into()));
    good(&["detach", &name, "--netns", &n]);
}

#[test]
fn a_broken_nic_does_not_hide_the_others() {
    if !privileged() {
        return;
    }
    let mut world = World::new(&["broken"]);
    let (n, beta) = (world.netns[0].clone(), example("nics/beta.c"));
    let [one, two] = ["wb", "wc"].map(|w| format!("{w}{}", process::id()));
    world.nic(&one, &beta, &n);
    world.nic(&two, &beta, &n);
    assert!(Command::new("ip").args(["netns", "del", &format!("xhint-{one}")]).status().unwrap().success());
    let whole = json(&["nic", "status", &two, "--json"]);
    assert_eq!((&whole["name"], &whole["dropped"]["ring"]), (&two.as_str().into(), &0.into()));
    let output = xhint(&["nic", "status"]);
    let (said, shown) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    assert!(output.status.success() && shown.contains(&two), "{said}{shown}");
    assert!(said.contains(&format!("soft NIC {one} is broken")), "{said}");
    assert!(bad(&["nic", "status", &one]).contains("is broken"));
    for usage in [["--rate", "0"], ["--flows", "0"], ["--flows", "99999999"]] {
        let arguments = [&["nic", "send", &two, "--count", "2"][..], &usage].concat();
        assert_eq!(xhint(&arguments).status.code(), Some(2), "{usage:?}");
    }
    let says = bad(&["nic", "up", "wb", "--netns", "no-such-namespace", "--layout", &beta]);
    assert_eq!(says.matches("No such file").count(), 1, "{says}");
}
