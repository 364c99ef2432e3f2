//! Everything that stands in a layout, and where nothing does.

use xhint_btf::{Btf, ByteOrder, Kind};

use crate::hint::Hint;
use crate::tags::Tags;
use crate::walk::{Go, Visit, Visited, WalkFault, What, walk};

/// All fields of a layout and all gaps between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// In the order of the BTF: a struct, union or array of such is followed by what is in it. A struct or union without a
    /// name is no field; its members are.
    pub fields: Vec<Field>,
    /// Bits that no field has, in order; the last of them may be the padding at the end.
    pub gaps: Vec<Gap>,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// As C writes it from the struct on.
    pub path: String,
    /// Its type, as C writes it.
    pub type_name: String,
    /// What it is.
    pub what: What,
    /// Bits from the layout's first byte on.
    pub bit_offset: u64,
    /// Its width in bits.
    pub bits: u64,
    /// The order of its bytes, or of its elements' bytes; `None` for what is no number.
    pub order: Option<ByteOrder>,
    /// What it means, if that is known.
    pub hint: Option<Hint>,
}

/// Bits that no field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Bits from the layout's first byte on.
    pub bit_offset: u64,
    /// How many.
    pub bits: u64,
    /// Whether only the end follows.
    pub tail: bool,
}

impl Fields {
    /// Those of the struct or union `type_id`.
    ///
    /// # Errors
    /// What keeps the struct from being a layout.
    pub fn of(btf: &Btf, tags: &Tags<'_>, type_id: u32) -> Result<Fields, WalkFault> {
        let ty = btf.skip_mods_and_typedefs(type_id);
        let mut gather = Gather { btf, tags, fields: Vec::new(), taken: Vec::new() };
        walk(btf, ty, &mut gather)?;
        let gaps = gaps(gather.taken, ty.bits());
        Ok(Fields { fields: gather.fields, gaps })
    }
}

struct Gather<'a, 't> {
    btf: &'a Btf,
    tags: &'t Tags<'a>,
    fields: Vec<Field>,
    /// First bits and ends of all that are numbers.
    taken: Vec<(u64, u64)>,
}

impl<'a> Visit<'a> for Gather<'a, '_> {
    type Error = WalkFault;

    fn enter(&mut self, field: &Visited<'a>) -> Result<Go, WalkFault> {
        let holds = holds_structs(self.btf, field);
        if holds && field.name.is_empty() && !field.element {
            return Ok(Go::Each);
        }
        if !holds {
            self.taken.push((field.bit_offset, field.bit_end()));
        }
        let meaning = self.tags.meaning(field)?;
        self.fields.push(Field {
            path: field.path.clone(),
            type_name: type_name(self.btf, field.type_id),
            what: field.what,
            bit_offset: field.bit_offset,
            bits: field.bits,
            order: (!holds && field.what != What::Unknown).then(|| field.order.within(self.btf.order())),
            hint: if holds { meaning.tagged() } else { meaning.hint_of(field.name) },
        });
        Ok(if holds { Go::Each } else { Go::Past })
    }
}

/// What none of the `taken` covers, up to `end`.
fn gaps(mut taken: Vec<(u64, u64)>, end: u64) -> Vec<Gap> {
    taken.sort_unstable();
    let (mut gaps, mut at) = (Vec::new(), 0u64);
    for (from, to) in taken.into_iter().chain([(end, end)]) {
        let until = from.min(end);
        if let Some(bits @ 1..) = until.checked_sub(at) {
            gaps.push(Gap { bit_offset: at, bits, tail: until == end });
        }
        at = at.max(to);
    }
    gaps
}

/// Whether a field is a struct or union, or an array, of arrays perhaps, of such.
pub(crate) fn holds_structs<'a>(btf: &'a Btf, field: &Visited<'a>) -> bool {
    field.what != What::Unknown && btf.skip_to_element(field.type_id).kind().is_composite()
}

/// A type as C writes it.
fn type_name(btf: &Btf, id: u32) -> String {
    let (mut id, mut behind) = (id, String::new());
    for _ in 0..32 {
        let ty = btf.skip_mods(id);
        if let Some(array) = ty.array() {
            behind.push_str(&format!("[{}]", array.len));
            id = array.elem;
            continue;
        }
        match (ty.kind(), ty.name()) {
            (Kind::Ptr, _) => behind = format!(" *{}", behind.trim_start()),
            (Kind::Void, _) => return format!("void{behind}"),
            (Kind::FuncProto, _) => return format!("function{behind}"),
            (Kind::Int | Kind::Float | Kind::Typedef, name) => return format!("{name}{behind}"),
            (Kind::Enum64, name) => return format!("enum {name}{behind}"),
            (kind, "") => return format!("{kind}{behind}"),
            (kind, name) => return format!("{kind} {name}{behind}"),
        }
        id = ty.target();
    }
    format!("…{behind}")
}
