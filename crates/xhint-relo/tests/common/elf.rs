//! Relocation of whole objects without a linker.

use std::collections::HashMap;
use std::path::Path;

use xhint_btf::Btf;
use xhint_btf::ext::BtfExt;
use xhint_relo::{Binding, Resolver, patch_bytes};
use xhint_testkit::damage::{Elf, Section};
use xhint_universe::Universe;

/// The object with its instructions patched where they stand and its CO-RE records hidden.
pub fn link(object: &Path, universe: &Universe, binding: Binding) -> Result<Vec<u8>, String> {
    let mut bytes = std::fs::read(object).unwrap();
    let elf = Elf::read(&bytes).unwrap();
    let sections: HashMap<String, Section> = elf.sections().into_iter().map(|s| (s.name.clone(), s)).collect();
    let contents = |name: &str| {
        let section = &sections[name];
        bytes[section.offset..section.offset + section.size].to_vec()
    };
    let local = Btf::parse(contents(".BTF")).unwrap();
    let ext = BtfExt::parse(&contents(".BTF.ext")).unwrap();
    let mut resolver = Resolver::new(&local, universe, binding);
    resolver.prepare(ext.relos.iter().flat_map(|section| &section.records));
    for group in &ext.relos {
        let code = &sections[local.str_at(group.name_off).unwrap()];
        for relo in &group.records {
            let resolution = resolver.resolve(relo).map_err(|e| e.to_string())?;
            let code = &mut bytes[code.offset..code.offset + code.size];
            patch_bytes(code, relo.insn_off as usize, ext.order, &resolution)
                .map_err(|e| format!("{}+{}: {e}", code.len(), relo.insn_off))?;
        }
    }
    // `core_relo_len` of the header.
    let at = sections[".BTF.ext"].offset + 28;
    bytes[at..at + 4].fill(0);
    Ok(bytes)
}
