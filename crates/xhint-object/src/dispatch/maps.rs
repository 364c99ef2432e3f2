//! Maps that a linked object needs beyond those it had: declared as libbpf's `.maps` declares them, by BTF.

use bytes::Bytes;
use object::elf;
use xhint_btf::write::{NewType, Writer};
use xhint_btf::{Btf, Kind, SecVar};

use super::table::{IDS, IDS_SECTION, SLOT_COUNT, TABLE_SIZE, Table};
use crate::image::{Content, Image, Place, Relocation, Relocations, Section, Symbol};
use crate::{Error, Object};

const MAPS: &str = ".maps";
const PROG_ARRAY: u32 = 3;
/// Bytes of a declaration before its `values`: `type`, `max_entries` and `key_size`, a pointer each.
const DECLARED: u32 = 24;
/// `R_BPF_64_ABS64` of LLVM's ELFRelocs/BPF.def: the address of a program, as initial value.
const ABS64: elf::RelocationType = elf::RelocationType(2);
/// Linkage of a variable: global.
const GLOBAL: u32 = 1;

/// A program array to be declared.
pub struct Slots {
    /// Its name.
    pub name: String,
    /// Its symbol, from [`declare`].
    pub symbol: usize,
    /// Symbols of the programs that stand in the first slots.
    pub programs: Vec<Option<usize>>,
}

/// Adds a symbol for a variable that [`place_slots`] or [`place_ids`] will place.
pub fn declare(image: &mut Image, name: &str) -> usize {
    image.symbols.push(Symbol {
        name: name.to_owned(),
        info: elf::SymbolInfo::new(elf::STB_GLOBAL, elf::STT_OBJECT),
        other: elf::SymbolOther::default(),
        place: Place::Special(elf::SHN_UNDEF),
        value: 0,
        size: 0,
        gone: false,
    });
    image.symbols.len().saturating_sub(1)
}

/// Declares program arrays in `.maps`, each with its programs in its first slots.
///
/// # Errors
/// [`Error::BtfWrite`] if the types outgrow BTF.
pub fn place_slots(object: &Object, image: &mut Image, btf: &mut Writer, all: &[Slots]) -> Result<(), Error> {
    let number = image.section_named(MAPS).unwrap_or_else(|| new_section(image, MAPS));
    let mut bytes = image.bytes(number).to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let (mut vars, mut relocations) = (Vec::new(), Vec::new());
    for slots in all {
        let offset = bytes.len() as u32;
        let size = (slots.programs.len() as u32).saturating_mul(8).saturating_add(DECLARED);
        bytes.resize(bytes.len().saturating_add(size as usize), 0);
        place(image, slots.symbol, number, offset, size);
        for (slot, program) in slots.programs.iter().enumerate() {
            let at = u64::from(offset.saturating_add(DECLARED)).saturating_add((slot as u64).saturating_mul(8));
            relocations.extend(program.map(|symbol| Relocation { offset: at, kind: ABS64, symbol, addend: 0 }));
        }
        let type_id = prog_array(btf, &slots.name)?;
        vars.push(SecVar { type_id, offset, size });
    }
    let size = bytes.len() as u32;
    if let Some(section) = image.sections.get_mut(number) {
        section.content = Content::Bytes(bytes.into());
    }
    add_relocations(image, number, relocations);
    let is_maps = |t: &xhint_btf::Type<'_>| t.kind() == Kind::Datasec && t.name() == MAPS;
    let own: &Btf = object.btf();
    match own.types().find(is_maps) {
        Some(section) => {
            // A loader takes offsets and size from the symbols as long as the compiler's size, 0, stands there.
            let size = if section.size() == 0 { 0 } else { size };
            btf.add_vars(section, size, &vars)?;
            // Their places in `.BTF` have moved, and loaders take the offsets from the symbols.
            if let Some(number) = image.section_named(".BTF") {
                image.drop_relocations(number);
            }
        }
        None => {
            datasec(btf, MAPS, size, &vars)?;
        }
    }
    Ok(())
}

/// Adds the data section with the table of ids.
///
/// # Errors
/// [`Error::BtfWrite`] if the types outgrow BTF.
pub fn place_ids(image: &mut Image, btf: &mut Writer, symbol: usize, table: &Table) -> Result<(), Error> {
    let number = new_section(image, IDS_SECTION);
    let little = image.order == xhint_btf::ByteOrder::Little;
    let word = |w: &u64| if little { w.to_le_bytes() } else { w.to_be_bytes() };
    let bytes: Vec<u8> = table.words().iter().flat_map(word).collect();
    if let Some(section) = image.sections.get_mut(number) {
        section.content = Content::Bytes(Bytes::from(bytes));
    }
    place(image, symbol, number, 0, TABLE_SIZE);
    let int = int(btf, "unsigned long long", 8)?;
    let array = array(btf, int, TABLE_SIZE / 8)?;
    let var = btf.push(NewType { name: IDS, third: array, tail: &[GLOBAL], ..NewType::of(Kind::Var) })?;
    datasec(btf, IDS_SECTION, TABLE_SIZE, &[SecVar { type_id: var, offset: 0, size: TABLE_SIZE }])
}

