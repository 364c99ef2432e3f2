//! `xhint layout show` of files that were made for other machines and kernels.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::sync::Arc;

use common::{bad, example, good, json};
use serde_json::Value;
use xhint::btf::{Btf, Builder, Def, Member};
use xhint_testkit::hostile::Forge;
use xhint_testkit::{fixture, flat};

fn file(name: &str, bytes: &[u8]) -> String {
    fixture::keep(name, "btf", bytes).display().to_string()
}

/// Where the fields of the layout stand, and in which orders their bytes do.
fn places(shown: &Value) -> (Vec<[Value; 3]>, Vec<Value>) {
    let fields = shown[0]["fields"].as_array().unwrap();
    let place = |field: &Value| ["path", "bit_offset", "bits"].map(|key| field[key].clone());
    (fields.iter().map(place).collect(), fields.iter().map(|field| field["order"].clone()).collect())
}

#[test]
fn what_stands_alone_needs_no_base_of_whatever_byte_order_it_is() {
    let little = fixture::nic("plain.c");
    let big = flat::big_endian(&little);
    let [little, big] = [("little", little), ("big", big)]
        .map(|(name, bytes)| places(&json(&["layout", "show", &file(name, &bytes), "--layout", "nic_meta", "--json"])));
    assert_eq!(little.0, big.0);
    assert!(little.1.contains(&"little".into()) && !big.1.contains(&"little".into()), "{:?} {:?}", little.1, big.1);
}

#[test]
fn what_is_split_on_a_base_of_the_other_byte_order_says_which_is_which() {
    let kernel = Btf::parse(flat::big_endian(&fixture::corpus("vmlinux.btf"))).unwrap();
    let int = kernel.types().find(|ty| ty.name() == "int").unwrap().id();
    let kernel = Arc::new(kernel);
    let mut builder = Builder::split(&kernel);
    builder.add(&Def::structure("meta", 4, &[Member::new("rx_hash", int, 0)])).unwrap();
    let split = file("big-split", &builder.finish());
    let show = ["layout", "show", &split, "--layout", "meta", "--base"];
    let base = file("big-base", kernel.raw());
    assert!(good(&[&show[..], &[&base]].concat()).contains("rx_hash"));
    let little = fixture::corpus_path("vmlinux.btf").display().to_string();
    let error = bad(&[&show[..], &[&little]].concat());
    assert!(error.contains(&split) && error.contains("it is big-endian, but the base BTF is little-endian"), "{error}");
}

#[test]
fn an_unknown_kind_of_a_split_one_is_told_by_the_number_it_has_there() {
    // `BTF_KIND_PTR`, and one that there is not.
    const PTR: u32 = 2;
    const ODD: u32 = 100;
    let kernel = Btf::parse(fixture::corpus("vmlinux.btf")).unwrap();
    let base = fixture::corpus_path("vmlinux.btf").display().to_string();
    let mut forge = Forge::split(kernel.end_id(), kernel.end_string());
    // As some producers do, it begins with the empty string.
    forge.string("");
    let name = forge.string("odd");
    forge.ty(0, PTR, 0, 0, &[]);
    let odd = forge.ty(name, ODD, 0, 0, &[]);
    let split = file("odd", &forge.bytes());
    for verb in [&["layout", "show"], &["btf", "dump"]] {
        let error = bad(&[&verb[..], &[&split, "--base", &base]].concat());
        assert!(error.contains(&split) && error.contains(&format!("type [{odd}] ")), "{error}");
        assert!(error.contains("kind 100"), "{error}");
    }
    let alone = bad(&["btf", "dump", &split]);
    assert!(alone.contains("give that with --base"), "{alone}");
}

#[test]
fn a_layout_may_be_called_by_its_name_its_id_and_what_it_answers_to() {
    let (beta, prog) = (example("nics/beta.c"), example("hints.bpf.c"));
    let base = fixture::corpus_path("vmlinux.btf").display().to_string();
    let shown = json(&["layout", "show", &beta, "--json"]);
    let (name, id) = (shown[0]["name"].as_str().unwrap(), shown[0]["id"].as_u64().unwrap());
    let mut called = vec![name.to_owned(), format!("{id}"), format!("{id:#x}"), format!("0X{id:08X}")];
    let names = shown[0]["answers_to"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned());
    called.extend(names.filter(|n| n != name));
    assert!(called.len() > 4, "{called:?}");
    for called in &called {
        assert_eq!(json(&["layout", "show", &beta, "--layout", called, "--json"]), shown, "{called}");
        let linked = ["link", &prog, "--nic", &beta, "--base", &base, "--json", "-o", "/dev/null", "--layout", called];
        assert_eq!(json(&linked)["layouts"][0]["id"], id, "{called}");
    }
    let error = bad(&["layout", "show", &beta, "--layout", "0x1"]);
    assert!(error.contains("no layout of it is called '0x1'; there is beta_rx_completion (0x"), "{error}");
}
