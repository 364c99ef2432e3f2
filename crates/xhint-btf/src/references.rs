//! The references of each type, looked at one by one.
//!
//! Besides being there, those of a split BTF must make sense, since on a base that it was not made for it reads as other
//! types and other names, without a word. What is asked:
//!
//! 1. Every name begins a string: a zero byte is before it. No producer lets a name be the tail of another.
//! 2. What a reference means has the right kind: a function's type is a prototype, a data section holds variables (or
//!    functions, as compilers write for those declared elsewhere), and nothing is *of type* function, variable, data
//!    section or tag. libbpf's `btf_validate_type` asks the first, the kernel's `btf_check_meta` and `btf_resolve` all.
//! 3. If it has strings, it names one. Where the base is larger than the right one, its own are out of sight.

use crate::check::{Pass, Record};
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

impl<'a> Pass<'a> {
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
                Role::Id if limits.base.is_some() && (word != 1 || record.info.refers != 0) => {
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
