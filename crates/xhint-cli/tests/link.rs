//! `xhint link`, `xhint explain` and `xhint layout show`, as a user calls them.

#![allow(missing_docs, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::Value;
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture, flat};

fn xhint(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xhint")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Paths of the example program, the example NICs' BTF, and the committed kernel BTF.
struct Files {
    program: String,
    nics: [String; 2],
    base: String,
}

fn files() -> Files {
    let nic = |name: &str| fixture::keep(name, "btf", &fixture::nic(&format!("{name}.c"))).display().to_string();
    Files {
        program: fixture::program("fields.bpf.c").object().display().to_string(),
        nics: [nic("plain"), nic("mlx_rx")],
        base: fixture::corpus_path("vmlinux.btf").display().to_string(),
    }
}

/// Arguments: the verb, the program, one NIC, the base, its layout.
fn args<'f>(verb: &'f str, files: &'f Files, nic: usize) -> Vec<&'f str> {
    vec![verb, &files.program, "--nic", &files.nics[nic], "--base", &files.base, "--layout", "nic_meta"]
}

fn output_file(name: &str) -> String {
    let dir = fixture::cache().join(format!("cli-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir.join("out.o").display().to_string()
}

#[test]
fn a_linked_object_is_written_and_loads() {
    let (files, out) = (files(), output_file("loads"));
    let mut all = args("link", &files, 0);
    all.extend(["-o", &out]);
    let done = xhint(&all);
    assert_eq!((done.status.code(), text(&done.stderr).as_str()), (Some(0), ""), "{}", text(&done.stdout));
    if xhint_testkit::privileged() {
        Loaded::load(out.as_ref(), None).unwrap();
    }
}

#[test]
fn the_linked_object_goes_to_standard_output() {
    let (files, out) = (files(), output_file("stdout"));
    let mut all = args("link", &files, 0);
    all.extend(["-o", &out]);
    assert_eq!(xhint(&all).status.code(), Some(0));
    all.pop();
    all.push("-");
    let done = xhint(&all);
    assert_eq!((done.status.code(), text(&done.stderr).as_str()), (Some(0), ""));
    assert_eq!(done.stdout, fs::read(&out).unwrap());
    all.push("--json");
    let both = xhint(&all);
    assert_eq!((both.status.code(), both.stdout.len()), (Some(1), 0));
    assert!(text(&both.stderr).contains("--json"), "{}", text(&both.stderr));
}

/// What a program reads of a module's types is the same whether the module is a link of the base or beside it.
#[test]
fn a_module_may_be_a_link_of_the_base() {
    let (files, program) = (files(), fixture::program("drivers.bpf.c").object().display().to_string());
    let [ice, igc, mlx5] = ["ice", "igc", "mlx5_core"].map(|m| fixture::corpus_path(&format!("{m}.btf")));
    let [ice, igc, mlx5] = [ice, igc, mlx5].map(|m| m.display().to_string());
    let common = ["explain", "--json", &program, "--nic", &files.nics[0], "--nic", &igc, "--nic", &mlx5];
    let answers = |more: &[&str]| -> Vec<Value> {
        let done = xhint(&[&common, more].concat());
        let report: Value =
            serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&done.stderr)));
        let relocations = report["relocations"].as_array().unwrap();
        relocations.iter().flat_map(|r| r["results"].as_array().unwrap()).map(|r| r["value"].clone()).collect()
    };
    let beside = answers(&["--base", &files.base, "--nic", &ice]);
    let link = answers(&["--base", &files.base, "--base", &ice]);
    assert_eq!(beside, link);
    assert!(link.iter().filter(|v| v.is_number()).count() > 10, "{link:?}");
}

