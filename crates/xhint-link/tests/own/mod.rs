//! What these tests share: their own fixtures, compiled, and universes of them.

#![allow(clippy::unwrap_used, dead_code)]

pub mod case;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use xhint_btf::Btf;
use xhint_testkit::fixture::{self, Compile};
use xhint_universe::Universe;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// An object of this crate's fixtures.
pub fn compiled(name: &str) -> Bytes {
    std::fs::read(Compile::new(&path(name)).object()).unwrap().into()
}

/// The same, for a big-endian machine if so wanted.
pub fn compiled_for(name: &str, big_endian: bool) -> Bytes {
    let compile = Compile::new(&path(name));
    let compile = if big_endian { compile.big_endian() } else { compile };
    std::fs::read(compile.object()).unwrap().into()
}

/// The BTF of fixtures/nics.c.
pub fn nics() -> Bytes {
    let object = compiled("nics.c");
    Bytes::copy_from_slice(fixture::section(&object, ".BTF").unwrap())
}

/// The BTF of a NIC whose layouts are these, with the macros of fixtures/nics.c.
pub fn nic_of(layouts: &str) -> Bytes {
    let head = "#include \"kernel.h\"\n#define tag(text) __attribute__((btf_decl_tag(text)))\n#define LAYOUT(id) \
                tag(\"xhint:layout\") tag(\"xhint:as=nic_meta\") tag(\"xhint:id=\" #id)\n";
    let source = fixture::keep("nic", "c", format!("{head}{layouts}").as_bytes());
    let object = std::fs::read(Compile::new(&source).object()).unwrap();
    Bytes::copy_from_slice(fixture::section(&object, ".BTF").unwrap())
}

/// The committed kernel BTF with these NICs.
pub fn universe(nics: &[(&str, Bytes)]) -> Universe {
    let base = Arc::new(Btf::parse(fixture::corpus("vmlinux.btf")).unwrap());
    let mut universe = Universe::new(base);
    for (name, btf) in nics {
        universe.add(name, Arc::new(Btf::parse(btf.clone()).unwrap())).unwrap();
    }
    universe
}
