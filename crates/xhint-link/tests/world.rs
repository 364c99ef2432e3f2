//! Objects as the world has them: merged by `bpftool gen object`, for layouts that C could not name, with programs that
//! are loaded on demand only, by compilers that write less into `.BTF.ext`.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use own::{compiled, nics, universe};
use xhint_btf::{Btf, Builder, Def, Member};
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::fixture::{self, Compile};
use xhint_testkit::run::Loaded;
use xhint_testkit::{may_load, privilege};
use xhint_universe::Universe;

/// Of fixtures/nics.c: the id at the end of 16 bytes, `value` in front and behind a word.
fn packets(value: u8) -> [[u8; 16]; 2] {
    let first = [value, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0, 0, 0];
    let second = [0, 0, 0, 0, value, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff];
    [first, second]
}

/// Every way to link for both layouts, with and without the right to walk.
fn ways() -> Vec<LinkOptions> {
    let layouts = vec!["first_of_16".to_owned(), "second_of_16".to_owned()];
    let way = |dispatch, walk| LinkOptions { dispatch, walk, layouts: Some(layouts.clone()), ..LinkOptions::default() };
    let all = [Dispatch::Static, Dispatch::Tail].map(|d| [way(d, true), way(d, false)]);
    let mut all = all.into_iter().flatten().collect::<Vec<_>>();
    all.push(way(Dispatch::Table, true));
    all
}

