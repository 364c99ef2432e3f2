//! [`Image`] to ELF bytes: the header, the sections in their order, the section headers.

use object::write::elf::{Encoder, FileHeaderLayout, Rel, SectionHeader, Sym};
use object::write::{StringId, StringTable};
use object::{Endianness, elf};
use xhint_bpf::{Arena, SymbolId};
use xhint_btf::ByteOrder;

use super::{Image, Relocations, Section, SectionContent, SectionId, Symbol, SymbolPlace};
use crate::Error;

impl Image {
    /// The bytes of the object. The same image gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Write`] if a table outgrows what ELF can count; [`Error::NoSection`] without one for names or symbols.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let mut names = StringTable::new();
        let section_names: Arena<SectionId, _> =
            self.sections.iter().map(|s| name_id(&mut names, &s.name, s.gone)).collect();
        let symbol_names: Arena<SymbolId, _> =
            self.symbols.iter().map(|s| name_id(&mut names, &s.name, s.gone)).collect();
        let mut strings = vec![0];
        names.write(&mut strings, 1)?;
        let offset = |id: &Option<StringId>| names.maybe_get_offset(*id);
        let writer = Writer {
            image: self,
            encoder: Encoder::new(endianness(self.order), true, self.header.e_machine),
            section_names: section_names.iter().map(offset).collect(),
            symbol_names: symbol_names.iter().map(offset).collect(),
            strings,
            sections: self.new_section_numbers(),
            symbols: self.symbol_order(),
        };
        writer.file()
    }

    /// By old number the new one, 0 for what goes.
    fn new_section_numbers(&self) -> Arena<SectionId, u32> {
        let mut next = 0u32;
        let mut number = |section: &Section| {
            let here = if section.gone { 0 } else { next };
            next = next.saturating_add(u32::from(!section.gone));
            here
        };
        self.sections.iter().map(&mut number).collect()
    }

    /// Which symbols are written in which order: as they are, local ones first as ELF wants it, without those whose
    /// section goes.
    fn symbol_order(&self) -> Vec<SymbolId> {
        let stays = |id: &SymbolId| match self.symbols.at(*id) {
            symbol if symbol.gone => false,
            Symbol { place: SymbolPlace::Section(section), .. } => !self.sections.at(*section).gone,
            _ => true,
        };
        let mut order: Vec<_> = self.symbols.ids().filter(stays).collect();
        order.sort_by_key(|id| !self.symbols.at(*id).is_local());
        order
    }
}

fn name_id<'a>(names: &mut StringTable<'a>, name: &'a str, gone: bool) -> Option<StringId> {
    (!gone && !name.is_empty()).then(|| names.add(name.as_bytes()))
}

fn endianness(order: ByteOrder) -> Endianness {
    match order {
        ByteOrder::Little => Endianness::Little,
        ByteOrder::Big => Endianness::Big,
    }
}

struct Writer<'a> {
    image: &'a Image,
    encoder: Encoder<Endianness>,
    section_names: Arena<SectionId, u32>,
    symbol_names: Arena<SymbolId, u32>,
    strings: Vec<u8>,
    /// By old number the new one.
    sections: Arena<SectionId, u32>,
    symbols: Vec<SymbolId>,
}

