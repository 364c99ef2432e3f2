//! CO-RE relocations of code that was put elsewhere: each goes with its function.

use std::collections::BTreeMap;

use xhint_bpf::SymbolId;
use xhint_btf::Builder;
use xhint_btf::ext::{BtfExt, CoreRelo, ExtSection};

use crate::image::{Image, SectionId, SymbolPlace};
use crate::{Error, Object};

/// Relocations by section, where their functions stand now.
#[derive(Default)]
pub(crate) struct Records(BTreeMap<SectionId, Vec<CoreRelo>>);

impl Records {
    /// Takes those of `object`, whose code lies in `image` now. `now` says which symbol a function has there and what its
    /// relocation is; those of which it says nothing are dropped.
    pub fn add(
        &mut self,
        image: &Image,
        object: &Object,
        now: impl Fn(SymbolId, CoreRelo) -> Option<(SymbolId, CoreRelo)>,
    ) -> Result<(), Error> {
        for relo in object.relos() {
            let function = object.function_of(relo);
            let Some((symbol, core)) = now(function.symbol, relo.core) else { continue };
            let symbol = image.symbols.at(symbol);
            let SymbolPlace::Section(section) = symbol.place else { continue };
            let at = symbol.value.checked_add(function.start_of(relo.instruction) as u64);
            let insn_off = at.and_then(|at| u32::try_from(at).ok()).ok_or(Error::TooLong)?;
            self.0.entry(section).or_default().push(CoreRelo { insn_off, ..core });
        }
        Ok(())
    }

    /// Writes them into `ext`, in the place of what is there.
    pub fn put(self, ext: &mut BtfExt, image: &Image, btf: &mut Builder) -> Result<(), Error> {
        ext.relos.clear();
        for (section, mut records) in self.0 {
            records.sort_by_key(|relo| relo.insn_off);
            let name_off = btf.string(&image.sections.at(section).name)?;
            ext.relos.push(ExtSection { name_off, records });
        }
        Ok(())
    }
}
