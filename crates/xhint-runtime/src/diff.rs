//! What is another between two layouts, for people.

use std::collections::BTreeMap;
use std::fmt;

use xhint_btf::Btf;
use xhint_layout::FieldOrder;
use xhint_layout::walk::{Go, Visit, Visited, WalkFault, What, walk};

/// A field that is a value: where it lies and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leaf {
    bit_offset: u64,
    bits: u64,
    what: What,
    order: FieldOrder,
}

/// What of the layout `old` moved, changed, went or came in `new`: a phrase each, in the order of the old layout's
/// fields. A layout is its BTF and the struct's type id; one that cannot be walked through has no fields.
pub fn diff(old: (&Btf, u32), new: (&Btf, u32)) -> Vec<String> {
    let (before, after) = (Leaves::of(old), Leaves::of(new));
    let by_path = |leaves: &Leaves| leaves.0.iter().cloned().collect::<BTreeMap<String, Leaf>>();
    let (was_there, is_there) = (by_path(&before), by_path(&after));
    let mut out = Vec::new();
    for (path, was) in &before.0 {
        match is_there.get(path) {
            Some(is) if is == was => {}
            Some(is) => out.push(format!("{path} {}", change(*was, *is))),
            None => out.push(format!("{path} is gone from {}", Position(*was))),
        }
    }
    let fresh = after.0.iter().filter(|(path, _)| !was_there.contains_key(path));
    out.extend(fresh.map(|(path, is)| format!("{path} is new at {}", Position(*is))));
    out
}

/// All values of a layout by their paths; of an array's elements one stands for all.
#[derive(Default)]
struct Leaves(Vec<(String, Leaf)>);

impl Leaves {
    fn of((btf, type_id): (&Btf, u32)) -> Leaves {
        let mut leaves = Leaves::default();
        match walk(btf, btf.skip_mods_and_typedefs(type_id), &mut leaves) {
            Ok(()) => leaves,
            Err(_) => Leaves::default(),
        }
    }
}

impl<'a> Visit<'a> for Leaves {
    type Error = WalkFault;

    fn enter(&mut self, field: &Visited<'a>) -> Result<Go, WalkFault> {
        let Visited { path, bit_offset, bits, what, order, .. } = field;
        if !matches!(what, What::Struct | What::Union | What::Array { .. }) {
            let leaf = Leaf { bit_offset: *bit_offset, bits: *bits, what: *what, order: *order };
            self.0.push((path.clone(), leaf));
        }
        Ok(Go::Once)
    }
}

fn change(was: Leaf, is: Leaf) -> String {
    let mut parts = Vec::new();
    if was.bit_offset != is.bit_offset {
        parts.push(format!("moved from {} to {}", Position(was), Position(is)));
    }
    if was.bits != is.bits {
        parts.push(format!("had {} bits and has {}", was.bits, is.bits));
    }
    if (was.what, was.order) != (is.what, is.order) {
        parts.push(format!("was {} and is {}", Kind(was), Kind(is)));
    }
    parts.join(", ")
}

/// Where it begins.
struct Position(Leaf);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Leaf { bit_offset, bits, .. } = self.0;
        if bit_offset.is_multiple_of(8) && bits.is_multiple_of(8) {
            write!(f, "byte {}", bit_offset / 8)
        } else {
            write!(f, "bit {bit_offset}")
        }
    }
}

/// What it is, and in which order its bytes stand if that is declared.
struct Kind(Leaf);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.what {
            What::Int { signed: true } => "a signed number",
            What::Int { signed: false } => "an unsigned number",
            What::Enum { .. } => "an enumeration",
            What::Ptr => "a pointer",
            What::Float => "a floating-point number",
            What::Struct | What::Union | What::Array { .. } | What::Unknown => "of a type that is not known",
        })?;
        f.write_str(match self.0.order {
            FieldOrder::Host => "",
            FieldOrder::Little => ", little-endian",
            FieldOrder::Big => ", big-endian",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_apart() {
        let leaf = |bit_offset, bits, order| Leaf { bit_offset, bits, what: What::Int { signed: false }, order };
        assert_eq!(
            change(leaf(0, 32, FieldOrder::Host), leaf(96, 16, FieldOrder::Big)),
            "moved from byte 0 to byte 12, had 32 bits and has 16, was an unsigned number and is an unsigned number, \
             big-endian"
        );
        assert_eq!(Position(leaf(35, 3, FieldOrder::Host)).to_string(), "bit 35");
    }
}
