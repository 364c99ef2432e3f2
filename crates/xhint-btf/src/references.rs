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
//! A split BTF is asked in one quick pass ([`Pass::sound`]). Where that finds a fault, the other says which.

use crate::check::{Pass, Record, Word};
use crate::kind::{KindInfo, Role, Shape};
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

/// The strings that names may begin in.
struct Names<'a> {
    /// The base's own, from `below` on, and those of the split BTF from `first` on.
    base: &'a [u8],
    below: u32,
    own: &'a [u8],
    first: u32,
    limits: &'a Limits<'a>,
    /// Each name so far begins a string.
    begin: bool,
    /// Some is the split BTF's own.
    own_one: bool,
}

impl Names<'_> {
    #[inline(always)]
    fn see(&mut self, offset: u32) {
        let before = offset.wrapping_sub(1);
        let begins = if before >= self.first {
            self.own.get(before.wrapping_sub(self.first) as usize) == Some(&0)
        } else if before >= self.below {
            self.base.get(before.wrapping_sub(self.below) as usize) == Some(&0)
        } else {
            // Further down a chain of bases.
            self.limits.begins(offset)
        };
        self.begin &= begins || offset == 0;
        self.own_one |= offset >= self.first && offset != 0;
    }
}

impl<'a> Pass<'a> {
    /// Whether a split BTF, whose references all exist, keeps to what is asked above.
    pub(crate) fn sound(&self, read: impl Fn(Word) -> u32 + Copy, limits: &Limits<'_>) -> bool {
        let Some(base) = limits.base else { return true };
        let (below, first) = (base.first_string(), limits.first_string);
        let (base, own) = (&base.string_bytes()[..], limits.strings);
        let mut names = Names { base, below, own, first, limits, begin: true, own_one: false };
        let mut kinds = true;
        for offset in limits.offsets {
            let Some([name, word, third, rest @ ..]) = self.types.get(*offset as usize / 4..) else { continue };
            let word = read(*word);
            let info = KindInfo::of(word);
            names.see(read(*name));
            if info.refers != 0 {
                kinds &= wrong(info.kind, self.kind_of(read(*third), limits)).is_none();
            }
            if info.each == 0 {
                continue;
            }
            let tail = rest.get(..info.tail(word & 0x00ff_ffff)).unwrap_or_default();
            match info.shape {
                Shape::Members | Shape::WideNames => tail.as_chunks::<3>().0.iter().for_each(|e| names.see(read(e[0]))),
                Shape::Params | Shape::Names => tail.as_chunks::<2>().0.iter().for_each(|e| names.see(read(e[0]))),
                Shape::Vars => {
                    let vars = tail.as_chunks::<3>().0.iter();
                    kinds &=
                        vars.map(|e| self.kind_of(read(e[0]), limits)).all(|kind| wrong(info.kind, kind).is_none());
                }
                Shape::Plain | Shape::Link | Shape::Array => {}
            }
        }
        kinds && names.begin && (names.own_one || own.iter().all(|byte| *byte == 0))
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
