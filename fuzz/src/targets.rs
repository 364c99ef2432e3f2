//! The targets, and the only list of them.

use std::sync::Arc;

use xhint_btf::Btf;
use xhint_btf::ext::BtfExt;
use xhint_link::Object;
use xhint_object::nic_btf;

use crate::{Target, linking, paths, seeds};

/// Every target.
pub const TARGETS: [Target; 11] = [
    Target { name: "btf", every: 1, run: btf, seeds: seeds::btfs },
    Target { name: "split", every: 1, run: split, seeds: seeds::splits },
    Target { name: "distilled", every: 1, run: distilled, seeds: seeds::distilled },
    Target { name: "ext", every: 1, run: ext, seeds: seeds::exts },
    Target { name: "object", every: 2, run: object, seeds: seeds::objects },
    Target { name: "link", every: 25, run: linking::link, seeds: linking::objects },
    Target { name: "nic", every: 20, run: linking::nic, seeds: linking::nics },
    Target { name: "local", every: 1, run: linking::local, seeds: linking::locals },
    Target { name: "records", every: 1, run: linking::record, seeds: linking::records },
    Target { name: "paths", every: 1, run: paths::file, seeds: paths::files },
    Target { name: "module", every: 1, run: paths::module, seeds: seeds::splits },
];

fn btf(bytes: &[u8]) {
    match Btf::parse(bytes.to_vec()) {
        Ok(btf) => walk(&btf),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn split(bytes: &[u8]) {
    match Btf::parse_split(bytes.to_vec(), Arc::clone(&linking::BASE)) {
        Ok(btf) => walk(&btf),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A split BTF behind its distilled base, put on a kernel that it was not made for.
fn distilled(bytes: &[u8]) {
    match nic_btf(bytes.to_vec(), || Some(&linking::BASE)) {
        Ok(btf) => {
            walk(&btf);
            for kept in btf.kept() {
                assert_eq!(btf.differs(kept.id), Some(kept.why));
                assert!(btf.ty(kept.id).is_some_and(|ty| !ty.name().is_empty() || ty.size() > 0));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Asks every question that a type answers.
fn walk(btf: &Btf) {
    for ty in btf.types() {
        let mut sum = u64::from(ty.size()) + u64::from(ty.target()) + u64::from(ty.vlen());
        sum += ty.name().len() as u64;
        for member in ty.members() {
            sum += u64::from(member.bit_offset) + u64::from(member.bit_size);
            sum += btf.skip_mods_and_typedefs(member.type_id).id() as u64;
            sum += member.name.len() as u64;
        }
        for enumerator in ty.enumerators() {
            sum = sum.wrapping_add(enumerator.value);
        }
        sum = sum.wrapping_add(ty.params().count() as u64 + ty.vars().count() as u64);
        let more = (ty.array(), ty.int(), ty.linkage(), ty.component());
        let resolved = (btf.skip_mods(ty.id()).id(), btf.type_size(ty.id()));
        std::hint::black_box((sum, more, resolved));
    }
}

/// What is read is written and read again, and is the same.
fn ext(bytes: &[u8]) {
    match BtfExt::parse(bytes) {
        Ok(ext) => {
            let again = BtfExt::parse(&ext.write().expect("what was read can be written"))
                .expect("what was written can be read");
            assert_eq!(ext, again);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn object(bytes: &[u8]) {
    match Object::parse(bytes.to_vec()) {
        Ok(object) => {
            for relo in object.relos() {
                std::hint::black_box((object.function_of(relo), object.place_of(relo)));
            }
            walk(object.btf());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
