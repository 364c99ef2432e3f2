//! Objects that are read and written, and taken apart and put together, are still the same to libbpf.

use std::fs;
use std::path::Path;

use xhint_testkit::{fixture, may_load, oracle};

use super::*;
use crate::image::SectionContent;

fn objects() -> Vec<(String, Bytes)> {
    let mut out = Vec::new();
    for source in fixture::names("programs", ".bpf.c") {
        for variant in fixture::variants().into_iter().filter(|v| v.compiles_all_of(&source)) {
            let path = fixture::program(&source).variant(variant).object();
            out.push((path.display().to_string(), fs::read(&path).unwrap().into()));
        }
        let path = fixture::program(&source).big_endian().object();
        out.push((path.display().to_string(), fs::read(&path).unwrap().into()));
    }
    out
}

/// Symbols, sections and relocations in words, so that two images can be compared.
fn describe(image: &Image) -> Vec<String> {
    let name = |id: SectionId| image.sections.at(id).name.as_str();
    let mut out = Vec::new();
    for section in image.sections.iter().filter(|s| !s.gone) {
        let (link, content) = match &section.content {
            SectionContent::Relocations(r) => {
                let one = |r: &Relocation| format!("{:x} {} {}", r.offset, r.kind.0, image.symbols.at(r.symbol).name);
                ("", format!("{} {:?}", name(r.target), r.entries.iter().map(one).collect::<Vec<_>>()))
            }
            SectionContent::Strings => ("", String::new()),
            SectionContent::Symbols => ("", String::new()),
            other => (name(section.link), format!("{other:?}")),
        };
        out.push(format!("{} {:?} {:?} {} {link} {content}", section.name, section.kind, section.flags, section.align));
    }
    for symbol in &image.symbols {
        let place = match symbol.place {
            SymbolPlace::Section(n) => name(n).to_owned(),
            SymbolPlace::Special(s) => format!("{s:?}"),
        };
        out.push(format!("{} {:?} {place} {} {}", symbol.name, symbol.info, symbol.value, symbol.size));
    }
    out
}

#[test]
fn what_is_written_reads_back_equal() {
    for (path, bytes) in objects() {
        let image = Image::read(&bytes).unwrap();
        let written = image.write().unwrap();
        let again = Image::read(&Bytes::from(written.clone())).unwrap();
        assert_eq!(describe(&image), describe(&again), "{path}");
        assert_eq!(written, again.write().unwrap(), "{path}: writing twice differs");
    }
}

/// Takes an object apart and puts it together, its CO-RE relocations kept.
fn reassemble(bytes: &Bytes) -> Vec<u8> {
    let object = Object::parse(bytes.clone()).unwrap();
    let mut image = object.image().clone();
    let mut ext = object.ext().clone();
    let name = |name: &str| {
        Ok(object.ext().lines.iter().map(|s| s.name_off).find(|o| object.btf().str_at(*o) == Some(name)).unwrap_or(0))
    };
    Assembly::take(&object).unwrap().put(&mut image, &mut ext, name).unwrap();
    image.set_btf(object.btf().raw().clone(), &ext).unwrap();
    image.write().unwrap()
}

#[test]
fn libbpf_sees_the_same_programs_in_what_was_put_together() {
    if !may_load() {
        return;
    }
    let base = fixture::corpus_path("vmlinux.btf");
    for (path, bytes) in objects().into_iter().filter(|(_, bytes)| bytes[5] == 1) {
        let kept = fixture::keep("reassembled", "o", &reassemble(&bytes));
        let (theirs, ours) =
            match (oracle::relocate(Path::new(&path), Some(&base)), oracle::relocate(&kept, Some(&base))) {
                (Ok(theirs), Ok(ours)) => (theirs, ours),
                (Err(_), Err(_)) => continue,
                (theirs, ours) => panic!("{path}: {theirs:?} {ours:?}"),
            };
        oracle::assert_same(&path, &theirs, &ours);
    }
}
