//! ELF bytes to [`Image`].

use bytes::Bytes;
use object::elf;
use object::read::elf::{
    FileHeader as _, Rel as _, Rela as _, SectionHeader as _, SectionTable, Sym as _, SymbolTable,
};
use object::{Endianness, SectionIndex, SymbolIndex};
use xhint_bpf::{Arena, SymbolId};
use xhint_btf::ByteOrder;

use super::{Image, Relocation, Relocations, Section, SectionContent, SectionId, Symbol, SymbolPlace, drop_dependents};
use crate::Error;

type Header = elf::FileHeader64<Endianness>;
type Sections<'a> = SectionTable<'a, Header>;
type Symbols<'a> = SymbolTable<'a, Header>;

/// `SHT_LLVM_ADDRSIG` of llvm/BinaryFormat/ELF.h.
const LLVM_ADDRSIG: elf::SectionType = elf::SectionType(0x6fff_4c03);

impl Image {
    /// Reads a 64-bit eBPF relocatable of either byte order.
    ///
    /// # Errors
    /// [`Error::NotElf`], [`Error::NotBpf`] for another machine or file type, [`Error::Elf`] for bytes that make no ELF
    /// file.
    pub fn read(file: &Bytes) -> Result<Image, Error> {
        let data = &file[..];
        if !data.starts_with(b"\x7fELF") {
            return Err(Error::NotElf);
        }
        if data.get(4) != Some(&elf::ELFCLASS64.0) {
            return Err(Error::NotBpf { what: "it is not a 64-bit ELF file".to_owned() });
        }
        let header = Header::parse(data)?;
        let endian = header.endian()?;
        let (machine, kind) = (header.e_machine(endian), header.e_type(endian));
        if machine != elf::EM_BPF && machine != elf::EM_NONE {
            return Err(Error::NotBpf { what: format!("it is made for machine {}", machine.0) });
        }
        if kind != elf::ET_REL {
            return Err(Error::NotBpf { what: format!("it is of ELF type {}, not a relocatable", kind.0) });
        }
        let table = header.sections(endian, data)?;
        let symbols = table.symbols(endian, data, elf::SHT_SYMTAB)?;
        let reader = Reader { file, endian, table, symbols };
        reader.check_size()?;
        Ok(Image {
            order: if endian == Endianness::Big { ByteOrder::Big } else { ByteOrder::Little },
            header: object::write::elf::FileHeader::from_raw(endian, header),
            sections: reader.sections()?,
            symbols: reader.symbols()?,
        })
    }
}

struct Reader<'a> {
    file: &'a Bytes,
    endian: Endianness,
    table: Sections<'a>,
    symbols: Symbols<'a>,
}

