//! The references of each type, looked at one by one.
//!
//! Besides being there, those of a split BTF must make sense, since on a base that it was not made for it reads as other
//! types and other names, without a word. What is asked:
//!
//! 1. Every name begins a string: a zero byte is before it. No producer lets a name be the tail of another.
//! 2. What a type refers to has the right kind: a function's type is a prototype, a data section holds variables (or
//!    functions, as compilers write for those declared elsewhere), and nothing points to, returns or is another name for a
//!    function, variable, data section or tag. libbpf's `btf_validate_type` asks the first, the kernel's `btf_check_meta`
//!    and `btf_resolve` all. Members and parameters, which are many, are left to the first question.
//! 3. If it has strings, it names one. Where the base is larger than the right one, its own are out of sight.
//!
//! The first is asked in the walk ([`Begins`]), the second in one quick pass over all types ([`Pass::right_kinds`]), the
//! third of as many types as it takes to find one that names one. Where that finds a fault, another pass says which.

use std::ops::Range;

use crate::kind::{KindInfo, Kinds, Role, Shape};
use crate::number::{bits, index};
use crate::pass::{Pass, Record, Word};
use crate::{Btf, Error, Kind};

/// What references must keep to.
pub(crate) struct Limits<'a> {
    pub(crate) end_id: u32,
    pub(crate) end_string: u32,
    pub(crate) first_string: u32,
    /// The strings from `first_string` on; those before are the base's.
    pub(crate) strings: &'a [u8],
    /// Where each own type starts, in bytes, with the marks of its kind.
    pub(crate) offsets: &'a [u32],
    pub(crate) base: Option<&'a Btf>,
}

/// What is asked of each name besides that it is there.
pub(crate) trait Names: Copy {
    /// Whether anything is; then it need not be asked whether the name is there.
    const ASKED: bool;

    /// Whether it is so of all `names`.
    fn all<'w>(&self, read: impl Fn(Word) -> u32, names: impl Iterator<Item = &'w Word>) -> bool;

    /// 0 if it is so of `name`, which likely is the BTF's own.
    fn fault(&self, name: u32) -> u8;
}

/// Of those of a BTF that stands alone, nothing.
impl Names for () {
    const ASKED: bool = false;

    #[inline(always)]
    fn all<'w>(&self, _: impl Fn(Word) -> u32, _: impl Iterator<Item = &'w Word>) -> bool {
        true
    }

    #[inline(always)]
    fn fault(&self, _: u32) -> u8 {
        0
    }
}

/// Of those of a split BTF, that each begins a string.
#[derive(Clone, Copy)]
pub(crate) struct Begins<'a> {
    /// Bytes that can stand before a name: the split BTF's own strings without the last byte, and the offset of the
    /// first.
    own: &'a [u8],
    first: u32,
    /// The strings before those, if they are all in a row.
    below: Option<&'a [u8]>,
    base: &'a Btf,
    /// Where all strings end.
    end: u32,
}

impl<'a> Begins<'a> {
    /// Of the BTF whose own strings are `own`, and stand at `offsets`.
    pub(crate) fn new(own: &'a [u8], offsets: &Range<u32>, base: &'a Btf) -> Begins<'a> {
        let but_last = |strings: &'a [u8]| strings.split_last().map_or(strings, |(_, rest)| rest);
        let below = &base.string_bytes()[..];
        // Behind the last string of all begins none.
        let below = if own.is_empty() { but_last(below) } else { below };
        let below = base.base().is_none().then_some(below);
        Begins { own: but_last(own), first: offsets.start, below, base, end: offsets.end }
    }

    /// The byte before `name`; for one in a base that is itself a split one.
    #[cold]
    fn in_chain(&self, name: u32) -> u8 {
        let Some(before) = name.checked_sub(1) else { return 0 };
        let own = || self.own.get(index(before.checked_sub(self.first)?));
        let below = || self.base.string_tail(before).first().filter(|_| name < self.end);
        *own().or_else(below).unwrap_or(&NOWHERE)
    }
}

/// What stands before a name that is nowhere: not the end of a string.
const NOWHERE: u8 = 1;

