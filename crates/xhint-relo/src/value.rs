//! What a relocation's answer is, for one spec.

use xhint_btf::{Btf, ByteOrder, Kind, Type};

use crate::RelocKind;
use crate::spec::Spec;

/// An answer, and what the instruction has to know beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Value {
    /// The number.
    pub value: u64,
    /// Size in bytes of the field that is read or written; 0 if it is no plain field.
    pub size: u32,
    /// How the field may change its size.
    pub class: LoadClass,
    /// Whether the compiler must have come to the same number. For bitfields there is more than one way to load them.
    pub validate: bool,
}

/// Which fields may be read in another size than the program was compiled for: what is extended by zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoadClass {
    /// A pointer.
    Pointer,
    /// An unsigned int.
    Unsigned,
    /// Anything else.
    #[default]
    Other,
}

/// Whether a field of one size would not survive being read in the other.
pub(crate) fn conflict(local: Value, found: Value) -> bool {
    local.size != found.size && (local.class != found.class || local.class == LoadClass::Other)
}

/// The answer for `spec`, which exists. `order` is that of the machine the program will run on.
///
/// # Errors
/// Why there is none.
pub(crate) fn value(btf: &Btf, spec: &Spec<'_>, kind: RelocKind, order: ByteOrder) -> Result<Value, &'static str> {
    let plain = |value| Ok(Value { value, validate: true, ..Value::default() });
    match kind {
        RelocKind::FieldExists | RelocKind::TypeExists | RelocKind::TypeMatches | RelocKind::EnumeratorExists => {
            plain(1)
        }
        // Type ids may change when a linker merges objects.
        RelocKind::TypeIdLocal | RelocKind::TypeIdTarget => {
            Ok(Value { value: spec.root.into(), validate: false, ..Value::default() })
        }
        RelocKind::TypeSize => plain(btf.type_size(spec.root).ok_or("the type has no size")?.into()),
        RelocKind::EnumeratorValue => plain(enumerator(btf, spec).ok_or("there is no such enumerator")?),
        _ => field(btf, spec, kind, order),
    }
}

/// The enumerator's value as libbpf has it: one of 32 bits is sign-extended, whatever the enum's sign.
fn enumerator(btf: &Btf, spec: &Spec<'_>) -> Option<u64> {
    let step = spec.steps.first()?;
    let ty = btf.ty(step.type_id)?;
    let value = ty.enumerator(step.index)?.value;
    Some(if ty.kind() == Kind::Enum { i64::from(value as i32) as u64 } else { value })
}

fn field(btf: &Btf, spec: &Spec<'_>, kind: RelocKind, order: ByteOrder) -> Result<Value, &'static str> {
    let last = spec.steps.last().ok_or("the spec is empty")?;
    let ty = btf.ty(last.type_id).ok_or("the type does not exist")?;
    if last.name.is_none() {
        return element(btf, spec, kind, last.type_id);
    }
    let member = ty.member(last.index).ok_or("the member does not exist")?;
    let leaf = btf.skip_mods_and_typedefs(member.type_id);
    let load = Load::of(btf, spec.bit_offset, member.bit_size, leaf)?;
    let bitfield = member.bit_size != 0;
    let number = |value: u32, validate| Ok(Value { value: value.into(), validate, ..Value::default() });
    match kind {
        RelocKind::FieldByteOffset if bitfield => number(load.byte, false),
        RelocKind::FieldByteOffset => Ok(Value { value: load.byte.into(), validate: true, ..access(btf, leaf) }),
        RelocKind::FieldByteSize => number(load.size, !bitfield),
        RelocKind::FieldSigned => number(is_signed(leaf).into(), true),
        RelocKind::FieldLeftShift => number(load.left_shift(order), !bitfield),
        RelocKind::FieldRightShift => number(64u32.wrapping_sub(load.bits), true),
        _ => Err("not a question about a field"),
    }
}

/// An array's element, or the whole struct.
fn element(btf: &Btf, spec: &Spec<'_>, kind: RelocKind, type_id: u32) -> Result<Value, &'static str> {
    match kind {
        RelocKind::FieldByteOffset => {
            let value = u64::from(spec.bit_offset / 8);
            // By the element's own type: only that may change its size.
            let own = btf.ty(type_id).ok_or("the type does not exist")?;
            Ok(Value { value, validate: true, ..access(btf, own) })
        }
        RelocKind::FieldByteSize => {
            let size = btf.type_size(type_id).ok_or("the element has no size")?;
            Ok(Value { value: size.into(), validate: true, ..Value::default() })
        }
        _ => Err("an array's element has neither sign nor shifts"),
    }
}

/// Where a field is loaded from.
struct Load {
    bit_offset: u32,
    byte: u32,
    size: u32,
    bits: u32,
}

impl Load {
    /// For a bitfield, the smallest aligned load of at least its declared type's size that holds all its bits.
    fn of(btf: &Btf, bit_offset: u32, bit_size: u32, leaf: Type<'_>) -> Result<Load, &'static str> {
        if bit_size == 0 {
            let size = btf.type_size(leaf.id()).ok_or("the field has no size")?;
            let bits = size.checked_mul(8).ok_or("the field is too large")?;
            return Ok(Load { bit_offset, byte: bit_offset / 8, size, bits });
        }
        let mut size = leaf.size();
        if size == 0 {
            return Err("a bitfield of a type without size");
        }
        loop {
            let byte = (bit_offset / 8).checked_div(size).and_then(|n| n.checked_mul(size)).unwrap_or(0);
            let end = u64::from(bit_offset).saturating_add(bit_size.into());
            if end <= u64::from(byte).saturating_add(size.into()).saturating_mul(8) {
                return Ok(Load { bit_offset, byte, size, bits: bit_size });
            }
            if size >= 8 {
                return Err("the bitfield does not fit in one load of 64 bits");
            }
            size = size.saturating_mul(2);
        }
    }

    /// Of a field wider than 64 bits there is no sensible shift; it wraps as in libbpf.
    fn left_shift(&self, order: ByteOrder) -> u32 {
        let skipped = self.bit_offset.wrapping_sub(self.byte.wrapping_mul(8));
        match order {
            ByteOrder::Little => 64u32.wrapping_sub(skipped.wrapping_add(self.bits)),
            ByteOrder::Big => 8u32.wrapping_sub(self.size).wrapping_mul(8).wrapping_add(skipped),
        }
    }
}

/// Size and class of a load or store. For an array that is its element's size, but arrays never change it.
fn access(btf: &Btf, own: Type<'_>) -> Value {
    let mut elem = own;
    // Nesting is bounded by the BTF's check.
    for _ in 0..64 {
        match elem.array() {
            Some(array) => elem = btf.skip_mods_and_typedefs(array.elem),
            None => break,
        }
    }
    let class = match own.kind() {
        Kind::Ptr => LoadClass::Pointer,
        // A signed `char` that is marked as both passes for unsigned in libbpf, and so here.
        Kind::Int if own.int().is_some_and(|i| i.signed && !i.char && !i.bool) => LoadClass::Other,
        Kind::Int => LoadClass::Unsigned,
        _ => LoadClass::Other,
    };
    Value { size: btf.type_size(elem.id()).unwrap_or(0), class, ..Value::default() }
}

fn is_signed(ty: Type<'_>) -> bool {
    match ty.kind() {
        Kind::Enum | Kind::Enum64 => ty.kind_flag(),
        _ => ty.int().is_some_and(|i| i.signed),
    }
}
