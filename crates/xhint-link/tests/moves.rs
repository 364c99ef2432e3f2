//! Programs that move the packet, or the metadata in front of it, between two reads of metadata.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use own::{compiled, nics, universe};
use xhint_link::{Dispatch, Fallback, Link, LinkOptions, Object};
use xhint_testkit::run::Loaded;
use xhint_testkit::{fixture, may_load};

/// Of fixtures/nics.c: the id at the end of 16 bytes, `value` in front and behind a word.
fn packets(value: u8) -> [[u8; 16]; 2] {
    let first = [value, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0, 0, 0];
    let second = [0, 0, 0, 0, value, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff];
    [first, second]
}

/// The end of the metadata that a table keeps must not outlive a helper that moves it: the verifier would refuse that, and
/// were it not to, other bytes would be read.
#[test]
fn what_is_read_after_a_move_is_right_with_every_dispatch() {
    if !may_load() {
        return;
    }
    let object = Object::parse(compiled("moves.bpf.c")).unwrap();
    let universe = universe(&[("nics.c", nics())]);
    let layouts = vec!["first_of_16".to_owned(), "second_of_16".to_owned()];
    for (dispatch, count) in
        [Dispatch::Static, Dispatch::Tail, Dispatch::Table].into_iter().flat_map(|d| [(d, false), (d, true)])
    {
        let fallback = Fallback::Action(1);
        let options =
            LinkOptions { dispatch, count, fallback, layouts: Some(layouts.clone()), ..LinkOptions::default() };
        let linked = object.link(&universe, &options).unwrap();
        let loaded = Loaded::load(&fixture::keep("moves", "o", &linked.bytes), None);
        let loaded = loaded.unwrap_or_else(|error| panic!("{dispatch:?}: {error}"));
        for (program, metadata) in ["head", "meta", "either"].into_iter().flat_map(|p| packets(7).map(|m| (p, m))) {
            for packet in [[0; 64], [1; 64]] {
                let outcome = loaded.run(program, &metadata, &packet).unwrap();
                let out: Vec<u64> =
                    loaded.global(".bss").chunks_exact(8).map(|w| u64::from_ne_bytes(w.try_into().unwrap())).collect();
                assert_eq!((outcome.returned, out), (2, vec![7, 7]), "{dispatch:?}, {program}");
            }
        }
    }
}