/// Offsets come from the BTF and not from this machine; an object of the other byte order is refused in one line.
#[test]
fn a_big_endian_kernel_and_nic_give_the_same_places() {
    let little = files();
    let base = fixture::keep("big", "btf", &flat::big_endian(&fixture::corpus("vmlinux.btf"))).display().to_string();
    let nic = fixture::keep("big-nic", "btf", &flat::big_endian(&fixture::nic("plain.c"))).display().to_string();
    let program = fixture::program("fields.bpf.c").big_endian().object().display().to_string();
    let answers = |program: &str, nic: &str, base: &str| -> Vec<(Value, Value)> {
        let done = xhint(&["explain", "--json", program, "--nic", nic, "--base", base, "--layout", "nic_meta"]);
        let report: Value =
            serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&done.stderr)));
        let answer = |r: &Value| (r["access"].clone(), r["results"][0]["value"].clone());
        report["relocations"].as_array().unwrap().iter().map(answer).collect()
    };
    let (big, small) = (answers(&program, &nic, &base), answers(&little.program, &little.nics[0], &little.base));
    assert_eq!(big, small);
    for (program, nic, base) in [(&little.program, &nic, &base), (&program, &little.nics[0], &base)] {
        let out = output_file("order");
        let refused = xhint(&["link", program, "--nic", nic, "--base", base, "--layout", "nic_meta", "-o", &out]);
        let words = text(&refused.stderr);
        assert_eq!((refused.status.code(), words.lines().count()), (Some(1), 1), "{words}");
        assert!(words.contains("byte order"), "{words}");
    }
}

#[test]
fn what_fails_leaves_the_old_output_and_nothing_else() {
    let (mut files, out) = (files(), output_file("fails"));
    fs::write(&out, "what was there").unwrap();
    files.program = fixture::program("missing.bpf.c").object().display().to_string();
    let broken = fixture::keep("broken", "o", b"\x7fELF and no more").display().to_string();
    for program in [files.program.as_str(), &broken] {
        let nic = &files.nics[0];
        let done = xhint(&["link", program, "--nic", nic, "--base", &files.base, "--layout", "nowhere", "-o", &out]);
        assert_eq!(done.status.code(), Some(1));
        assert_eq!(text(&done.stderr).lines().count(), 1, "{}", text(&done.stderr));
        assert_eq!(fs::read_to_string(&out).unwrap(), "what was there");
        assert_eq!(fs::read_dir(std::path::Path::new(&out).parent().unwrap()).unwrap().count(), 1);
    }
}

#[test]
fn the_output_may_not_be_an_input() {
    let files = files();
    let before = fs::read(&files.program).unwrap();
    for same in [&files.program, &files.nics[0], &files.base] {
        let mut all = args("link", &files, 0);
        all.extend(["-o", same]);
        let done = xhint(&all);
        assert_eq!(done.status.code(), Some(1));
        assert!(text(&done.stderr).contains("is an input too"), "{}", text(&done.stderr));
    }
    assert_eq!(fs::read(&files.program).unwrap(), before);
}

/// The files, with a program whose line info has the text of the lines.
fn files_with_text() -> Files {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../xhint-link/fixtures/reader.bpf.c");
    let program = fixture::Compile::new(source.as_ref()).object().display().to_string();
    Files { program, ..files() }
}

#[test]
fn explain_tells_place_access_and_result() {
    let files = files_with_text();
    let done = xhint(&args("explain", &files, 0));
    assert_eq!(done.status.code(), Some(1), "`value` is not there: {}", text(&done.stderr));
    let shown = text(&done.stdout);
    for part in ["reader.bpf.c:15  return m->mark;", "offset of  nic_meta.mark", "0 becomes 16", "is there", "fails"] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    assert!(!shown.contains('\x1b'), "no colour where there is no terminal");
}

#[test]
fn explain_json_has_what_its_document_says() {
    let files = files_with_text();
    let mut all = args("explain", &files, 0);
    all.push("--json");
    let done = xhint(&all);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&done.stderr)));
    assert_eq!(report["layouts"][0]["name"], "nic_meta");
    let relocations = report["relocations"].as_array().unwrap();
    let mark = relocations.iter().find(|r| r["access"] == "nic_meta.mark" && r["kind"] == "byte_off").unwrap();
    assert_eq!(mark["function"], "mark_of");
    assert!(mark["place"]["file"].as_str().unwrap().ends_with("reader.bpf.c"));
    assert_eq!((&mark["place"]["line"], &mark["place"]["text"]), (&15.into(), &"return m->mark;".into()));
    let result = &mark["results"][0];
    assert_eq!((&result["was"], &result["value"], &result["reached"]), (&0.into(), &16.into(), &true.into()));
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/explain-json.md")).unwrap();
    for object in [&report, &relocations[0], result, &mark["place"], &report["layouts"][0], &report["dispatch"]] {
        for key in object.as_object().unwrap().keys() {
            assert!(document.contains(&format!("`{key}`")), "docs/explain-json.md does not tell of {key}");
        }
    }
}

