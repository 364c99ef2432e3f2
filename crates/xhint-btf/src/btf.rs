//! A checked BTF.

use std::ffi::CStr;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::header::Header;
use crate::kind::{KindInfo, Kinds};
use crate::number::index;
use crate::pass::Word;
use crate::{ByteOrder, Differs, KeptType, Kind};

mod types;

pub use types::{Array, Enumerator, IntEncoding, Linkage, Member, Param, SecVar, Type};

/// What the checking pass yields.
pub(crate) struct Checked {
    /// The offset of each type within the type section, and the marks of its kind.
    pub(crate) offsets: Vec<u32>,
    /// Its own ids and string offsets.
    pub(crate) ids: Range<u32>,
    pub(crate) string_offsets: Range<u32>,
    /// All strings are ASCII, the base's too, so every offset is that of a character.
    pub(crate) ascii: bool,
}

/// A BTF whose every reference has been checked, alone or split on a base.
///
/// It owns its bytes (cheap to share: a mapped file stays mapped) and one `u32` per type. Type ids and string offsets
/// of a split BTF go on where its base's end, so one id space covers both.
#[derive(Debug, Clone)]
pub struct Btf {
    order: ByteOrder,
    raw: Bytes,
    types: Bytes,
    strings: Bytes,
    /// The sizes of kinds, if it has them.
    layouts: Bytes,
    /// Where each type of ours starts in `types`, and the marks of its kind.
    offsets: Vec<u32>,
    /// All strings are ASCII, the base's too.
    ascii: bool,
    /// Its own ids and string offsets.
    ids: Range<u32>,
    string_offsets: Range<u32>,
    base: Option<Arc<Btf>>,
    /// Types of a distilled base that the base has no equal of, in order of id.
    kept: Vec<KeptType>,
    /// From here on own types are copies of such.
    copies: u32,
    pointer_size: OnceLock<u32>,
}

impl Btf {
    /// One that has been checked.
    pub(crate) fn of(raw: Bytes, header: Header, checked: Checked, base: Option<Arc<Btf>>) -> Btf {
        let Checked { offsets, ascii, ids, string_offsets } = checked;
        Btf {
            order: header.order,
            types: raw.slice(header.types),
            strings: raw.slice(header.strings),
            kept: Vec::new(),
            copies: ids.end,
            layouts: raw.slice(header.layouts),
            raw,
            offsets,
            ascii,
            ids,
            string_offsets,
            base,
            pointer_size: OnceLock::new(),
        }
    }

    /// The bytes it was read from.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Byte order of the types it describes as well as of its own words.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// What it is split on.
    pub fn base(&self) -> Option<&Arc<Btf>> {
        self.base.as_ref()
    }

    /// The id of its own first type: 1, or one past the base's last.
    pub fn first_id(&self) -> u32 {
        self.ids.start
    }

    /// One past the id of its last type.
    pub fn end_id(&self) -> u32 {
        self.ids.end
    }

    /// The offset of its own first string: 0, or where the base's strings end.
    pub fn first_string(&self) -> u32 {
        self.string_offsets.start
    }

    /// One past the last string offset.
    pub fn end_string(&self) -> u32 {
        self.string_offsets.end
    }