impl Reader<'_> {
    /// Refuses sections that lie over one another, and a symbol table whose names do: what they add up to could not
    /// be held in memory, and no compiler makes them.
    fn check_size(&self) -> Result<(), Error> {
        let in_file = |s: &elf::SectionHeader64<Endianness>| match s.sh_type(self.endian) {
            elf::SHT_NOBITS | elf::SHT_NULL => 0,
            _ => s.sh_size(self.endian),
        };
        let room = self.file.len() as u64;
        if self.table.iter().map(in_file).fold(0, u64::saturating_add) > room {
            return Err(Error::Overlap { what: "sections" });
        }
        let mut left = room.saturating_mul(4);
        let mut take = |name: &[u8]| match left.checked_sub(name.len() as u64) {
            Some(rest) => {
                left = rest;
                Ok(())
            }
            None => Err(Error::Overlap { what: "names of symbols and sections" }),
        };
        self.symbols.iter().try_for_each(|s| take(self.symbols.symbol_name(self.endian, s)?))?;
        self.table.iter().try_for_each(|s| take(self.table.section_name(self.endian, s)?))
    }

    fn sections(&self) -> Result<Arena<SectionId, Section>, Error> {
        // The first one is null, whatever its header says.
        let mut all = Arena::from_iter([made("", elf::SHT_NULL, SectionContent::Bytes(Bytes::new()))]);
        for (index, header) in self.table.enumerate().skip(1) {
            all.push(self.section(index, header)?);
        }
        drop_dependents(&mut all);
        // Names need a place when it is written, even if all that was read are empty.
        if !all.iter().any(|s| matches!(s.content, SectionContent::Strings)) {
            all.push(made(".strtab", elf::SHT_STRTAB, SectionContent::Strings));
        }
        Ok(all)
    }

    fn section(&self, index: SectionIndex, header: &elf::SectionHeader64<Endianness>) -> Result<Section, Error> {
        let endian = self.endian;
        let name = text(self.table.section_name(endian, header)?)?;
        // Section 0 is none, whatever its header says.
        let kind = if index == SectionIndex(0) { elf::SHT_NULL } else { header.sh_type(endian) };
        let content = match kind {
            elf::SHT_NULL => SectionContent::Bytes(Bytes::new()),
            elf::SHT_NOBITS => SectionContent::Zeroes(header.sh_size(endian)),
            elf::SHT_SYMTAB if index == self.symbols.section() => SectionContent::Symbols,
            elf::SHT_REL | elf::SHT_RELA => SectionContent::Relocations(self.relocations(&name, header)?),
            elf::SHT_STRTAB => SectionContent::Strings,
            _ => SectionContent::Bytes(self.file.slice_ref(header.data(endian, &self.file[..])?)),
        };
        let link = header.sh_link(endian);
        if link as usize >= self.table.len().max(1) {
            return Err(Error::Section { name, what: format!("it is linked to section {link}, which does not exist") });
        }
        Ok(Section {
            // LLVM's list of symbols whose address matters: stale as soon as symbols are renumbered, and of no use to
            // a loader.
            gone: kind == LLVM_ADDRSIG || kind == elf::SHT_SYMTAB_SHNDX,
            name,
            kind,
            flags: header.sh_flags(endian),
            align: header.sh_addralign(endian),
            entry_size: header.sh_entsize(endian),
            link: SectionId(link as usize),
            content,
        })
    }

    fn relocations(&self, name: &str, header: &elf::SectionHeader64<Endianness>) -> Result<Relocations, Error> {
        let (endian, data) = (self.endian, &self.file[..]);
        let target = header.sh_info(endian) as usize;
        if target == 0 || target >= self.table.len() {
            let what = format!("it relocates section {target}, which does not exist");
            return Err(Error::Section { name: name.to_owned(), what });
        }
        let mut entries = Vec::new();
        let mut push = |offset: u64, kind: elf::RelocationType, symbol: u32, addend: i64| {
            let symbol = symbol as usize;
            if symbol >= self.symbols.len() {
                let what = format!("the relocation at {offset:#x} names symbol {symbol}, which does not exist");
                return Err(Error::Section { name: name.to_owned(), what });
            }
            entries.push(Relocation { offset, kind, symbol: SymbolId(symbol), addend });
            Ok(())
        };
        if let Some((list, _)) = header.rel(endian, data)? {
            for r in list {
                push(r.r_offset(endian), r.r_type(endian), r.r_sym(endian), 0)?;
            }
        }
        let with_addend = header.sh_type(endian) == elf::SHT_RELA;
        if let Some((list, _)) = header.rela(endian, data)? {
            for r in list {
                push(r.r_offset(endian), r.r_type(endian, false), r.r_sym(endian, false), r.r_addend(endian))?;
            }
        }
        Ok(Relocations { target: SectionId(target), with_addend, entries })
    }

    fn symbols(&self) -> Result<Arena<SymbolId, Symbol>, Error> {
        let mut out = Arena::new();
        for (index, raw) in self.symbols.enumerate() {
            out.push(self.symbol(index, raw)?);
        }
        Ok(out)
    }

    fn symbol(&self, index: SymbolIndex, raw: &elf::Sym64<Endianness>) -> Result<Symbol, Error> {
        let endian = self.endian;
        let name = text(self.symbols.symbol_name(endian, raw)?)?;
        let place = match self.symbols.symbol_section(endian, raw, index)? {
            Some(section) if section.0 < self.table.len() => SymbolPlace::Section(SectionId(section.0)),
            Some(section) => {
                return Err(Error::Symbol {
                    number: index.0,
                    name,
                    what: format!("it stands in section {}, which does not exist", section.0),
                });
            }
            None => SymbolPlace::Special(raw.st_shndx(endian)),
        };
        Ok(Symbol {
            name,
            info: raw.st_info(),
            other: raw.st_other(),
            place,
            value: raw.st_value(endian),
            size: raw.st_size(endian),
            gone: false,
        })
    }
}

/// A section that is not in the file.
fn made(name: &str, kind: elf::SectionType, content: SectionContent) -> Section {
    let flags = elf::SectionFlags::default();
    Section { name: name.to_owned(), kind, flags, align: 1, entry_size: 0, link: SectionId(0), content, gone: false }
}

fn text(name: &[u8]) -> Result<String, Error> {
    String::from_utf8(name.to_vec()).map_err(|_| Error::Name { name: String::from_utf8_lossy(name).into_owned() })
}