#[test]
fn layouts_are_shown_with_their_fields() {
    let files = files();
    let done = xhint(&["layout", "show", &files.nics[0], "--base", &files.base, "--layout", "nic_meta", "--json"]);
    let shown: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&done.stderr)));
    assert_eq!(shown[0]["name"], "nic_meta");
    assert!(shown[0]["size"].as_u64().unwrap() > 0);
    let none = xhint(&["layout", "show", &files.base, "--base", &files.base]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("--layout"), "{}", text(&none.stderr));
}

#[test]
fn a_file_system_that_makes_no_files_is_named() {
    let files = files();
    let mut all = args("link", &files, 0);
    all.extend(["-o", "/proc/out.o"]);
    let done = xhint(&all);
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(text(&done.stderr), "error: cannot write /proc/out.o: no file can be made in /proc\n");
}

#[test]
fn an_option_that_does_nothing_is_told() {
    let (files, out) = (files(), output_file("nothing"));
    let link = |more: &[&str]| {
        let mut all = args("link", &files, 0);
        all.extend(["-o", &out]);
        let done = xhint(&[&all[..], more].concat());
        (done.status.code(), text(&done.stderr))
    };
    for (more, code, words) in [
        (&["--fallback", "drop"][..], 0, "nothing is dispatched"),
        (&["--first", "nic_meta"], 0, "that 'nic_meta' is to be tried first does nothing"),
        (&["--first", "nosuch"], 1, "no layout is called 'nosuch'"),
        (&["--bind", "nic_meta=nic_meta", "--bind", "nic_meta=other"], 1, "other"),
        (&["--bind", "nosuch=nic_meta"], 0, "binding it to 'nic_meta' does nothing"),
    ] {
        let (done, said) = link(more);
        assert_eq!((done, said.lines().count()), (Some(code), 1), "{more:?}: {said}");
        assert!(said.contains(words), "{more:?}: {said}");
    }
}