    /// The type with this id, here or in the base; id 0 is `void`. `None` for an id that does not exist.
    #[inline]
    pub fn ty(&self, id: u32) -> Option<Type<'_>> {
        match (id.checked_sub(self.ids.start), &self.base) {
            (Some(own), _) => self.offsets.get(index(own)).map(|offset| self.marked(*offset, id)),
            (None, Some(base)) => base.ty(id),
            (None, None) => Some(Type::void(self)),
        }
    }

    /// The type that one of its types refers to, which exists, as the check has seen.
    #[inline]
    fn referred(&self, id: u32) -> Type<'_> {
        self.ty(id).unwrap_or_else(|| Type::void(self))
    }

    /// Its own types in order, without the base's.
    pub fn types(&self) -> impl ExactSizeIterator<Item = Type<'_>> + Clone {
        self.ids.clone().zip(&self.offsets).map(|(id, offset)| self.marked(*offset, id))
    }

    /// Its own types of these kinds, in order. Faster than to look at all types for a few.
    pub fn of_kinds<const N: usize>(&self, kinds: [Kind; N]) -> impl Iterator<Item = Type<'_>> {
        // One byte of each type tells, and a kind above 31 only looks like one below.
        let wanted = if kinds.contains(&Kind::Unknown) { Kinds::ALL } else { Kinds::of(kinds) };
        let upper = match self.order {
            ByteOrder::Little => 7,
            ByteOrder::Big => 4,
        };
        let types: &[u8] = &self.types;
        let may_be = move |offset: u32| {
            let kind = types.get(index(offset & !KindInfo::MARKS).wrapping_add(upper));
            kind.is_some_and(|kind| wanted.may_have((*kind).into()))
        };
        let all = self.ids.clone().zip(&self.offsets).filter(move |(_, offset)| may_be(**offset));
        all.map(|(id, offset)| self.marked(*offset, id)).filter(move |ty| kinds.contains(&ty.kind()))
    }

    /// Structs, unions and enums of a distilled base that the base has no equal of, in order of id; see
    /// [`rebase()`](crate::rebase()).
    pub fn kept(&self) -> &[KeptType] {
        &self.kept
    }

    /// Why the type `id` is one of [`Btf::kept`], if it is.
    pub fn differs(&self, id: u32) -> Option<Differs> {
        let at = self.kept.binary_search_by_key(&id, |kept| kept.id).ok()?;
        self.kept.get(at).map(|kept| kept.why)
    }

    /// Notes what was kept of a distilled base. From `copies` on own types are copies of such.
    pub(crate) fn keep(&mut self, kept: Vec<KeptType>, copies: u32) {
        (self.kept, self.copies) = (kept, copies);
    }

    /// Visits those of its own types that C code can ask for by name, in order: ints, floats, structs, unions, enums,
    /// typedefs and forward declarations. What was kept of a distilled base is none: that is asked of the base. `visit`
    /// takes the type's id and its name's offset among the strings, 0 if it has none. Faster than to look at all types.
    #[inline]
    pub fn for_each_named(&self, mut visit: impl FnMut(u32, u32)) {
        // So many types in a row that their places, and how many they are, fit in a byte.
        const BLOCK: usize = 255;
        let Some((originals, _)) = self.offsets.split_at_checked((self.ids.start..self.copies).len()) else { return };
        for (block, first) in originals.chunks(BLOCK).zip((self.ids.start..).step_by(BLOCK)) {
            // Gathered first, without a branch, as the processor would guess badly which types are among them.
            let (mut named, mut count) = ([0; BLOCK + 1], 0u8);
            for (offset, place) in block.iter().zip(0u8..) {
                if let Some(next) = named.get_mut(usize::from(count)) {
                    *next = place;
                }
                count = count.wrapping_add(u8::from(offset & KindInfo::NAMED != 0));
            }
            for place in named.iter().take(count.into()) {
                let Some(offset) = block.get(usize::from(*place)) else { continue };
                let id = first.wrapping_add((*place).into());
                visit(id, self.marked(*offset, id).name_offset());
            }
        }
    }

    #[inline]
    fn marked(&self, offset: u32, id: u32) -> Type<'_> {
        // What is below a word are the marks.
        Type::at(self, id, index(offset >> 2))
    }

    /// The string at this offset, here or in the base; `None` beyond the end.
    #[inline]
    pub fn str_at(&self, offset: u32) -> Option<&str> {
        let Some(own) = offset.checked_sub(self.string_offsets.start) else {
            return self.base.as_ref()?.str_at(offset);
        };
        CStr::from_bytes_until_nul(self.strings.get(index(own)..)?).ok()?.to_str().ok()
    }

    pub(crate) fn is_ascii(&self) -> bool {
        self.ascii
    }

    /// The bytes from this string offset to the end of the strings it stands among, here or in the base; empty beyond
    /// the end. For who looks at many names and needs the whole of few: nothing is searched for the string's end.
    #[inline]
    pub fn string_tail(&self, offset: u32) -> &[u8] {
        match (offset.checked_sub(self.string_offsets.start), &self.base) {
            (Some(own), _) => self.strings.get(index(own)..).unwrap_or_default(),
            (None, Some(base)) => base.string_tail(offset),
            (None, None) => &[],
        }
    }

    /// Whether the string at this offset is `text`.
    #[inline]
    pub fn is_string(&self, offset: u32, text: &str) -> bool {
        matches!(self.string_tail(offset).strip_prefix(text.as_bytes()), Some([0, ..]))
    }

    /// Whether one of its own types has a kind that is marked.
    pub(crate) fn is_marked(&self, id: u32) -> bool {
        let own = id.checked_sub(self.ids.start);
        own.and_then(|own| self.offsets.get(index(own))).is_some_and(|offset| offset & KindInfo::MARKS != 0)
    }

    /// The bytes of its own types, as they stand in the file.
    pub(crate) fn type_bytes(&self) -> &Bytes {
        &self.types
    }

    /// The same in words.
    #[inline]
    pub(crate) fn type_words(&self) -> &[Word] {
        self.types.as_chunks().0
    }

    /// Its own strings, as they stand in the file.
    pub(crate) fn string_bytes(&self) -> &Bytes {
        &self.strings
    }

    /// The sizes of kinds, as they stand in the file: its own, else its base's, which then hold for both (libbpf does so).
    pub(crate) fn layouts(&self) -> &[u8] {
        match &self.base {
            Some(base) if self.layouts.is_empty() => base.layouts(),
            _ => &self.layouts,
        }
    }

    /// The BTFs that its ids and strings span: what stands alone first, itself last.
    pub fn chain(&self) -> Vec<&Btf> {
        let mut chain = self.base.as_ref().map_or_else(Vec::new, |base| base.chain());
        chain.push(self);
        chain
    }

    /// The type behind `const`, `volatile`, `restrict` and type tags.
    pub fn skip_mods(&self, id: u32) -> Type<'_> {
        self.skip(id, Kind::is_modifier)
    }

    /// The type behind modifiers and typedefs.
    pub fn skip_mods_and_typedefs(&self, id: u32) -> Type<'_> {
        self.skip(id, |k| k.is_modifier() || k == Kind::Typedef)
    }

    /// The type behind modifiers, typedefs and arrays.
    pub fn skip_to_element(&self, mut id: u32) -> Type<'_> {
        // This ends, as do the other chains: the check has followed each.
        loop {
            let ty = self.skip_mods_and_typedefs(id);
            match ty.array() {
                Some(array) => id = array.elem,
                None => return ty,
            }
        }
    }

    fn skip(&self, mut id: u32, through: impl Fn(Kind) -> bool) -> Type<'_> {
        loop {
            let ty = self.referred(id);
            if !through(ty.kind()) {
                return ty;
            }
            id = ty.target();
        }
    }

    /// Bytes of a pointer on the machine whose types these are: the base's; else those of a `long`, if there is one; else
    /// 8. BTF itself does not say (libbpf's `determine_ptr_size`).
    pub fn pointer_size(&self) -> u32 {
        if let Some(base) = &self.base {
            return base.pointer_size();
        }
        let is_long = |ty: &Type<'_>| {
            // `long`, `long int`, `unsigned long`, … in any order, but no other word, and `long` once.
            ty.kind() == Kind::Int
                && matches!(ty.size(), 4 | 8)
                && ty.name().split(' ').all(|word| matches!(word, "long" | "int" | "unsigned"))
                && ty.name().matches("long").count() == 1
        };
        *self.pointer_size.get_or_init(|| self.types().find(is_long).map_or(8, Type::size))
    }

    /// Size in bytes of the type with this id, through modifiers, typedefs and arrays; a pointer has
    /// [`Btf::pointer_size`]. `None` for
    /// what has no size (void, a function, a forward declaration) or one beyond 32 bits.
    pub fn type_size(&self, mut id: u32) -> Option<u32> {
        let mut count: u32 = 1;
        loop {
            let ty = self.skip_mods_and_typedefs(id);
            if let Some(array) = ty.array() {
                count = count.checked_mul(array.len)?;
                id = array.elem;
                continue;
            }
            match ty.kind() {
                Kind::Ptr => return count.checked_mul(self.pointer_size()),
                Kind::Int | Kind::Float | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Datasec => {
                    return count.checked_mul(ty.size());
                }
                _ => return None,
            }
        }
    }
}
