//! Objects that were linked without what cannot be reached, as libbpf and the kernel see them.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

mod own;

use own::{compiled, nics, universe};
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::oracle::{Program, relocate};
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture, may_load};

/// The helper that poison calls.
const POISON: i32 = 0xbad_2310;

/// The reader linked for `short_one`, which lacks `mark`, as libbpf would load it.
fn reader(prune: bool) -> (Program, std::path::PathBuf) {
    let layouts = vec!["short_one".to_owned()];
    let options = LinkOptions { layouts: Some(layouts), dispatch: Dispatch::None, prune, ..LinkOptions::default() };
    let object = Object::parse(compiled("reader.bpf.c")).unwrap();
    let linked = object.link(&universe(&[("nics.c", nics())]), &options).unwrap();
    let path = fixture::keep("pruned", "o", &linked.bytes);
    let mut programs = relocate(&path, None).unwrap().programs;
    (programs.remove(programs.iter().position(|p| p.name == "reader").unwrap()), path)
}

#[test]
fn poison_guards_and_what_only_they_call_are_gone() {
    let ((whole, _), (pruned, path)) = (reader(false), reader(true));
    let poisoned = |p: &Program| p.insns.iter().filter(|i| (i.code, i.imm) == (0x85, POISON)).count();
    assert_eq!((poisoned(&whole), poisoned(&pruned)), (1, 0));
    assert!(pruned.insns.len() < whole.insns.len());
    let names = |p: &Program| p.functions.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&whole), ["reader", "mark_of"]);
    assert_eq!(names(&pruned), ["reader"]);
    // Each line that is left says what it said, and in the same order.
    let text = |p: &Program| p.lines.iter().map(|(_, place, text)| format!("{place} {text}")).collect::<Vec<_>>();
    let (before, after) = (text(&whole), text(&pruned));
    let mut rest = before.iter();
    assert!(after.iter().all(|line| rest.any(|l| l == line)), "{after:#?} of {before:#?}");
    assert!(after.len() > 3 && !after.iter().any(|line| line.contains("return m->mark")));
    if may_load() {
        let loaded = Loaded::load(&path, None).unwrap();
        loaded.run("reader", &[5, 0, 0, 0, 7, 0, 0, 0], &[0; 64]).unwrap();
        assert_eq!(loaded.global(".bss").get(8..24), Some(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]));
    }
}

#[test]
fn without_dispatch_nothing_is_removed_unasked() {
    let code = |object: &[u8]| fixture::section(object, "xdp").map(<[u8]>::len);
    let (_, path) = reader(false);
    assert_eq!(code(&std::fs::read(path).unwrap()), code(&compiled("reader.bpf.c")));
}