#[test]
fn wrong_usage_is_2() {
    for wrong in [&["link"][..], &["link", "a.o", "--nic", "b", "-o", "c", "--bind", "x"], &["explain", "a.o"]] {
        assert_eq!(xhint(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn output_keeps_the_mode_it_had_and_leaves_nothing_when_there_is_no_room() {
    let files = files();
    let dir = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777;
    let link = |umask: &str, to: &str| {
        let command = format!("umask {umask}; exec \"$0\" \"$@\" -o {}/{to}", dir.path().display());
        let mut sh = Command::new("sh");
        sh.args(["-c", &command, env!("CARGO_BIN_EXE_xhint")]).args(args("link", &files, 0)).output().unwrap()
    };
    for (umask, name, want) in [("022", "a", 0o644), ("027", "b", 0o640), ("000", "c", 0o666)] {
        assert!(link(umask, name).status.success());
        assert_eq!(mode(name), want, "a new file under umask {umask}");
    }
    let written = fs::read(dir.path().join("a")).unwrap();
    for want in [0o600, 0o604, 0o755] {
        fs::write(dir.path().join("a"), "old").unwrap();
        fs::set_permissions(dir.path().join("a"), fs::Permissions::from_mode(want)).unwrap();
        // Through a link, which stays.
        let _none = std::os::unix::fs::symlink("a", dir.path().join("to_a"));
        assert!(link("022", "to_a").status.success());
        assert_eq!((mode("a"), fs::read(dir.path().join("a")).unwrap() == written), (want, true));
        assert!(fs::symlink_metadata(dir.path().join("to_a")).unwrap().is_symlink());
    }
    if !xhint_testkit::privileged() {
        return;
    }
    // A file system of one page: the old file stays, and nothing is beside it.
    fs::create_dir(dir.path().join("small")).unwrap();
    let small = dir.path().join("small").display().to_string();
    let script = format!(
        "mount -t tmpfs -o size=4k tmpfs {small} && echo old >{small}/out.o && {{ \"$0\" \"$@\" -o {small}/out.o; echo \
         $?; ls -A {small}; cat {small}/out.o; }}"
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_xhint")]);
    let output = unshare.args(args("link", &files, 0)).output().unwrap();
    assert_eq!(text(&output.stdout), "1\nout.o\nold\n", "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("out.o: No space left on device") && !said.contains(".xhint-"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// A program that is loaded on demand only, so that dispatch may give it no slots.
const ON_DEMAND: &str = r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <xhint.h>
struct nic_meta { __u32 rx_hash; } __attribute__((preserve_access_index));
SEC("?xdp") int on_demand(struct xdp_md *ctx) {
    struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
    return xhint_fits(ctx, m) && bpf_core_field_exists(m->rx_hash) ? m->rx_hash : XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"#;

#[test]
fn the_library_links_to_the_byte_what_the_command_line_does() {
    use xhint::{Dispatch, Link, Linker};
    type Way = for<'l> fn(Link<'l>) -> Link<'l>;
    let ways: [(&[&str], Way); 10] = [
        (&[], |link| link),
        (&["--no-walk"], |link| link.walk(false)),
        (&["--dispatch", "none", "--layout", "nic_meta"], |link| link.dispatch(Dispatch::None).layout("nic_meta")),
        (&["--dispatch", "none", "--layout", "nic_meta", "--no-walk"], |link| {
            link.dispatch(Dispatch::None).layout("nic_meta").walk(false)
        }),
        (&["--dispatch", "none", "--layout", "nic_meta", "--prune"], |link| {
            link.dispatch(Dispatch::None).layout("nic_meta").prune(true)
        }),
        (&["--dispatch", "static", "--fallback", "drop"], |link| link.dispatch(Dispatch::Static).fallback(1)),
        (&["--dispatch", "tail"], |link| link.dispatch(Dispatch::Tail)),
        (&["--dispatch", "table", "--prune"], |link| link.dispatch(Dispatch::Table).prune(true)),
        (&["--bind", "nic_meta=beta_rx_completion", "--allow-missing"], |link| {
            link.bind("nic_meta", "beta_rx_completion").allow_missing(true)
        }),
        (&["--bind", "nic_meta.rx_hash=beta_rx_completion.flow_mark"], |link| {
            link.bind_field(("nic_meta", "rx_hash"), ("beta_rx_completion", "flow_mark"))
        }),
    ];
    let (base, out) = (fixture::corpus_path("vmlinux.btf"), output_file("library"));
    let on_demand = fixture::Compile::new(&fixture::keep("on_demand", "bpf.c", ON_DEMAND.as_bytes())).object();
    let nics = ["alpha_fw1", "beta"].map(|nic| fixture::example(&format!("nics/{nic}.c")).object());
    let linker = Linker::with_base(std::slice::from_ref(&base)).unwrap();
    for program in [fixture::example("hints.bpf.c").object(), on_demand] {
        for (arguments, way) in &ways {
            let what = format!("{} {arguments:?}", program.display());
            let link = nics.iter().fold(linker.program(&program).unwrap(), |link, nic| link.nic(nic).unwrap());
            let ours = way(link.clone()).link().map(|linked| linked.bytes);
            let mut all = vec!["link", program.to_str().unwrap(), "-o", &out, "--base", base.to_str().unwrap()];
            nics.iter().for_each(|nic| all.extend(["--nic", nic.to_str().unwrap()]));
            let done = xhint(&[&all[..], arguments].concat());
            let (report, refused) = way(link).explain().unwrap();
            match ours {
                Ok(bytes) => assert!(done.status.success() && bytes == fs::read(&out).unwrap(), "{what}"),
                Err(error) => {
                    assert_eq!(refused.map(|e| e.to_string()), Some(error.to_string()), "{what}");
                    assert!(report.refused.is_some() && text(&done.stderr).contains(&error.to_string()), "{what}");
                }
            }
        }
    }
}
