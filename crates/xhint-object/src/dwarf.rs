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
    let _rest_is_unreadable = read(image, &mut out);
    out
}

fn read(image: &Image, out: &mut Vec<String>) -> gimli::Result<()> {
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
            if let Some(name) = name(&dwarf, &unit, entry)? {
                out.push(name);
            }
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