fn place(image: &mut Image, symbol: usize, section: usize, offset: u32, size: u32) {
    if let Some(symbol) = image.symbols.get_mut(symbol) {
        symbol.place = Place::Section(section);
        symbol.value = offset.into();
        symbol.size = size.into();
    }
}

fn new_section(image: &mut Image, name: &str) -> usize {
    image.sections.push(Section {
        name: name.to_owned(),
        kind: elf::SHT_PROGBITS,
        flags: elf::SHF_ALLOC.with(elf::SHF_WRITE),
        align: 8,
        entry_size: 0,
        link: 0,
        content: Content::Bytes(Bytes::new()),
        gone: false,
    });
    image.sections.len().saturating_sub(1)
}

fn add_relocations(image: &mut Image, target: usize, new: Vec<Relocation>) {
    for section in &mut image.sections {
        if let Content::Relocations(r) = &mut section.content
            && r.target == target
            && !section.gone
        {
            r.entries.extend(new);
            return;
        }
    }
    let name = image.sections.get(target).map_or(String::new(), |s| format!(".rel{}", s.name));
    image.sections.push(Section {
        name,
        kind: elf::SHT_REL,
        flags: elf::SHF_INFO_LINK,
        align: 8,
        entry_size: 16,
        link: 0,
        content: Content::Relocations(Relocations { target, with_addend: false, entries: new }),
        gone: false,
    });
}

/// The variable that declares a program array:
/// `struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, …); __uint(key_size, 4);
/// __array(values, int (void *)); } NAME SEC(".maps") = { .values = { … } };`
fn prog_array(btf: &mut Writer, name: &str) -> Result<u32, Error> {
    let int = int(btf, "int", 4)?;
    let number = |btf: &mut Writer, value| -> Result<u32, Error> {
        let array = array(btf, int, value)?;
        Ok(btf.push(NewType { third: array, ..NewType::of(Kind::Ptr) })?)
    };
    let kind = number(btf, PROG_ARRAY)?;
    let entries = number(btf, SLOT_COUNT)?;
    let key_size = number(btf, 4)?;
    let void_ptr = btf.push(NewType::of(Kind::Ptr))?;
    let proto = btf.push(NewType { vlen: 1, third: int, tail: &[0, void_ptr], ..NewType::of(Kind::FuncProto) })?;
    let program = btf.push(NewType { third: proto, ..NewType::of(Kind::Ptr) })?;
    // As clang has it: the type says no length, the variable has one.
    let list = array(btf, program, 0)?;
    let mut tail = Vec::new();
    for (n, (member, ty)) in
        [("type", kind), ("max_entries", entries), ("key_size", key_size), ("values", list)].into_iter().enumerate()
    {
        tail.extend([btf.string(member)?, ty, (n as u32).saturating_mul(64)]);
    }
    let declared = btf.push(NewType { vlen: 4, third: DECLARED, tail: &tail, ..NewType::of(Kind::Struct) })?;
    Ok(btf.push(NewType { name, third: declared, tail: &[GLOBAL], ..NewType::of(Kind::Var) })?)
}

fn int(btf: &mut Writer, name: &str, bytes: u32) -> Result<u32, Error> {
    let bits = bytes.saturating_mul(8);
    Ok(btf.push(NewType { name, third: bytes, tail: &[bits], ..NewType::of(Kind::Int) })?)
}

fn array(btf: &mut Writer, elem: u32, len: u32) -> Result<u32, Error> {
    let index = int(btf, "__ARRAY_SIZE_TYPE__", 4)?;
    Ok(btf.push(NewType { tail: &[elem, index, len], ..NewType::of(Kind::Array) })?)
}

fn datasec(btf: &mut Writer, name: &str, size: u32, vars: &[SecVar]) -> Result<(), Error> {
    let tail: Vec<u32> = vars.iter().flat_map(|v| [v.type_id, v.offset, v.size]).collect();
    let vlen = vars.len() as u32;
    btf.push(NewType { name, vlen, third: size, tail: &tail, ..NewType::of(Kind::Datasec) })?;
    Ok(())
}
