//! Names of the structs that the compiler's debug information describes.
//!
//! BTF of an eBPF object has the types of functions' parameters, of variables and of relocated accesses; those of local
//! variables and casts are in DWARF alone.

use gimli::{AttributeValue, DebuggingInformationEntry, Dwarf, EndianSlice, RunTimeEndian, SectionId, Unit};
use xhint_btf::ByteOrder;

use crate::image::Image;

type Bytes<'a> = EndianSlice<'a, RunTimeEndian>;

/// Whether a struct, or anything else, of a name that `fits` can be described: a name is a string of its own.
pub fn may_have(image: &Image, fits: impl Fn(&str) -> bool) -> bool {
    let strings = section(image, ".debug_str").split(|b| *b == 0);
    strings.filter_map(|s| std::str::from_utf8(s).ok()).any(fits)
}

/// The names of structs and unions with members, and of typedefs of those without a name. What cannot be read is left out.
pub fn structs(image: &Image) -> Vec<String> {
    let mut out = Vec::new();
    let _rest_is_unreadable = read(image, &mut |dwarf, unit, entry| {
        out.extend(name(dwarf, unit, entry)?);
        Ok(())
    });
    out
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
