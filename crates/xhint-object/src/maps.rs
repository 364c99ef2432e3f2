//! Maps that a linked object needs beyond those it had: declared as libbpf's `.maps` declares them, by BTF.

use std::collections::BTreeSet;

use bytes::Bytes;
use object::elf;
use xhint_bpf::SymbolId;
use xhint_btf::{Array, Btf, Builder, Def, Kind, Linkage, Member, Param, SecVar};

use crate::image::{Image, Relocation};
use crate::{Error, Object};

const MAPS: &str = ".maps";
/// `BPF_MAP_TYPE_PROG_ARRAY`.
pub const PROG_ARRAY: u32 = 3;
/// `R_BPF_64_ABS64` of LLVM's ELFRelocs/BPF.def: the address of a program, as initial value.
const ABS64: elf::RelocationType = elf::RelocationType(2);

/// A map to be declared.
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its symbol, from [`Image::add_variable`].
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

/// Declares maps in `.maps`, program arrays with their programs in their first slots.
///
/// # Errors
/// [`Error::BtfWrite`] if the types outgrow BTF.
pub fn place_maps(object: &Object, image: &mut Image, btf: &mut Builder, all: &[Declared]) -> Result<(), Error> {
    let found = image.section_named(MAPS);
    let number = found.unwrap_or_else(|| image.add_section(MAPS, elf::SHF_WRITE, Bytes::new()));
    let mut bytes = image.bytes(number).to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let (mut vars, mut relocations) = (Vec::new(), Vec::new());
    for map in all {
        let offset = length(&bytes)?;
        let (type_id, declared) = map_var(btf, map)?;
        let mut own = vec![0; declared];
        for program in &map.programs {
            let at = u64::from(offset).checked_add(length(&own)?.into()).ok_or(Error::TooLong)?;
            relocations.extend(program.map(|symbol| Relocation { offset: at, kind: ABS64, symbol, addend: 0 }));
            own.extend([0; 8]);
        }
        let size = length(&own)?;
        bytes.extend(own);
        image.place_symbol(map.symbol, number, offset.into(), size.into());
        vars.push(SecVar { type_id, offset, size });
    }
    let size = length(&bytes)?;
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
    btf: &mut Builder,
    section: &str,
    variables: &[(SymbolId, String, Vec<u8>)],
) -> Result<(), Error> {
    let flags = if section.starts_with(".rodata") { elf::SectionFlags::default() } else { elf::SHF_WRITE };
    let number = image.add_section(section, flags, Bytes::new());
    let int = btf.add(&Def::unsigned("unsigned long long", 8))?;
    let (mut bytes, mut vars) = (Vec::new(), Vec::new());
    for (symbol, name, value) in variables {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let (offset, size) = (length(&bytes)?, length(value)?);
        bytes.extend(value);
        image.place_symbol(*symbol, number, offset.into(), size.into());
        let array = array(btf, int, size.div_ceil(8))?;
        let type_id = btf.add(&Def::Var { name, target: array, linkage: Linkage::Global })?;
        vars.push(SecVar { type_id, offset, size });
    }
    let size = length(&bytes)?;
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
fn map_var(btf: &mut Builder, map: &Declared) -> Result<(u32, usize), Error> {
    let int = btf.add(&Def::unsigned("int", 4))?;
    let mut members = Vec::new();
    for (name, value) in [("type", map.kind), ("max_entries", map.entries), ("key_size", map.key_size)] {
        members.push((name, number(btf, int, value)?));
    }
    // Pointers, 8 bytes each. As clang has it, the type of `values` says no length, the variable has one.
    let bytes: u8 = if map.kind == PROG_ARRAY {
        members.push(("values", programs(btf, int)?));
        24
    } else {
        members.push(("value_size", number(btf, int, map.value_size)?));
        32
    };
    let members: Vec<_> = (0..).step_by(64).zip(members).map(|(bit, (name, ty))| Member::new(name, ty, bit)).collect();
    let declared = btf.add(&Def::structure("", bytes.into(), members))?;
    let var = Def::Var { name: &map.name, target: declared, linkage: Linkage::Global };
    Ok((btf.add(&var)?, bytes.into()))
}

/// How many bytes there are, as BTF counts them.
fn length(bytes: &[u8]) -> Result<u32, Error> {
    u32::try_from(bytes.len()).map_err(|_| Error::TooLong)
}

/// What `__uint` makes of a number: a pointer to an array of so many.
fn number(btf: &mut Builder, int: u32, value: u32) -> Result<u32, Error> {
    let array = array(btf, int, value)?;
    Ok(btf.add(&Def::Ptr(array))?)
}

/// An array of pointers to programs.
fn programs(btf: &mut Builder, int: u32) -> Result<u32, Error> {
    let void_ptr = btf.add(&Def::Ptr(0))?;
    let params = [Param { name: "", type_id: void_ptr }];
    let proto = btf.add(&Def::FuncProto { result: int, params: (&params).into() })?;
    let program = btf.add(&Def::Ptr(proto))?;
    array(btf, program, 0)
}

fn array(btf: &mut Builder, elem: u32, len: u32) -> Result<u32, Error> {
    let index = btf.add(&Def::unsigned("__ARRAY_SIZE_TYPE__", 4))?;
    Ok(btf.add(&Def::Array(Array { elem, index, len }))?)
}

fn datasec(btf: &mut Builder, name: &str, size: u32, vars: &[SecVar]) -> Result<(), Error> {
    btf.add(&Def::Datasec { name, size, vars: vars.into() })?;
    Ok(())
}
