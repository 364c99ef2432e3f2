//! Valid inputs: the fixtures, compiled.

use std::fs;

use xhint_testkit::distill::distill;
use xhint_testkit::fixture::{self, corpus, names, section};

pub type Seeds = Vec<(String, Vec<u8>)>;

/// Every NIC's BTF, and the cut-down kernel's.
pub fn btfs() -> Seeds {
    let nics = names("nics", ".c").into_iter().map(|name| {
        let bytes = fixture::nic(&name);
        (name, bytes)
    });
    let kernel = [("vmlinux.btf".to_owned(), corpus("vmlinux.btf"))];
    nics.chain(kernel).collect()
}

/// The modules' split BTF.
pub fn splits() -> Seeds {
    let splits = names("corpus", ".btf").into_iter();
    splits
        .filter(|name| name != "vmlinux.btf")
        .map(|name| {
            let bytes = corpus(&name);
            (name, bytes)
        })
        .collect()
}

/// The same, each behind a distilled base that libbpf makes of the cut-down kernel's.
pub fn distilled() -> Seeds {
    let kernel = corpus("vmlinux.btf");
    let pair = |(name, split): (String, Vec<u8>)| {
        let made = distill(&split, &kernel);
        (name, [made.base, made.split].concat())
    };
    splits().into_iter().map(pair).collect()
}

/// Every program, and one in the other byte order.
pub fn objects() -> Seeds {
    let read = |name: String| {
        let object = fixture::program(&name).object();
        (name, fs::read(object).expect("a compiled program"))
    };
    let mut objects: Seeds = names("programs", ".bpf.c").into_iter().map(read).collect();
    let big = fixture::program("fields.bpf.c").big_endian().object();
    objects.push(("big endian".to_owned(), fs::read(big).expect("a program")));
    objects
}

/// Every program's `.BTF.ext`.
pub fn exts() -> Seeds {
    let objects = objects().into_iter();
    objects
        .map(|(name, bytes)| {
            let ext = section(&bytes, ".BTF.ext").expect(".BTF.ext").to_vec();
            (name, ext)
        })
        .collect()
}
