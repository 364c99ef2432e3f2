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

use crate::kind::{KindInfo, Role, Shape};
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

    /// Whether it is so of the names in `words`, which stand `STRIDE` apart from the first on.
    fn all<const STRIDE: usize>(&self, read: impl Fn(Word) -> u32, words: &[Word]) -> bool;

    /// 0 if it is so of `name`, which likely is the BTF's own.
    fn fault(&self, name: u32) -> u8;
}

/// Of those of a BTF that stands alone, nothing.
impl Names for () {
    const ASKED: bool = false;

    #[inline(always)]
    fn all<const STRIDE: usize>(&self, _: impl Fn(Word) -> u32, _: &[Word]) -> bool {
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
    pub(crate) fn new(own: &'a [u8], base: &'a Btf) -> Begins<'a> {
        let but_last = |strings: &'a [u8]| strings.split_last().map_or(strings, |(_, rest)| rest);
        let below = &base.string_bytes()[..];
        // Behind the last string of all begins none.
        let below = if own.is_empty() { but_last(below) } else { below };
        let below = base.base().is_none().then_some(below);
        let first = base.end_string();
        Begins { own: but_last(own), first, below, base, end: first.saturating_add(own.len() as u32) }
    }

    /// The byte before `name`, or 1 if it is nowhere; for one in a base that is itself a split one.
    #[cold]
    fn in_chain(&self, name: u32) -> u8 {
        let Some(before) = name.checked_sub(1) else { return 0 };
        let own = || self.own.get(before.checked_sub(self.first)? as usize);
        let below = || self.base.string_tail(before).first().filter(|_| name < self.end);
        own().or_else(below).copied().unwrap_or(1)
    }
}

impl Names for Begins<'_> {
    const ASKED: bool = true;

    #[inline(never)]
    fn all<const STRIDE: usize>(&self, read: impl Fn(Word) -> u32, words: &[Word]) -> bool {
        let mut names = words.as_chunks::<STRIDE>().0.iter().filter_map(|element| element.first());
        let Some(below) = self.below else { return names.all(|name| self.in_chain(read(*name)) == 0) };
        let Begins { own, first, .. } = *self;
        // All bytes that stand before names, and 1 for a name that is nowhere.
        let mut before_all = 0;
        for name in names {
            // The first string begins at 0 and is empty, so no name stands for itself.
            let before = read(*name).saturating_sub(1);
            // Where to look is chosen without a branch, which the processor would guess badly.
            let byte = below.get(before as usize).unwrap_or(&1);
            before_all |= *own.get(before.wrapping_sub(first) as usize).unwrap_or(byte);
        }
        before_all == 0
    }

    #[inline(always)]
    fn fault(&self, name: u32) -> u8 {
        match self.own.get(name.wrapping_sub(self.first).wrapping_sub(1) as usize) {
            Some(before) => *before,
            None => match self.below {
                Some(below) => below.get(name.saturating_sub(1) as usize).copied().unwrap_or(1),
                None => self.in_chain(name),
            },
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
            let at = *offset as usize / 4;
            let Some([_, word, third, ..]) = types.get(at..) else { continue };
            let kind = read(*word) >> 24 & 0x7f;
            let Some(allowed) = ALLOWED.get(kind as usize).filter(|allowed| **allowed != 0) else { continue };
            if kind == Kind::Datasec as u32 {
                right &= self.right_vars(at, limits);
                continue;
            }
            let target = read(*third);
            let own = offsets.get(target.wrapping_sub(first_id) as usize);
            right &= match own.and_then(|offset| types.get((*offset as usize / 4).wrapping_add(1))) {
                Some(word) => allowed & 1u32.checked_shl(read(*word) >> 24 & 0x7f).unwrap_or(0) != 0,
                None => self.right_in_base(*allowed, target, limits),
            };
        }
        right
    }

    #[cold]
    #[inline(never)]
    fn right_vars(&self, at: usize, limits: &Limits<'_>) -> bool {
        let vars = self.record_at(at).map_or(&[][..], |record| record.tail).as_chunks::<3>().0;
        vars.iter().all(|[var, ..]| wrong(Kind::Datasec, self.kind_of(self.read(*var), limits)).is_none())
    }

    /// Whether the type `id` of the base is of one of the kinds in `allowed`.
    #[inline(never)]
    fn right_in_base(&self, allowed: u32, id: u32, limits: &Limits<'_>) -> bool {
        let kind = match limits.base.map_or(0, |base| base.marks(id)) {
            0 => self.kind_of(id, limits) as u32,
            // Which of the marked kinds it is makes no difference, and need not be looked up.
            _ => Kind::Int as u32,
        };
        allowed & 1u32.checked_shl(kind).unwrap_or(0) != 0
    }

    /// Whether some name is among a split BTF's own strings, or there are none.
    pub(crate) fn names_own(&self, limits: &Limits<'_>) -> bool {
        let first = limits.first_string.max(1);
        let own = |record: Record<'a>| self.words(&record).any(|(value, role)| role == Role::Str && value >= first);
        let mut records = limits.offsets.iter().filter_map(|offset| self.record_at(*offset as usize / 4));
        records.any(own) || limits.strings.iter().all(|byte| *byte == 0)
    }

    /// Checks all references, and that no member starts beyond its struct.
    #[cold]
    pub(crate) fn check_references(&self, limits: &Limits<'_>) -> Result<(), Error> {
        let mut names_own = false;
        for (offset, id) in limits.offsets.iter().zip(self.first_id..) {
            let at = *offset as usize / 4;
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
                    return Err(Error::TypeId { id, at, target: value, last: end_id.saturating_sub(1) });
                }
                Role::Id if limits.base.is_some() && judged(word, record.info) => {
                    let (kind, found) = (record.info.kind, self.kind_of(value, limits));
                    if let Some(wanted) = wrong(kind, found) {
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
            if u64::from(bit) > u64::from(record.third).saturating_mul(8) {
                return Err(Error::MemberOffset { id, at, member, bit, size: record.third });
            }
        }
        Ok(())
    }

    /// The kind of the type `id`, which exists.
    fn kind_of(&self, id: u32, limits: &Limits<'_>) -> Kind {
        let Some(own) = id.checked_sub(self.first_id) else {
            return limits.base.and_then(|base| base.ty(id)).map_or(Kind::Void, crate::Type::kind);
        };
        let at = limits.offsets.get(own as usize).map_or(usize::MAX, |offset| *offset as usize / 4);
        let info = at.checked_add(1).and_then(|at| self.types.get(at));
        info.map_or(Kind::Unknown, |word| KindInfo::of(self.read(*word)).kind)
    }
}