fn load(what: &str, bytes: &[u8]) -> Loaded {
    Loaded::load(&fixture::keep("world", "o", bytes), None).unwrap_or_else(|e| panic!("{what}: {e}"))
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn compiled_with(name: &str, arguments: &str) -> Vec<u8> {
    let compile = arguments.split(' ').fold(Compile::new(&path(name)), Compile::argument);
    std::fs::read(compile.object()).unwrap()
}

/// Weak and strong function merged; `None` without bpftool.
fn merged() -> Option<Bytes> {
    let (weak, strong) = (Compile::new(&path("weak.bpf.c")), Compile::new(&path("weak.bpf.c")).argument("-DSTRONG"));
    let out = fixture::cache().join(format!("merged-{}.o", std::process::id()));
    let command =
        Command::new("bpftool").args(["gen", "object"]).arg(&out).args([weak.object(), strong.object()]).output();
    let done = command.ok()?;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let bytes = std::fs::read(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    Some(bytes.into())
}

#[test]
fn code_that_is_no_functions_any_more_is_passed_over() {
    if !may_load() {
        return;
    }
    let Some(bytes) = merged() else { return privilege::skipped("no bpftool") };
    let object = Object::parse(bytes).unwrap();
    let text: usize = object.functions().iter().filter(|f| f.section_name == ".text").count();
    assert_eq!(text, 1, "one of the two has no symbol");
    let universe = universe(&[("nics.c", nics())]);
    for options in ways() {
        let what = format!("{:?}, walk {}", options.dispatch, options.walk);
        let loaded = load(&what, &object.link(&universe, &options).unwrap().bytes);
        for metadata in packets(3) {
            assert_eq!(loaded.run("weak", &metadata, &[0; 64]).unwrap().returned, 3, "{what}: XDP_TX");
            assert_eq!(loaded.global(".bss")[..8], 48u64.to_ne_bytes(), "{what}");
        }
    }
    // In place, too, where the code stays.
    let one = LinkOptions {
        dispatch: Dispatch::None,
        layouts: Some(vec!["first_of_16".to_owned()]),
        ..LinkOptions::default()
    };
    let loaded = load("none", &object.link(&universe, &one).unwrap().bytes);
    assert_eq!(loaded.run("weak", &packets(2)[0], &[0; 64]).unwrap().returned, 3);
    assert_eq!(loaded.global(".bss")[..8], 32u64.to_ne_bytes());
}

/// A NIC BTF of one layout, whatever its name: a word, `value`, a word, `btf_id`.
fn named(name: &str) -> Bytes {
    let mut btf = Builder::new(xhint_btf::ByteOrder::Little);
    let word = btf.add(&Def::unsigned("u32", 4)).unwrap();
    let members = [("pad", 0), ("value", 32), ("pad2", 64), ("btf_id", 96)];
    let ty = btf.add(&Def::structure(name, 16, &members.map(|(name, bit)| Member::new(name, word, bit)))).unwrap();
    for tag in ["xhint:layout", "xhint:as=nic_meta", "xhint:id=0x77"] {
        btf.add(&Def::tag(tag, ty)).unwrap();
    }
    btf.finish().into()
}

#[test]
fn layouts_that_c_could_not_name_are_dispatched() {
    if !may_load() {
        return;
    }
    let base = Arc::new(Btf::parse(fixture::corpus("vmlinux.btf")).unwrap());
    let metadata = [0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0x77, 0, 0, 0];
    for name in ["NicMeta<Foo<u32>, 3>", "vendor.rx/v2", "9lives", "ümläut", "a\nb", &"Meta".repeat(150)] {
        for dispatch in [Dispatch::Static, Dispatch::Tail, Dispatch::Table] {
            let mut universe = Universe::new(Arc::clone(&base));
            universe.add("nics.c", Arc::new(Btf::parse(nics()).unwrap())).unwrap();
            universe.add("odd", Arc::new(Btf::parse(named(name)).unwrap())).unwrap();
            let object = Object::parse(compiled("dispatch.bpf.c")).unwrap();
            let linked = object.link(&universe, &LinkOptions { dispatch, ..LinkOptions::default() }).unwrap();
            assert!(linked.report.layouts.iter().any(|l| l.name == name), "reports have the real name");
            let what = format!("{name:.20} {dispatch:?}");
            // If the kernel refuses its BTF, libbpf goes on without: so the names are looked at.
            for function in Object::parse(linked.bytes.clone()).unwrap().functions() {
                let is_c = function.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                assert!(is_c && function.name.len() < 128, "{what}: {}", function.name);
            }
            let loaded = load(&what, &linked.bytes);
            assert_eq!(loaded.run("first", &metadata, &[0; 64]).unwrap().returned, 2, "{what}");
            assert_eq!(loaded.global(".bss")[8..16], 9u64.to_ne_bytes(), "{what}");
        }
    }
}

#[test]
fn what_is_loaded_on_demand_keeps_nothing_else_from_loading() {
    if !may_load() {
        return;
    }
    let object = Object::parse(compiled("optional.bpf.c")).unwrap();
    let universe = universe(&[("nics.c", nics())]);
    for options in ways() {
        let bytes = object.link(&universe, &options).unwrap().bytes;
        let kept = fixture::keep("optional", "o", &bytes);
        // By itself libbpf loads the one; asked for both, it loads both, and each reads each layout.
        let (one, both) = (Loaded::load(&kept, None).unwrap(), Loaded::load_all(&kept, None).unwrap());
        for metadata in packets(5) {
            let run = |loaded: &Loaded, name| loaded.run(name, &metadata, &[0; 64]).unwrap().returned;
            assert_eq!(run(&one, "always"), 5, "{:?}", options.dispatch);
            assert_eq!((run(&both, "always"), run(&both, "optional")), (5, 5), "{:?}", options.dispatch);
        }
        assert_eq!(both.run("optional", &[0; 16], &[0; 64]).unwrap().returned, 2000);
    }
    // Where all are loaded on demand, no slot is of any use.
    let only = Object::parse(compiled_with("optional.bpf.c", "-DONLY")).unwrap();
    let options = LinkOptions { dispatch: Dispatch::Tail, ..LinkOptions::default() };
    let linked = only.link(&universe, &options).unwrap();
    assert_eq!(linked.report.dispatch.kind, Some(Dispatch::Static));
    let loaded = Loaded::load_all(&fixture::keep("optional", "o", &linked.bytes), None).unwrap();
    assert_eq!(loaded.run("optional", &packets(4)[1], &[0; 64]).unwrap().returned, 4);
    // Named as the one to run, it has slots as any other.
    let dispatch = Dispatch::Tail;
    let named = LinkOptions { dispatch, program: Some("optional".to_owned()), ..LinkOptions::default() };
    let bytes = object.link(&universe, &named).unwrap().bytes;
    let loaded = Loaded::load_all(&fixture::keep("optional", "o", &bytes), None).unwrap();
    assert_eq!(loaded.run("optional", &packets(6)[1], &[0; 64]).unwrap().returned, 6);
    let functions = Object::parse(bytes).unwrap().functions().as_slice().to_vec();
    assert!(functions.iter().any(|f| f.name == "optional__first_of_16" && f.section_name == "?xdp"));
    assert!(!functions.iter().any(|f| f.name.starts_with("always__")), "what does not run has no programs to load");
}

#[test]
fn too_many_layouts_for_a_program_on_demand_are_refused_with_a_way_out() {
    let layout = |n: usize| {
        format!(
            "struct l{n} {{ __u32 pad[{}]; __u32 value; __u32 rest[{}]; __u32 btf_id; }} LAYOUT({}); struct l{n} *v{n};\n",
            n % 20 + 1,
            n / 20 + 1,
            n + 1
        )
    };
    let nic = own::nic_of(&(0..300).map(layout).collect::<String>());
    let universe = universe(&[("many", nic)]);
    let only = Object::parse(compiled_with("optional.bpf.c", "-DONLY -DCALLS")).unwrap();
    let link = |options: &LinkOptions| only.link(&universe, options).map(|linked| linked.report.dispatch.kind);
    for dispatch in [Dispatch::Auto, Dispatch::Tail, Dispatch::Static] {
        let options = LinkOptions { dispatch, ..LinkOptions::default() };
        let error = link(&options).unwrap_err().to_string();
        for part in ["optional would be 302 functions", "takes 256", "on demand", "name it as the program to run"] {
            assert!(error.contains(part), "{dispatch:?}: {error}");
        }
        // Which is true.
        let named = LinkOptions { program: Some("optional".to_owned()), ..options };
        assert_eq!(link(&named).is_ok(), dispatch != Dispatch::Static, "{dispatch:?}");
    }
}

#[test]
fn what_an_object_needs_of_a_loader_is_said() {
    if !may_load() {
        return;
    }
    let object = Object::parse(compiled("reader.bpf.c")).unwrap();
    let universe = universe(&[("nics.c", nics())]);
    for options in ways() {
        let linked = object.link(&universe, &options).unwrap();
        // As iproute2 and libxdp do: the one program that they attach.
        let one = Loaded::load_one(&fixture::keep("one", "o", &linked.bytes), None, "reader");
        assert_eq!(one.is_ok(), linked.report.dispatch.needs.is_empty(), "{:?}", options.dispatch);
    }
}

#[test]
fn nothing_is_left_of_an_ext_that_had_relocations_only() {
    // As gcc wrote it before it knew func and line info: those are of length 0.
    let mut bytes = compiled("optional.bpf.c").to_vec();
    let start = fixture::section(&bytes, ".BTF.ext").unwrap().as_ptr() as usize - bytes.as_ptr() as usize;
    for length in [12, 20] {
        bytes[start + length..start + length + 4].fill(0);
    }
    let object = Object::parse(bytes).unwrap();
    assert!(!object.relos().is_empty());
    let universe = universe(&[("nics.c", nics())]);
    let one = LinkOptions {
        dispatch: Dispatch::None,
        layouts: Some(vec!["first_of_16".to_owned()]),
        ..LinkOptions::default()
    };
    for options in ways().into_iter().chain([one]) {
        let linked = object.link(&universe, &options).unwrap().bytes;
        let left = fixture::section(&linked, ".BTF.ext").map(|e| xhint_btf::ext::BtfExt::parse(e).unwrap());
        assert!(left.is_none_or(|e| !e.is_empty()), "{:?}", options.dispatch);
        if may_load() {
            let loaded = load("relocations only", &linked);
            assert_eq!(loaded.run("always", &packets(5)[0], &[0; 64]).unwrap().returned, 5);
        }
    }
}

#[test]
fn names_that_dispatch_gives_are_not_the_objects_own() {
    let universe = universe(&[("nics.c", nics())]);
    for own in ["MAP=xhint_counts", "MAP=xhint_slots_of_mine", "VARIABLE=xhint_ids"] {
        let object = Object::parse(compiled_with("reserved.bpf.c", &format!("-D{own}"))).unwrap();
        for dispatch in Dispatch::ALL {
            let options =
                LinkOptions { dispatch, layouts: Some(vec!["first_of_16".to_owned()]), ..LinkOptions::default() };
            let error = object.link(&universe, &options).unwrap_err().to_string();
            let name = own.split_once('=').unwrap().1;
            assert!(error.contains(&format!("'{name}'")) && error.contains("rename"), "{error}");
        }
    }
    // What was linked before is told, too.
    let object = Object::parse(compiled("optional.bpf.c")).unwrap();
    let options = LinkOptions { dispatch: Dispatch::Tail, ..LinkOptions::default() };
    let again = Object::parse(object.link(&universe, &options).unwrap().bytes).unwrap();
    let error = again.link(&universe, &options).unwrap_err().to_string();
    assert!(error.contains("linked by xhint before"), "{error}");
}

#[test]
fn sections_of_old_tutorials_are_named() {
    let object = Object::parse(compiled_with("reserved.bpf.c", "-DSECTION=\"xdp_prog1\"")).unwrap();
    let universe = universe(&[("nics.c", nics())]);
    let options = LinkOptions { dispatch: Dispatch::Static, ..LinkOptions::default() };
    let error = object.link(&universe, &options).unwrap_err().to_string();
    for part in ["reserved", "xdp_prog1", "SEC(\"xdp\")"] {
        assert!(error.contains(part), "{error}");
    }
}
