//! The structs that the compiler's debug information describes.
//!
//! BTF of an eBPF object has the types of functions' parameters, of variables and of relocated accesses; those of local
//! variables and casts are in DWARF alone.

use std::collections::HashMap;
use std::ops::Range;

use gimli::{AttributeValue, DebuggingInformationEntry, Dwarf, EndianSlice, RunTimeEndian, SectionId, Unit};
use xhint_btf::ByteOrder;

use crate::image::Image;

type Bytes<'a> = EndianSlice<'a, RunTimeEndian>;

/// Whether a struct, or anything else, of a name that `fits` can be described: a name is a string of its own.
pub fn may_have(image: &Image, fits: impl Fn(&str) -> bool) -> bool {
    let strings = section(image, ".debug_str").split(|b| *b == 0);
    strings.filter_map(|s| std::str::from_utf8(s).ok()).any(fits)
}

/// A struct or union with its members, those of structs within it too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Described {
    /// Its name, or that of a typedef where it has none.
    pub name: String,
    /// Names of members, and their bits from the start of the struct.
    pub members: Vec<(String, Range<u32>)>,
    /// The names of structs within it.
    pub inner: Vec<String>,
}

/// The structs and unions with members, and typedefs of those without a name, whose name `fits`. What cannot be read is left
/// out.
pub fn structs(image: &Image, fits: impl Fn(&str) -> bool) -> Vec<Described> {
    let (mut units, mut found) = (Vec::<Types>::new(), Vec::new());
    let _rest_is_unreadable = read(image, &mut |dwarf, unit, entry| {
        if entry.depth() == 0 {
            units.push(Types::default());
        }
        let number = units.len();
        let Some(own) = units.last_mut() else { return Ok(()) };
        own.add(dwarf, unit, entry)?;
        found.extend(name(dwarf, unit, entry)?.filter(|name| fits(name)).map(|name| (number, entry.offset().0, name)));
        Ok(())
    });
    let describe = |(number, at, name): (usize, usize, String)| {
        let mut out = Described { name, ..Described::default() };
        units.get(number.checked_sub(1)?)?.members(at, 0, &mut out, MAX_DEPTH);
        Some(out)
    };
    found.into_iter().filter_map(describe).collect()
}

/// Structs within structs that are looked into: more than the compiler makes.
const MAX_DEPTH: usize = 16;
/// Members of one struct that are listed: more than there are.
const MAX_MEMBERS: usize = 4096;

/// The types of one unit, by their place in it.
#[derive(Default)]
struct Types {
    types: HashMap<usize, TypeEntry>,
    /// The structs, unions and arrays around the entry that is read, with their depth.
    around: Vec<(isize, usize)>,
}

/// What is known of one type.
#[derive(Default)]
struct TypeEntry {
    name: String,
    /// In bytes.
    size: Option<u64>,
    /// What a typedef, a qualifier or an array is of.
    of: Option<usize>,
    /// Elements of an array.
    count: Option<u64>,
    is_composite: bool,
    members: Vec<DwarfMember>,
}

struct DwarfMember {
    name: String,
    /// From the start.
    bit: u64,
    /// Bits of a bitfield.
    bits: Option<u64>,
    ty: usize,
}

impl Types {
    /// Notes what an entry says of types.
    fn add(
        &mut self,
        dwarf: &Dwarf<Bytes<'_>>,
        unit: &Unit<Bytes<'_>>,
        entry: &DebuggingInformationEntry<Bytes<'_>>,
    ) -> gimli::Result<()> {
        let depth = entry.depth();
        while self.around.pop_if(|(around, _)| *around >= depth).is_some() {}
        let number = |name| entry.attr_value(name).and_then(|value| value.udata_value());
        let of = match entry.attr_value(gimli::DW_AT_type) {
            Some(AttributeValue::UnitRef(at)) => Some(at.0),
            _ => None,
        };
        let name = match entry.attr_value(gimli::DW_AT_name) {
            Some(name) => dwarf.attr_string(unit, name)?.to_string_lossy().into_owned(),
            None => String::new(),
        };
        let around = self.around.last().and_then(|(_, at)| self.types.get_mut(at));
        match (entry.tag(), around) {
            (gimli::DW_TAG_member, Some(around)) => {
                let byte = number(gimli::DW_AT_data_member_location).unwrap_or_default();
                let bit = number(gimli::DW_AT_data_bit_offset).or_else(|| byte.checked_mul(8));
                let bits = number(gimli::DW_AT_bit_size);
                around.members.extend(bit.zip(of).map(|(bit, ty)| DwarfMember { name, bit, bits, ty }));
            }
            (gimli::DW_TAG_subrange_type, Some(around)) => {
                let count = number(gimli::DW_AT_count);
                let all = around.count.unwrap_or(1).checked_mul(count.unwrap_or_default());
                around.count = all;
            }
            (tag, _) => {
                let is_composite = is_described(entry);
                if is_composite || tag == gimli::DW_TAG_array_type {
                    self.around.push((depth, entry.offset().0));
                }
                let size = number(gimli::DW_AT_byte_size);
                let ty = TypeEntry { name, size, of, is_composite, ..TypeEntry::default() };
                self.types.insert(entry.offset().0, ty);
            }
        }
        Ok(())
    }