/// Whether the word with this number, after the name, is a reference whose kind is asked for.
fn judged(word: usize, info: &KindInfo) -> bool {
    info.refers != 0 && word == 1 || info.shape == Shape::Vars && word > 1
}

/// By the number of a kind: those that such a type may refer to ([`wrong`]), as far as they are known, a bit each; none
/// for what refers to nothing.
#[allow(clippy::indexing_slicing)] // evaluated when compiled
static ALLOWED: [u32; 20] = {
    const fn bit(kind: Kind) -> u32 {
        1 << kind as u32
    }
    const NO_TYPE: u32 = bit(Kind::Func) | bit(Kind::Var) | bit(Kind::Datasec) | bit(Kind::DeclTag);
    const ALL: u32 = (1 << 20) - 1;
    let mut allowed = [0; 20];
    allowed[Kind::Ptr as usize] = ALL & !NO_TYPE;
    allowed[Kind::Typedef as usize] = ALL & !NO_TYPE;
    allowed[Kind::Volatile as usize] = ALL & !NO_TYPE;
    allowed[Kind::Const as usize] = ALL & !NO_TYPE;
    allowed[Kind::Restrict as usize] = ALL & !NO_TYPE;
    allowed[Kind::TypeTag as usize] = ALL & !NO_TYPE;
    allowed[Kind::FuncProto as usize] = ALL & !NO_TYPE;
    allowed[Kind::Var as usize] = ALL & !NO_TYPE;
    allowed[Kind::Func as usize] = bit(Kind::FuncProto);
    allowed[Kind::Datasec as usize] = bit(Kind::Var) | bit(Kind::Func);
    allowed[Kind::DeclTag as usize] = ALL & !(bit(Kind::Void) | bit(Kind::Datasec) | bit(Kind::DeclTag));
    allowed
};

/// What a type of this kind must refer to, if `found` is not that.
fn wrong(kind: Kind, found: Kind) -> Option<&'static str> {
    let no_type = matches!(found, Kind::Func | Kind::Var | Kind::Datasec | Kind::DeclTag);
    match kind {
        Kind::Func if found != Kind::FuncProto => Some("a function prototype"),
        Kind::Datasec if !matches!(found, Kind::Var | Kind::Func) => Some("a variable or function"),
        Kind::DeclTag if matches!(found, Kind::Void | Kind::Datasec | Kind::DeclTag) => Some("a declaration"),
        Kind::Func | Kind::Datasec | Kind::DeclTag => None,
        _ if no_type => Some("a type"),
        _ => None,
    }
}

impl Limits<'_> {
    /// The offset is inside a character of several bytes.
    fn inside_character(&self, offset: u32) -> bool {
        let own = offset.checked_sub(self.first_string).and_then(|own| self.strings.get(own as usize));
        own.is_some_and(|byte| byte & 0xc0 == 0x80)
    }

    /// A string begins here: at the start of a string section, or behind a zero byte.
    fn begins(&self, offset: u32) -> bool {
        let Some(before) = offset.checked_sub(1) else { return true };
        match before.checked_sub(self.first_string) {
            Some(own) => self.strings.get(own as usize) == Some(&0),
            None => self.base.is_some_and(|base| base.string_tail(before).first() == Some(&0)),
        }
    }
}
