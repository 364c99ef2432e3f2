//! The test vectors of `docs/layout-abi.md`, read from the document itself.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::Arc;

use xhint_btf::Btf;
use xhint_testkit::fixture::{Compile, keep, section};
use xhint_universe::{Universe, content, derived_id};

const DOCUMENT: &str = include_str!("../../../docs/layout-abi.md");

/// What stands in a fenced block of this language, in order.
fn blocks(language: &str) -> Vec<(usize, &'static str)> {
    let fence = format!("```{language}\n");
    let starts = DOCUMENT.match_indices(&fence).map(|(at, _)| at + fence.len());
    starts.map(|at| (at, DOCUMENT[at..].split("```").next().unwrap())).collect()
}

fn btf_of(c: &str) -> Btf {
    // Where Debian keeps asm/types.h.
    let headers = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let object = Compile::new(&keep("vector", "c", c.as_bytes())).argument(headers).object();
    Btf::parse(section(&std::fs::read(object).unwrap(), ".BTF").unwrap().to_vec()).unwrap()
}

#[test]
fn the_vectors_hold() {
    let (codes, contents, ids) = (blocks("c"), blocks("content"), blocks("id"));
    assert!(contents.len() >= 4 && contents.len() == ids.len());
    for ((at, want), (_, id)) in contents.into_iter().zip(ids) {
        let (_, c) = codes.iter().rfind(|(c_at, _)| *c_at < at).unwrap();
        let name = want.split(' ').nth(1).unwrap();
        let spelt = if c.contains("typedef struct {") { name.to_owned() } else { format!("struct {name}") };
        let btf = btf_of(&format!("#include <linux/types.h>\n{c}\n{spelt} *keep;\n"));

        let ty = btf.types().find(|t| t.name() == name).unwrap();
        assert_eq!(content(&btf, name, ty.id()).unwrap(), want);
        let derived = derived_id(want);
        assert_eq!(format!("{derived:#010x}\n"), id, "{name}");

        let mut universe = Universe::new(Arc::new(btf_of("int base;")));
        universe.add("vector", Arc::new(btf)).unwrap();
        let layout = universe.add_layout(name).unwrap();
        assert_eq!(universe.layouts()[layout].id, derived);
        assert!(!universe.layouts()[layout].declared);
    }
}

#[test]
fn the_vendors_file_says_what_the_document_says() {
    let (_, c) = blocks("c").into_iter().find(|(_, c)| c.contains("mlx_rx_v3")).unwrap();
    let mut universe = Universe::new(Arc::new(btf_of("int base;")));
    universe.add("vendor", Arc::new(btf_of(c))).unwrap();
    let [layout] = universe.layouts() else { panic!("{:?}", universe.layouts()) };
    assert_eq!((layout.name.as_str(), layout.id, layout.declared, layout.size), ("mlx_rx_v3", 0x11, true, 16));
    assert_eq!(layout.answers_to, ["mlx_rx_v3", "nic_meta"]);
    let selector = layout.selector.as_ref().unwrap();
    assert_eq!((selector.field.as_str(), selector.bit_offset, selector.bits), ("layout_id", 112, 16));
}
