//! NIC BTFs and what they are split on, from files: the command line and the library make one universe of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use common::{World, bad, good, json, xhint};
use xhint::Linker;
use xhint_testkit::{fixture, privileged};

/// Asks for no type of the kernel's, unless `asking`.
fn program(asking: bool) -> fixture::Compile {
    let body = if asking { "bpf_core_type_exists(struct task_struct)" } else { "XDP_PASS" };
    let source = format!(
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_core_read.h>\n#include <xhint.h>\n
         struct nic_meta {{ __u32 rx_hash; }} __attribute__((preserve_access_index));
         struct task_struct {{ int pid; }} __attribute__((preserve_access_index));
         SEC(\"xdp\") int prog(struct xdp_md *ctx) {{
             struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
             if (!xhint_fits(ctx, m)) return {body};
             return bpf_core_field_exists(m->rx_hash) ? m->rx_hash : XDP_PASS;
         }}"
    );
    let name = if asking { "asks_kernel" } else { "asks_nic" };
    fixture::Compile::new(&fixture::keep(name, "bpf.c", source.as_bytes()))
}

fn nic(name: &str) -> PathBuf {
    fixture::example(&format!("nics/{name}.c")).object()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A new directory; gone when dropped.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// What `xhint link` writes.
fn linked(program: &str, nics: &[&str], more: &[&str]) -> Vec<u8> {
    let dir = directory();
    let out = text(&dir.path().join("out.o"));
    let nics = nics.iter().flat_map(|nic| ["--nic", nic]).collect::<Vec<_>>();
    good(&[&["link", program, "-o", &out][..], &nics, more].concat());
    fs::read(out).unwrap()
}

#[test]
fn a_directory_is_the_files_in_it_that_describe_layouts() {
    let (base, dir) = (fixture::corpus_path("vmlinux.btf"), directory());
    let files = ["alpha_fw1", "beta"].map(|name| {
        let path = dir.path().join(format!("{name}.o"));
        fs::copy(nic(name), &path).unwrap();
        text(&path)
    });
    for (name, bytes) in [("README", &b"text"[..]), ("broken.btf", b"\x9f\xeb"), ("empty", b"")] {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    fs::write(dir.path().join("module.btf"), fixture::corpus("veth.btf")).unwrap();
    fs::create_dir(dir.path().join("inner")).unwrap();
    let (whole, program) = (text(dir.path()), text(&fixture::example("hints.bpf.c").object()));
    let on_base = ["--base", base.to_str().unwrap()];
    let [one, other] = files.each_ref().map(String::as_str);
    let want = linked(&program, &[one, other], &on_base);
    assert!(want == linked(&program, &[&whole], &on_base), "the command line");
    assert!(want == linked(&program, &[one, &whole, other], &on_base), "what is given again is there already");

    let linker = Linker::with_base(std::slice::from_ref(&base)).unwrap();
    let link = linker.program(&program).unwrap().nic(dir.path()).unwrap();
    assert!(want == link.link().unwrap().bytes, "the library");

    let explain = |nics: &[&str]| json(&[&["explain", &program, "--json"][..], &on_base, nics].concat());
    assert_eq!(explain(&["--nic", &whole]), explain(&["--nic", one, "--nic", other]));
    let names = |shown: serde_json::Value| -> Vec<String> {
        shown.as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap().to_owned()).collect()
    };
    let shown = names(json(&["layout", "show", "--json", &whole]));
    let of_library: Vec<String> = linker.layouts(dir.path()).unwrap().into_iter().map(|l| l.name).collect();
    assert_eq!(shown, of_library);
    assert_eq!(shown.len(), 2);

    // A file in it is an input, too.
    let refused = bad(&[&["link", &program, "--nic", &whole, "-o", one][..], &on_base].concat());
    assert!(refused.contains(one) && refused.contains("is an input too"), "{refused}");
}

/// Where the kernel has no BTF, this process and the command line do what asks for none of its types.
#[test]
fn without_the_kernels_btf() {
    const HIDDEN: &str = "XHINT_TEST_HIDDEN";
    if !privileged() {
        return;
    }
    if env::var_os(HIDDEN).is_none() {
        let script = "mkdir -p \"$0\" && mount --bind \"$0\" /sys/kernel/btf && exec \"$@\"";
        let mut hidden = Command::new("unshare");
        hidden.args(["--mount", "--propagation", "slave", "bash", "-c", script]);
        hidden.arg(env::temp_dir().join(format!("xhnone-{}", process::id())));
        hidden.arg(env::current_exe().unwrap()).args(["--exact", "without_the_kernels_btf", "--nocapture"]);
        assert!(hidden.env(HIDDEN, "1").status().unwrap().success());
        return;
    }
    assert!(!Path::new("/sys/kernel/btf/vmlinux").exists());
    let (plain, asking) = (text(&program(false).object()), text(&program(true).object()));
    let nic = text(&nic("alpha_fw1"));
    let split = text(&fixture::corpus_path("veth.btf"));
    let linker = Linker::new().unwrap();
    let library = |program: &str, nic: &str| linker.program(program).unwrap().nic(nic)?.link();
    let wrong = |error: xhint::Error, said: &str, words: &[&str]| {
        let error = error.to_string();
        for word in words.iter().chain(&["/sys/kernel/btf/vmlinux: No such file"]) {
            assert!(error.contains(word) && said.contains(word), "{word}: {error}; {said}");
        }
        assert!(said.contains("give one with --base") && !error.contains("--"), "{said}");
    };

    assert!(linked(&plain, &[&nic], &[]) == library(&plain, &nic).unwrap().bytes);
    good(&["explain", &plain, "--nic", &nic]);
    let out = text(&fixture::keep("hidden", "o", b""));
    let said = bad(&["link", &asking, "--nic", &nic, "-o", &out]);
    wrong(library(&asking, &nic).unwrap_err(), &said, &["task_struct"]);
    let said = bad(&["explain", &asking, "--nic", &nic]);
    wrong(library(&asking, &nic).unwrap_err(), &said, &["task_struct"]);

    assert!(xhint(&["layout", "show", &nic]).stderr.is_empty());
    good(&["layout", "show", &nic]);
    assert_eq!(linker.layouts(&nic).unwrap().len(), 1);
    let said = bad(&["layout", "show", &split]);
    wrong(linker.layouts(&split).unwrap_err(), &said, &[&split, "split on a base"]);

    // On a device, too.
    let world = World::new(&["hidden"]);
    let netns = world.netns[0].as_str();
    let pair = ["-n", netns, "link", "add", "near", "type", "veth", "peer", "name", "far"];
    assert!(Command::new("ip").args(pair).status().unwrap().success());
    let on = ["--netns", netns];
    good(&[&["attach", &plain, "--dev", "near", "--nic", &nic][..], &on].concat());
    let beta = text(&self::nic("beta"));
    good(&[&["layouts", "add", "near", &beta][..], &on].concat());
    good(&[&["layouts", "remove", "near", &nic][..], &on].concat());
    good(&[&["detach", "near"][..], &on].concat());
    let link = linker.program(&plain).unwrap().nic(&nic).unwrap();
    link.attach_in(Some(netns), "near").unwrap().detach().unwrap();
    let said = bad(&[&["attach", &asking, "--dev", "near", "--nic", &nic][..], &on].concat());
    let link = linker.program(&asking).unwrap().nic(&nic).unwrap();
    wrong(link.attach_in(Some(netns), "near").unwrap_err(), &said, &["task_struct"]);
}

/// NIC BTFs of the other byte order than this machine's need no kernel's BTF as long as they stand alone.
#[test]
fn of_the_other_byte_order() {
    let ours = text(&program(false).object());
    let program = text(&program(false).big_endian().object());
    let nic = text(&fixture::example("nics/alpha_fw1.c").big_endian().object());
    let linker = Linker::new().unwrap();
    let link = linker.program(&program).unwrap().nic(&nic).unwrap().link().unwrap();
    assert!(linked(&program, &[&nic], &[]) == link.bytes);
    let shown = json(&["layout", "show", "--json", &nic]);
    let of_library = linker.layouts(&nic).unwrap();
    assert_eq!(shown[0]["size"], of_library[0].size);
    assert_eq!(shown[0]["fields"].as_array().unwrap().len(), of_library[0].fields.len());
    // A program of this machine's order is told which file is not.
    let says = linker.program(&ours).unwrap().nic(&nic).unwrap().link().unwrap_err().to_string();
    assert!(says.contains(&nic) && says.contains("byte order"), "{says}");
    // A base that was named is not left out.
    let base = fixture::corpus_path("vmlinux.btf");
    let named = Linker::with_base(std::slice::from_ref(&base)).unwrap().layouts(&nic).unwrap_err().to_string();
    let said = xhint(&["layout", "show", &nic, "--base", base.to_str().unwrap()]).stderr;
    assert!(String::from_utf8(said).unwrap().contains(&named) && named.contains("big-endian"), "{named}");
}