/// The offset before a name's. The first string begins at 0 and is empty, so there no name stands for itself.
#[inline(always)]
fn before(name: u32) -> u32 {
    name.saturating_sub(1)
}

impl Names for Begins<'_> {
    const ASKED: bool = true;

    #[inline(never)]
    fn all<'w>(&self, read: impl Fn(Word) -> u32, mut names: impl Iterator<Item = &'w Word>) -> bool {
        let Some(below) = self.below else { return names.all(|name| self.in_chain(read(*name)) == 0) };
        let Begins { own, first, .. } = *self;
        // All bytes that stand before names.
        let mut before_all = 0;
        for name in names {
            let before = before(read(*name));
            // Where to look is chosen without a branch, which the processor would guess badly.
            let byte = below.get(index(before)).unwrap_or(&NOWHERE);
            before_all |= *own.get(index(before.wrapping_sub(first))).unwrap_or(byte);
        }
        before_all == 0
    }

    #[inline(always)]
    fn fault(&self, name: u32) -> u8 {
        match (self.own.get(index(name.wrapping_sub(self.first).wrapping_sub(1))), self.below) {
            (Some(byte), _) => *byte,
            (None, Some(below)) => *below.get(index(before(name))).unwrap_or(&NOWHERE),
            (None, None) => self.in_chain(name),
        }
    }
}

impl<'a> Pass<'a> {
    /// Whether what the types of a split BTF refer to, which all exist, is of the right kinds.
    #[inline(never)]
    pub(crate) fn right_kinds(&self, read: impl Fn(Word) -> u32 + Copy, limits: &Limits<'_>) -> bool {
        let (types, offsets, first_id) = (self.types, limits.offsets, self.first_id);
        let mut right = true;
        for offset in offsets {
            // Structs and numbers, say, refer to nothing.
            if offset & KindInfo::MARKS == KindInfo::NAMED {
                continue;
            }
            let Some([_, word, size_or_type, tail @ ..]) = types.get(index(offset >> 2)..) else { continue };
            let info = KindInfo::of(read(*word));
            if info.kind == Kind::Datasec {
                right &= self.right_vars(read(*word), tail, limits);
            }
            if info.refers == 0 {
                continue;
            }
            let target = read(*size_or_type);
            let own = offsets.get(index(target.wrapping_sub(first_id)));
            right &= match own.and_then(|offset| types.get(index(offset >> 2).wrapping_add(1))) {
                Some(word) => info.targets.have(read(*word)),
                None => self.right_in_base(info.targets, target, limits),
            };
        }
        right
    }

    #[cold]
    #[inline(never)]
    fn right_vars(&self, info: u32, tail: &[Word], limits: &Limits<'_>) -> bool {
        let vars = tail.as_chunks::<3>().0.iter().take(index(info & 0x00ff_ffff));
        let targets = KindInfo::of(info).targets;
        vars.map(|[var, ..]| self.read(*var)).all(|var| targets.include(self.kind_of(var, limits)))
    }

    /// Whether the type `id` of the base is of one of these kinds.
    #[inline(never)]
    fn right_in_base(&self, targets: Kinds, id: u32, limits: &Limits<'_>) -> bool {
        // Which of the marked kinds it is makes no difference, and need not be looked up.
        let marked = limits.base.is_some_and(|base| base.is_marked(id));
        targets.include(if marked { Kind::Int } else { self.kind_of(id, limits) })
    }

    /// Whether some name is among a split BTF's own strings, or there are none.
    pub(crate) fn names_own(&self, limits: &Limits<'_>) -> bool {
        let first = limits.first_string.max(1);
        let own = |record: Record<'a>| self.words(&record).any(|(value, role)| role == Role::Str && value >= first);
        let mut records = limits.offsets.iter().filter_map(|offset| self.record_at(index(offset >> 2)));
        records.any(own) || limits.strings.iter().all(|byte| *byte == 0)
    }