    /// Bytes of a type.
    fn size(&self, at: usize, depth: usize) -> Option<u64> {
        let (ty, deeper) = (self.types.get(&at)?, depth.checked_sub(1)?);
        match ty.size {
            Some(size) => Some(size),
            None => self.size(ty.of?, deeper)?.checked_mul(ty.count.unwrap_or(1)),
        }
    }

    /// Lists the members of the type at `at`, which begins at bit `base`.
    fn members(&self, at: usize, base: u64, out: &mut Described, depth: usize) {
        let (Some(ty), Some(deeper)) = (self.types.get(&at), depth.checked_sub(1)) else { return };
        if !ty.is_composite {
            // Of an array, the first element.
            ty.of.into_iter().for_each(|of| self.members(of, base, out, deeper));
            return;
        }
        if depth < MAX_DEPTH && !ty.name.is_empty() {
            out.inner.push(ty.name.clone());
        }
        for member in &ty.members {
            let bits = || {
                let start = base.checked_add(member.bit)?;
                let size = member.bits.or_else(|| self.size(member.ty, MAX_DEPTH)?.checked_mul(8))?;
                Some((u32::try_from(start).ok()?, u32::try_from(start.checked_add(size)?).ok()?))
            };
            let Some((start, end)) = bits().filter(|_| out.members.len() < MAX_MEMBERS) else { continue };
            if !member.name.is_empty() {
                out.members.push((member.name.clone(), start..end));
            }
            self.members(member.ty, start.into(), out, deeper);
        }
    }
}

/// The names of structs and unions that have a member so called. What cannot be read is left out.
pub fn having(image: &Image, member: &str) -> Vec<String> {
    let (mut out, mut inside) = (Vec::new(), None);
    let _rest_is_unreadable = read(image, &mut |dwarf, unit, entry| {
        if is_described(entry) {
            inside = name(dwarf, unit, entry)?.map(|name| (entry.depth(), name));
        } else if entry.tag() == gimli::DW_TAG_member
            && let Some((depth, owner)) = &inside
            && entry.depth() == depth.saturating_add(1)
            && let Some(own) = entry.attr_value(gimli::DW_AT_name)
            && *dwarf.attr_string(unit, own)? == *member.as_bytes()
        {
            out.push(owner.clone());
        }
        Ok(())
    });
    out
}

/// What is shown every entry.
type Visit<'v, 'a> =
    dyn FnMut(&Dwarf<Bytes<'a>>, &Unit<Bytes<'a>>, &DebuggingInformationEntry<Bytes<'a>>) -> gimli::Result<()> + 'v;

/// Shows `visit` every entry.
fn read<'a>(image: &'a Image, visit: &mut Visit<'_, 'a>) -> gimli::Result<()> {
    let endian = match image.order {
        ByteOrder::Little => RunTimeEndian::Little,
        ByteOrder::Big => RunTimeEndian::Big,
    };
    // Sections of an object refer to each other by offsets that stand in place: each begins where its symbol says, at 0.
    let load = |id: SectionId| Ok::<_, gimli::Error>(EndianSlice::new(section(image, id.name()), endian));
    let dwarf = Dwarf::load(load)?;
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        let unit = dwarf.unit(header)?;
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            visit(&dwarf, &unit, entry)?;
        }
    }
    Ok(())
}

fn name(
    dwarf: &Dwarf<Bytes<'_>>,
    unit: &Unit<Bytes<'_>>,
    entry: &DebuggingInformationEntry<Bytes<'_>>,
) -> gimli::Result<Option<String>> {
    let described = match entry.tag() {
        gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type => is_described(entry),
        gimli::DW_TAG_typedef => match entry.attr_value(gimli::DW_AT_type) {
            Some(AttributeValue::UnitRef(at)) => {
                let target = unit.entry(at)?;
                is_described(&target) && target.attr_value(gimli::DW_AT_name).is_none()
            }
            _ => false,
        },
        _ => false,
    };
    let Some(name) = entry.attr_value(gimli::DW_AT_name).filter(|_| described) else { return Ok(None) };
    Ok(Some(dwarf.attr_string(unit, name)?.to_string_lossy().into_owned()))
}

/// Whether it is a struct or union with its members, not merely declared.
fn is_described(entry: &DebuggingInformationEntry<Bytes<'_>>) -> bool {
    matches!(entry.tag(), gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type)
        && entry.attr_value(gimli::DW_AT_declaration).is_none()
        && entry.attr_value(gimli::DW_AT_byte_size).is_some()
}

fn section<'a>(image: &'a Image, name: &str) -> &'a [u8] {
    image.section_named(name).map_or(&[], |number| image.bytes(number))
}
