//! Targets that link and relocate: one side is what a stranger wrote, the other is good.

use std::fs;
use std::sync::{Arc, LazyLock};

use xhint_btf::Btf;
use xhint_btf::ext::BtfExt;
use xhint_object::{Dispatch, LinkOptions, Object};
use xhint_relo::{Binding, Resolver, patch};
use xhint_testkit::fixture;
use xhint_universe::Universe;

use crate::seeds::{self, Seeds};

/// Programs that between them hold every kind of relocation.
static PROGRAMS: LazyLock<Vec<Program>> = LazyLock::new(|| {
    let names = fixture::names("programs", ".bpf.c").into_iter();
    names.map(|name| Program::read(&fs::read(fixture::program(&name).object()).expect("a program"))).collect()
});

/// The cut-down kernel with two NICs, each with a layout of its own name.
static UNIVERSE: LazyLock<Universe> = LazyLock::new(|| {
    let mut universe = Universe::new(Arc::clone(&BASE));
    for nic in ["nested.c", "flavoured.c"] {
        let btf = Btf::parse(fixture::nic(nic)).expect("a NIC");
        universe.add(nic, Arc::new(btf)).expect("a NIC");
    }
    for layout in ["nic_meta", "nic_meta___fw7"] {
        universe.add_layout(layout).expect("a layout");
    }
    universe
});

/// The cut-down kernel.
pub static BASE: LazyLock<Arc<Btf>> =
    LazyLock::new(|| Arc::new(Btf::parse(fixture::corpus("vmlinux.btf")).expect("a base")));

struct Program {
    object: Object,
    btf: Btf,
    ext: BtfExt,
}

impl Program {
    fn read(elf: &[u8]) -> Program {
        let section = |name| fixture::section(elf, name).expect("a section");
        Program {
            object: Object::parse(elf.to_vec()).expect("an object"),
            btf: Btf::parse(section(".BTF").to_vec()).expect(".BTF"),
            ext: BtfExt::parse(section(".BTF.ext")).expect(".BTF.ext"),
        }
    }
}

/// What is read once is read before memory is counted.
fn ready(seeds: Seeds) -> Seeds {
    LazyLock::force(&PROGRAMS);
    LazyLock::force(&UNIVERSE);
    seeds
}

/// The same for the same bytes, and any of them: which good program a stranger's bytes meet.
fn some_program(bytes: &[u8]) -> &'static Program {
    let sum = bytes.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    &PROGRAMS[sum % PROGRAMS.len()]
}

pub fn objects() -> Seeds {
    ready(seeds::objects())
}

pub fn nics() -> Seeds {
    ready(seeds::btfs())
}

pub fn locals() -> Seeds {
    let section = |(name, elf): (String, Vec<u8>)| (name, fixture::section(&elf, ".BTF").expect(".BTF").to_vec());
    ready(seeds::objects().into_iter().map(section).collect())
}

pub fn records() -> Seeds {
    ready(seeds::exts())
}

/// An object that someone else compiled, linked in every way. What comes out is an object again.
pub fn link(bytes: &[u8]) {
    match Object::parse(bytes.to_vec()) {
        Ok(object) => link_all_ways(&object, &UNIVERSE),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A NIC BTF from a vendor, for a good program.
pub fn nic(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes.to_vec()) else { return };
    let mut universe = Universe::new(Arc::clone(&BASE));
    match universe.add("nic", Arc::new(btf)) {
        Ok(_) => {
            // With and without a layout of the name that the programs ask for.
            let _ = universe.add_layout("nic_meta");
            link_all_ways(&some_program(bytes).object, &universe);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn link_all_ways(object: &Object, universe: &Universe) {
    for dispatch in Dispatch::ALL {
        for walk in [true, false] {
            let options = LinkOptions { dispatch, walk, allow_missing: !walk, explain: true, ..LinkOptions::default() };
            match object.link(universe, &options) {
                Ok(linked) => drop(Object::parse(linked.bytes).expect("what was linked can be read")),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
    if let Some(error) = object.explain(universe, &LinkOptions::default()).refused {
        assert!(!error.to_string().is_empty());
    }
}

/// The `.BTF` of an object, under another's records.
pub fn local(bytes: &[u8]) {
    if let Ok(btf) = Btf::parse(bytes.to_vec()) {
        relocate(&btf, &some_program(bytes).ext);
    }
}

/// The `.BTF.ext` of an object, over another's types.
pub fn record(bytes: &[u8]) {
    if let Ok(ext) = BtfExt::parse(bytes) {
        relocate(&some_program(bytes).btf, &ext);
    }
}

/// Resolves each record and patches instructions of each sort by it.
fn relocate(local: &Btf, ext: &BtfExt) {
    for layout in [None, Some(0), Some(1)] {
        let mut resolver = Resolver::new(local, &UNIVERSE, Binding { layout, ..Binding::default() });
        resolver.prepare(ext.relos.iter().flat_map(|section| &section.records));
        for relo in ext.relos.iter().flat_map(|section| &section.records) {
            match resolver.resolve(relo) {
                Ok(answer) => {
                    for code in [0x18, 0x61, 0x62, 0x63, 0x81, 0x85, 0xb7, 0xbf] {
                        let mut insns = [0; 24];
                        insns[0] = code;
                        let at = relo.insn_off as usize % 32;
                        std::hint::black_box(patch(&mut insns, at, ext.order, &answer).is_ok());
                    }
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            std::hint::black_box(resolver.explain(relo).is_ok());
        }
    }
}
