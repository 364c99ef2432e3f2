//! Broken objects are refused in words, or linked; never a panic, a hang, or memory out of proportion.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use own::{compiled, nics, universe};
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_object::btf_of;
use xhint_testkit::damage::{self, Elf};
use xhint_universe::Universe;

fn try_all(universe: &Universe, how: &str, bytes: &[u8]) {
    let _ = btf_of(bytes.to_vec(), None).map_err(|e| e.to_string());
    let Ok(object) = Object::parse(bytes.to_vec()) else { return };
    for (dispatch, walk) in [(Dispatch::None, true), (Dispatch::Static, false), (Dispatch::Tail, true)] {
        let options = LinkOptions { dispatch, walk, allow_missing: true, ..LinkOptions::default() };
        if let Ok(linked) = object.link(universe, &options) {
            // What we write we read.
            Object::parse(linked.bytes).unwrap_or_else(|error| panic!("{how}: {error:?}"));
        }
    }
    let _ = object.explain(universe, &LinkOptions::default());
}

#[test]
fn damaged_objects_do_no_harm() {
    let universe = universe(&[("nics.c", nics())]);
    for name in ["reader.bpf.c", "dispatch.bpf.c"] {
        let bytes = compiled(name);
        damage::each(&bytes, 25, 5, |broken| try_all(&universe, &broken.how, &broken.bytes));
    }
}

#[test]
fn elf_structure_with_hostile_numbers_does_no_harm() {
    let universe = universe(&[("nics.c", nics())]);
    let bytes = compiled("dispatch.bpf.c");
    let mut count = 0;
    Elf::read(&bytes).unwrap().each_broken(1, |broken| {
        // A seventh of them, other numbers for each word.
        count += 1;
        if count % 7 == 0 {
            try_all(&universe, &broken.how, &broken.bytes);
        }
    });
}
