//! Maps that a linked object needs beyond those it had: declared as libbpf's `.maps` declares them, by BTF.

use std::collections::BTreeSet;

use bytes::Bytes;
use object::elf;
use xhint_bpf::SymbolId;
use xhint_btf::write::{NewType, Writer};
use xhint_btf::{Btf, Kind, SecVar};

use crate::image::{Image, Relocation};
use crate::{Error, Object};

const MAPS: &str = ".maps";
/// `BPF_MAP_TYPE_PROG_ARRAY`.
pub const PROG_ARRAY: u32 = 3;
/// `R_BPF_64_ABS64` of LLVM's ELFRelocs/BPF.def: the address of a program, as initial value.
const ABS64: elf::RelocationType = elf::RelocationType(2);
/// Linkage of a variable: global.
const GLOBAL: u32 = 1;

/// A map to be declared.
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its symbol, from [`declare`].
    pub symbol: SymbolId,
    /// Number of its kind in `enum bpf_map_type`.
    pub kind: u32,
    /// Entries.
    pub entries: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value; program arrays say what they hold instead.
    pub value_size: u32,
    /// Of a program array: symbols of the programs that stand in the first slots.
    pub programs: Vec<Option<SymbolId>>,
}

/// Adds a symbol for a variable that [`place_maps`] or [`place_data`] will place.
pub fn declare(image: &mut Image, name: &str) -> SymbolId {
    image.add_symbol(name.to_owned(), elf::STB_GLOBAL, elf::STT_OBJECT)
}

/// Declares maps in `.maps`, program arrays with their programs in their first slots.
///
/// # Errors
/// [`Error::BtfWrite`] if the types outgrow BTF.
pub fn place_maps(object: &Object, image: &mut Image, btf: &mut Writer, all: &[Declared]) -> Result<(), Error> {
    let found = image.section_named(MAPS);
    let number = found.unwrap_or_else(|| image.add_section(MAPS, elf::SHF_WRITE, Bytes::new()));
    let mut bytes = image.bytes(number).to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let (mut vars, mut relocations) = (Vec::new(), Vec::new());
    for map in all {
        let offset = bytes.len() as u32;
        let (type_id, declared) = map_var(btf, map)?;
        let size = (map.programs.len() as u32).saturating_mul(8).saturating_add(declared);
        bytes.resize(bytes.len().saturating_add(size as usize), 0);
        image.place_symbol(map.symbol, number, offset.into(), size.into());
        for (slot, program) in map.programs.iter().enumerate() {
            let at = u64::from(offset.saturating_add(declared)).saturating_add((slot as u64).saturating_mul(8));
            relocations.extend(program.map(|symbol| Relocation { offset: at, kind: ABS64, symbol, addend: 0 }));
        }
        vars.push(SecVar { type_id, offset, size });
    }
    let size = bytes.len() as u32;
    image.set_bytes(number, bytes.into());
    image.change_relocations(number, |all| all.extend(relocations));
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

/// Adds a data section with these variables of 64-bit words: symbol, name, bytes.
///
/// # Errors
/// [`Error::BtfWrite`] if the types outgrow BTF.
pub fn place_data(
    image: &mut Image,
    btf: &mut Writer,
    section: &str,
    variables: &[(SymbolId, String, Vec<u8>)],
) -> Result<(), Error> {
    let flags = if section.starts_with(".rodata") { elf::SectionFlags::default() } else { elf::SHF_WRITE };
    let number = image.add_section(section, flags, Bytes::new());
    let int = int(btf, "unsigned long long", 8)?;
    let (mut bytes, mut vars) = (Vec::new(), Vec::new());
    for (symbol, name, value) in variables {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let (offset, size) = (bytes.len() as u32, value.len() as u32);
        bytes.extend(value);
        image.place_symbol(*symbol, number, offset.into(), size.into());
        let array = array(btf, int, size.div_ceil(8))?;
        let type_id = btf.push(NewType { name, third: array, tail: &[GLOBAL], ..NewType::of(Kind::Var) })?;
        vars.push(SecVar { type_id, offset, size });
    }
    let size = bytes.len() as u32;
    image.set_bytes(number, bytes.into());
    datasec(btf, section, size, &vars)
}

/// Names of the functions that stand in maps of the object in `file` from the start: what a loader must load with them.
///
/// # Errors
/// What is wrong with the ELF.
pub fn initial_programs(file: &Bytes) -> Result<BTreeSet<String>, Error> {
    let image = Image::read(file)?;
    let Some(maps) = image.section_named(MAPS) else { return Ok(BTreeSet::new()) };
    let symbols = image.relocations(maps).map(|r| image.symbols.at(r.symbol));
    Ok(symbols.filter(|s| s.is_function()).map(|s| s.name.clone()).collect())
}

/// The variable that declares a map as libbpf's `bpf_helpers.h` does, and the bytes of its struct:
/// `struct { __uint(type, …); __uint(max_entries, …); __uint(key_size, …); __uint(value_size, …); } NAME SEC(".maps");`,
/// for a program array with `__array(values, int (void *)); } NAME SEC(".maps") = { .values = { … } };`
fn map_var(btf: &mut Writer, map: &Declared) -> Result<(u32, u32), Error> {
    let int = int(btf, "int", 4)?;
    let mut members = Vec::new();
    for (name, value) in [("type", map.kind), ("max_entries", map.entries), ("key_size", map.key_size)] {
        members.push((name, number(btf, int, value)?));
    }
    // As clang has it: the type of `values` says no length, the variable has one.
    let mut bytes = (members.len() as u32).saturating_mul(8);
    if map.kind == PROG_ARRAY {
        members.push(("values", programs(btf, int)?));
    } else {
        members.push(("value_size", number(btf, int, map.value_size)?));
        bytes = bytes.saturating_add(8);
    }
    let mut tail = Vec::new();
    for (n, (member, ty)) in members.iter().enumerate() {
        tail.extend([btf.string(member)?, *ty, (n as u32).saturating_mul(64)]);
    }
    let vlen = members.len() as u32;
    let declared = btf.push(NewType { vlen, third: bytes, tail: &tail, ..NewType::of(Kind::Struct) })?;
    let var = NewType { name: &map.name, third: declared, tail: &[GLOBAL], ..NewType::of(Kind::Var) };
    Ok((btf.push(var)?, bytes))
}

/// What `__uint` makes of a number: a pointer to an array of so many.
fn number(btf: &mut Writer, int: u32, value: u32) -> Result<u32, Error> {
    let array = array(btf, int, value)?;
    Ok(btf.push(NewType { third: array, ..NewType::of(Kind::Ptr) })?)
}

/// An array of pointers to programs.
fn programs(btf: &mut Writer, int: u32) -> Result<u32, Error> {
    let void_ptr = btf.push(NewType::of(Kind::Ptr))?;
    let proto = btf.push(NewType { vlen: 1, third: int, tail: &[0, void_ptr], ..NewType::of(Kind::FuncProto) })?;
    let program = btf.push(NewType { third: proto, ..NewType::of(Kind::Ptr) })?;
    array(btf, program, 0)
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
