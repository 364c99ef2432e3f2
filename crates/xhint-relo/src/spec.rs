//! The local spec: what an access string means.
//!
//! An access string is a list of numbers, `0:1:2`. For a field, the first counts whole structs from the pointer (0
//! mostly), the others are member numbers or array indices, one for each step by which clang went down, anonymous
//! members included. For a type it is `0`, for an enumerator the enumerator's number.

use xhint_btf::{Btf, Kind};

use crate::RelocKind;

/// The most numbers an access string may have (libbpf's `BPF_CORE_SPEC_MAX_LEN`).
pub const MAX_LEN: usize = 64;

/// One step that has to be found again in the target: a named member, or an array index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accessor<'a> {
    /// For a member, the struct it is in; for an index, the element's type.
    pub type_id: u32,
    /// Member number or index.
    pub index: u32,
    /// The member's name; `None` for an index.
    pub name: Option<&'a str>,
}

/// What a relocation is about, in one BTF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec<'a> {
    /// The type it starts from.
    pub root: u32,
    /// The steps; for a field the first is the index of the whole struct, for an enumerator it is the enumerator, for a
    /// type there is none.
    pub steps: Vec<Accessor<'a>>,
    /// Bits from the start to the field.
    pub bit_offset: u32,
}

impl<'a> Spec<'a> {
    /// Nothing but a root.
    pub fn root(root: u32) -> Self {
        Spec { root, steps: Vec::new(), bit_offset: 0 }
    }

    /// Reads an access string.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(btf: &'a Btf, root: u32, text: &str, kind: RelocKind) -> Result<Spec<'a>, &'static str> {
        let numbers = numbers(text)?;
        let (first, rest) = numbers.split_first().ok_or("it is empty")?;
        if kind.is_field() {
            return field(btf, root, *first, rest);
        }
        if !rest.is_empty() {
            return Err("it has more than one number");
        }
        if !kind.is_enumerator() {
            return if *first == 0 { Ok(Spec::root(root)) } else { Err("a type's is 0") };
        }
        let ty = btf.skip_mods_and_typedefs(root);
        if !ty.kind().is_any_enum() {
            return Err("it asks for an enumerator, but the type is not an enum");
        }
        let enumerator = ty.enumerator(*first).ok_or("the enum has fewer enumerators")?;
        let step = Accessor { type_id: ty.id(), index: *first, name: Some(enumerator.name) };
        Ok(Spec { root, steps: vec![step], bit_offset: 0 })
    }

    /// The names of its members, joined by dots.
    pub fn names(&self) -> String {
        let named = self.steps.iter().filter_map(|step| step.name).filter(|name| !name.is_empty());
        named.collect::<Vec<_>>().join(".")
    }

    /// Goes `count` elements of type `elem` further.
    pub(crate) fn advance(&mut self, btf: &Btf, elem: u32, count: u32) -> Result<(), &'static str> {
        let size = btf.type_size(elem).ok_or("an element has no size")?;
        let bits = size.checked_mul(8).and_then(|bits| bits.checked_mul(count)).ok_or(TOO_FAR)?;
        self.skip_bits(bits)
    }

    pub(crate) fn skip_bits(&mut self, bits: u32) -> Result<(), &'static str> {
        self.bit_offset = self.bit_offset.checked_add(bits).ok_or(TOO_FAR)?;
        Ok(())
    }
}

const TOO_FAR: &str = "the offset does not fit in 32 bits";

fn numbers(text: &str) -> Result<Vec<u32>, &'static str> {
    let mut out = Vec::new();
    for part in text.split(':') {
        if out.len() == MAX_LEN {
            return Err("it has more than 64 numbers");
        }
        // `parse` alone would take a sign.
        let digits = part.bytes().all(|b| b.is_ascii_digit());
        out.push(part.parse().ok().filter(|_| digits).ok_or("it is not a list of numbers separated by colons")?);
    }
    Ok(out)
}

fn field<'a>(btf: &'a Btf, root: u32, first: u32, rest: &[u32]) -> Result<Spec<'a>, &'static str> {
    let mut id = btf.skip_mods_and_typedefs(root).id();
    let mut spec = Spec { root, steps: vec![Accessor { type_id: id, index: first, name: None }], bit_offset: 0 };
    spec.advance(btf, id, first)?;
    for &index in rest {
        let ty = btf.skip_mods_and_typedefs(id);
        match ty.kind() {
            Kind::Struct | Kind::Union => {
                let member = ty.member(index).ok_or("the struct has fewer members")?;
                spec.skip_bits(member.bit_offset)?;
                if !member.name.is_empty() {
                    spec.steps.push(Accessor { type_id: ty.id(), index, name: Some(member.name) });
                }
                id = member.type_id;
            }
            Kind::Array => {
                let array = ty.array().ok_or("a misshapen array")?;
                if index >= array.len && !is_flexible(btf, &spec, array.len) {
                    return Err("an index beyond the array");
                }
                id = btf.skip_mods_and_typedefs(array.elem).id();
                spec.steps.push(Accessor { type_id: id, index, name: None });
                spec.advance(btf, id, index)?;
            }
            _ => return Err("it goes into a type that is neither a struct nor an array"),
        }
    }
    Ok(spec)
}

/// Whether the array that the last step led to may be indexed beyond its end: it has no length, and is the last member
/// of its struct.
pub(crate) fn is_flexible(btf: &Btf, spec: &Spec<'_>, len: u32) -> bool {
    let Some(Accessor { type_id, index, name: Some(_) }) = spec.steps.last() else { return false };
    let members = btf.ty(*type_id).map_or(0, |t| t.vlen());
    len == 0 && index.checked_add(1) == Some(members)
}