impl Writer<'_> {
    fn file(&self) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; self.encoder.file_header_size() as usize];
        let mut headers = Vec::new();
        for number in self.stays().skip(1) {
            headers.push(self.section(number, &mut out)?);
        }
        align(&mut out, 8);
        let layout = FileHeaderLayout {
            e_shoff: out.len() as u64,
            section_num: (headers.len() as u32).saturating_add(1),
            shstrtab_index: self.strings_number()?,
            ..FileHeaderLayout::default()
        };
        self.encoder.null_section_header(&mut out, &layout);
        for header in &headers {
            self.encoder.section_header(&mut out, header);
        }
        let mut head = Vec::new();
        self.encoder.file_header(&mut head, &self.image.header, &layout)?;
        for (to, from) in out.iter_mut().zip(head) {
            *to = from;
        }
        Ok(out)
    }

    fn stays(&self) -> impl Iterator<Item = SectionId> {
        self.image.sections.ids().filter(|id| !self.image.sections.at(*id).gone)
    }

    /// The new number of the first section with such content, which is mostly called `name`.
    fn number_of(&self, name: &'static str, fits: impl Fn(&SectionContent) -> bool) -> Result<u32, Error> {
        let found = self.stays().find(|id| fits(&self.image.sections.at(*id).content));
        found.map(|id| *self.sections.at(id)).ok_or(Error::NoSection { name, hint: "" })
    }

    /// That of the names.
    fn strings_number(&self) -> Result<u32, Error> {
        self.number_of(".strtab", |c| matches!(c, SectionContent::Strings))
    }

    /// Appends the content of a section, and gives its header.
    fn section(&self, id: SectionId, out: &mut Vec<u8>) -> Result<SectionHeader, Error> {
        let section = self.image.sections.at(id);
        align(out, section.align);
        let start = out.len();
        let (mut link, mut info, mut zeroes) = (*self.sections.at(section.link), 0, 0);
        match &section.content {
            SectionContent::Bytes(bytes) => out.extend_from_slice(bytes),
            SectionContent::Zeroes(size) => zeroes = *size,
            SectionContent::Strings => out.extend_from_slice(&self.strings),
            SectionContent::Symbols => {
                link = self.strings_number()?;
                info = self.write_symbols(out);
            }
            SectionContent::Relocations(relocations) => {
                link = self.number_of(".symtab", |c| matches!(c, SectionContent::Symbols))?;
                info = *self.sections.at(relocations.target);
                self.write_relocations(relocations, out);
            }
        }
        Ok(SectionHeader {
            sh_name: *self.section_names.at(id),
            sh_type: section.kind,
            sh_flags: section.flags,
            sh_addr: 0,
            sh_offset: start as u64,
            sh_size: (out.len().saturating_sub(start) as u64).saturating_add(zeroes),
            sh_link: link,
            sh_info: info,
            sh_addralign: section.align,
            sh_entsize: section.entry_size,
        })
    }

    /// Appends the symbols, and gives the number of local ones.
    fn write_symbols(&self, out: &mut Vec<u8>) -> u32 {
        let mut local = 0u32;
        for id in &self.symbols {
            let symbol = self.image.symbols.at(*id);
            local = local.saturating_add(u32::from(symbol.is_local()));
            let (section, special) = match symbol.place {
                SymbolPlace::Section(section) => (Some(*self.sections.at(section)), elf::SHN_UNDEF),
                SymbolPlace::Special(special) => (None, special),
            };
            let raw = Sym {
                section,
                st_name: *self.symbol_names.at(*id),
                st_info: symbol.info,
                st_other: symbol.other,
                st_shndx: special,
                st_value: symbol.value,
                st_size: symbol.size,
            };
            self.encoder.symbol(out, &raw);
        }
        local
    }

    fn write_relocations(&self, relocations: &Relocations, out: &mut Vec<u8>) {
        // What is relocated by a symbol that goes names none.
        let mut numbers: Arena<SymbolId, u32> = self.image.symbols.iter().map(|_| 0).collect();
        (0u32..).zip(&self.symbols).for_each(|(new, old)| *numbers.at_mut(*old) = new);
        for r in &relocations.entries {
            let symbol = *numbers.at(r.symbol);
            let raw = Rel { r_offset: r.offset, r_sym: symbol, r_type: r.kind, r_addend: r.addend };
            self.encoder.relocation(out, relocations.with_addend, &raw);
        }
    }
}

/// Pads with zeroes to a multiple of `to`, as far as that makes sense: an ELF section of an object is aligned to a page
/// at most.
fn align(out: &mut Vec<u8>, to: u64) {
    let to = to.clamp(1, 4096) as usize;
    out.resize(out.len().next_multiple_of(to), 0);
}