    /// Checks all references, and that no member starts beyond its struct.
    #[cold]
    pub(crate) fn check_references(&self, limits: &Limits<'_>) -> Result<(), Error> {
        let mut names_own = false;
        for (offset, id) in limits.offsets.iter().zip(self.first_id..) {
            let at = index(offset >> 2);
            let Some(record) = self.record_at(at) else { continue };
            names_own |= self.check_record(&record, limits, id, self.place(at))?;
        }
        let idle = limits.base.is_some() && !names_own && limits.strings.iter().any(|byte| *byte != 0);
        if idle { Err(Error::NoOwnName { first: limits.first_string, end: limits.end_string }) } else { Ok(()) }
    }

    /// Says whether the type names a string of the BTF's own.
    fn check_record(&self, record: &Record<'a>, limits: &Limits<'_>, id: u32, at: usize) -> Result<bool, Error> {
        let Limits { end_id, end_string: end, .. } = *limits;
        let mut names_own = false;
        for (word, (value, role)) in self.words(record).enumerate() {
            match role {
                Role::Id if value >= end_id => {
                    // The first id is 1.
                    return Err(Error::TypeId { id, at, target: value, last: end_id.wrapping_sub(1) });
                }
                Role::Id if limits.base.is_some() && judged(word, record.info) => {
                    let (kind, found) = (record.info.kind, self.kind_of(value, limits));
                    if !record.info.targets.include(found) {
                        let wanted = wanted(kind);
                        return Err(Error::TargetKind { id, at, kind, target: value, found, wanted });
                    }
                }
                Role::Str if value >= end => return Err(Error::StringOffset { id, at, offset: value, end }),
                Role::Str if limits.inside_character(value) || limits.base.is_some() && !limits.begins(value) => {
                    return Err(Error::InsideString { id, at, offset: value });
                }
                Role::Str => names_own |= value >= limits.first_string && value != 0,
                _ => {}
            }
        }
        if record.info.shape == Shape::Members {
            self.check_members(record, id, at)?;
        }
        Ok(names_own)
    }

    fn check_members(&self, record: &Record<'a>, id: u32, at: usize) -> Result<(), Error> {
        let mask = if record.flag { 0x00ff_ffff } else { u32::MAX };
        for (member, [_, _, offset]) in (0..).zip(record.tail.as_chunks::<3>().0) {
            let bit = self.read(*offset) & mask;
            if u64::from(bit) > bits(record.size_or_type) {
                return Err(Error::MemberOffset { id, at, member, bit, size: record.size_or_type });
            }
        }
        Ok(())
    }

    /// The kind of the type `id`, which exists.
    fn kind_of(&self, id: u32, limits: &Limits<'_>) -> Kind {
        let Some(own) = id.checked_sub(self.first_id) else {
            return limits.base.and_then(|base| base.ty(id)).map_or(Kind::Void, crate::Type::kind);
        };
        let own = limits.offsets.get(index(own)).and_then(|offset| self.types.get(index(offset >> 2)..));
        match own {
            Some([_, word, ..]) => KindInfo::of(self.read(*word)).kind,
            _ => Kind::Unknown,
        }
    }
}

/// Whether the word with this number, after the name, is a reference whose kind is asked for.
fn judged(word: usize, info: &KindInfo) -> bool {
    info.refers != 0 && word == 1 || info.shape == Shape::Vars && word > 1
}

/// What a type of this kind must refer to, in words.
fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Func => "a function prototype",
        Kind::Datasec => "a variable or function",
        Kind::DeclTag => "a declaration",
        _ => "a type",
    }
}

impl Limits<'_> {
    /// The offset is inside a character of several bytes.
    fn inside_character(&self, offset: u32) -> bool {
        let own = offset.checked_sub(self.first_string).and_then(|own| self.strings.get(index(own)));
        own.is_some_and(|byte| byte & 0xc0 == 0x80)
    }

    /// A string begins here: at the start of a string section, or behind a zero byte.
    fn begins(&self, offset: u32) -> bool {
        let Some(before) = offset.checked_sub(1) else { return true };
        match before.checked_sub(self.first_string) {
            Some(own) => self.strings.get(index(own)) == Some(&0),
            None => self.base.is_some_and(|base| base.string_tail(before).first() == Some(&0)),
        }
    }
}
