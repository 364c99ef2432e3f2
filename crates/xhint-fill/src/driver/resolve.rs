//! Paths by offsets, as a kernel and a driver's module have them.

use std::collections::{HashMap, HashSet};

use xhint_btf::{Btf, ByteOrder, Kind, Type};
use xhint_layout::{FieldOrder, Hint, field_order};

use super::file::{DriverPath, Order, Says, Want};
use super::path::{Path, Step};

/// By what the kernel's memory is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// `bpf_rdonly_cast(pointer, 0)`: by plain loads.
    Cast,
    /// `bpf_probe_read_kernel`, onto the stack.
    Helper,
}

/// What every path begins in.
const XDP_BUFF: &str = "xdp_buff";
/// Offsets beyond it are no struct's.
const FAR: u64 = 1 << 28;
/// Structs in structs: more than any has.
const DEEP: usize = 32;
/// Members of all of them: more than any has.
const MOST: usize = 1 << 16;

/// A path by offsets, and how its value is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What the value means.
    pub hint: Hint,
    /// The path in words.
    pub words: String,
    /// Whose word it is.
    pub says: Says,
    /// By what the kernel lets it be read.
    pub(super) fetch: Fetch,
    /// The value.
    pub(super) value: Bits,
    /// What has to hold: a number, or of `None` the value itself, of which those bits count.
    pub(super) conditions: Vec<(Option<Bits>, u64, Want)>,
}

/// A number in memory, and which bits of it count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits {
    pub place: Place,
    /// Bits below what counts, when the bytes are in the machine's order.
    pub shift: u32,
    /// Bits that count then.
    pub mask: u64,
}

/// Where a number is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Where pointers are, each from where the one before points to, the first from `struct xdp_buff`.
    pub hops: Vec<u32>,
    /// From where the last points to.
    pub offset: u32,
    /// Bytes to read: 1, 2, 4 or 8.
    pub bytes: u32,
    /// Whether they are in the other order than the machine's.
    pub swapped: bool,
    /// Bits below the number.
    pub shift: u32,
    /// Its bits.
    pub bits: u32,
}

/// For each hint that `paths` have, the first of them that leads somewhere by `btf`, which is a kernel's or a module's on top
/// of it; else why none does.
#[must_use]
pub fn routes<'a>(
    paths: impl Iterator<Item = &'a DriverPath>,
    btf: &Btf,
    fetch: Fetch,
) -> Vec<(Hint, Result<Route, String>)> {
    let paths: Vec<_> = paths.collect();
    let types = Types::of(btf, &paths);
    let mut all: Vec<(Hint, Result<Route, String>)> = Vec::new();
    for path in paths {
        let found = route(&types, path, fetch);
        match all.iter_mut().find(|(hint, _)| *hint == path.hint) {
            Some((_, route @ Err(_))) if found.is_ok() => *route = found,
            Some((_, Err(why))) => why.extend(found.err().map(|more| format!("; {more}"))),
            Some(_) => {}
            None => all.push((path.hint, found)),
        }
    }
    all
}

fn route(types: &Types<'_>, path: &DriverPath, fetch: Fetch) -> Result<Route, String> {
    if let Some(since) = &path.since {
        types.has(since).map_err(|why| format!("only where there is {since}: {why}"))?;
    }
    if let Some(until) = path.until.as_ref().filter(|until| types.has(until).is_ok()) {
        return Err(format!("only where there is no {until}"));
    }
    let value = types.bits(&path.path, path.shift, path.mask, path.order)?;
    let wide = u64::BITS.saturating_sub(value.mask.leading_zeros());
    let most = path.hint.word().map_or(0, |word| word.bits);
    if wide > most {
        return Err(format!("{}: it has {wide} bits, and {} has {most}", path.path, path.hint));
    }
    let conditions = path.valid_when.iter().map(|condition| {
        let of = condition.path.as_ref().map(|of| types.bits(of, 0, condition.mask, None)).transpose()?;
        let mask = of.as_ref().map_or(condition.mask.unwrap_or(u64::MAX), |of| of.mask);
        let can_be = of.as_ref().map_or(mask & value.mask, |of| of.mask);
        let (Want::Is(number) | Want::Not(number)) = condition.want;
        match number & !can_be {
            0 => Ok((of, mask, condition.want)),
            _ => Err(format!("{}: it is compared with {number:#x}, which it cannot be", path.path)),
        }
    });
    Ok(Route {
        conditions: conditions.collect::<Result<_, String>>()?,
        hint: path.hint,
        words: words(path),
        says: path.says,
        fetch,
        value,
    })
}

/// `STRUCT.MEMBER >> 8 & 0xff`
fn words(path: &DriverPath) -> String {
    let shift = if path.shift > 0 { format!(" >> {}", path.shift) } else { String::new() };
    let mask = path.mask.map(|mask| format!(" & {mask:#x}")).unwrap_or_default();
    format!("{}{shift}{mask}", path.path)
}

/// The types that paths begin in or take things for.
struct Types<'a> {
    btf: &'a Btf,
    named: HashMap<&'a str, Vec<Type<'a>>>,
}

/// On the way along a path.
#[derive(Clone)]
struct At<'a> {
    hops: Vec<u32>,
    /// Bits from where the last hop led to.
    bit: u64,
    /// Type there, as it is declared.
    type_id: u32,
    /// Structs or unions of one name that what is pointed to is taken for; none, if it is taken for what it is.
    cast: Vec<Type<'a>>,
    /// Bits of a bitfield, else 0.
    bits: u32,
}

impl<'a> At<'a> {
    fn of(root: Type<'a>) -> At<'a> {
        At { hops: Vec::new(), bit: 0, type_id: root.id(), cast: Vec::new(), bits: 0 }
    }
}

impl<'a> Types<'a> {
    /// Those that `paths` name, found in one pass.
    fn of(btf: &'a Btf, paths: &[&DriverPath]) -> Types<'a> {
        let mut wanted = HashSet::new();
        for path in paths.iter().flat_map(|path| path.all()) {
            wanted.insert(path.root.as_str());
            wanted.extend(path.steps.iter().filter_map(|step| match step {
                Step::Cast(name) => Some(name.as_str()),
                _ => None,
            }));
        }
        let mut named = HashMap::<&str, Vec<Type<'_>>>::new();
        for part in btf.chain() {
            for ty in part.of_kinds([Kind::Struct, Kind::Union]).filter(|ty| wanted.contains(ty.name())) {
                // Of a split BTF the types know their base, and not the other way round.
                named.entry(ty.name()).or_default().extend(btf.ty(ty.id()));
            }
        }
        Types { btf, named }
    }

    /// That the path leads somewhere, in whatever struct it begins.
    fn has(&self, path: &Path) -> Result<(), String> {
        let mut why = format!("there is no struct {}", path.root);
        for root in self.roots(path) {
            match self.walk(At::of(*root), &path.steps) {
                Ok(_) => return Ok(()),
                Err(fault) => why = fault,
            }
        }
        Err(why)
    }

    fn roots(&self, path: &Path) -> &[Type<'a>] {
        self.named.get(path.root.as_str()).map(Vec::as_slice).unwrap_or_default()
    }

    /// The bits that count of what a path leads to.
    fn bits(&self, path: &Path, shift: u32, mask: Option<u64>, order: Option<Order>) -> Result<Bits, String> {
        self.bits_of(path, shift, mask, order).map_err(|why| format!("{path}: {why}"))
    }

    fn bits_of(&self, path: &Path, shift: u32, mask: Option<u64>, order: Option<Order>) -> Result<Bits, String> {
        let place = self.place(path, order)?;
        let left = place.bits.checked_sub(shift).filter(|left| *left > 0);
        let left = left.ok_or_else(|| format!("it has {} bits, and is shifted by {shift}", place.bits))?;
        let all = u64::MAX >> u64::BITS.saturating_sub(left).min(63);
        match mask {
            Some(mask) if mask & !all != 0 => Err(format!("the mask {mask:#x} has bits that it does not")),
            Some(0) => Err("the mask leaves nothing".to_owned()),
            _ => Ok(Bits { place, shift, mask: mask.unwrap_or(all) }),
        }
    }

    /// Where a path leads. Of several structs of one name each is tried: BTF of modules has some twice, alike.
    fn place(&self, path: &Path, order: Option<Order>) -> Result<Place, String> {
        let (mut places, mut why) = (Vec::<Place>::new(), None);
        for root in self.roots(path) {
            if !Search::of(self.btf).is_packet(*root, DEEP) {
                why = Some(format!("{} does not begin with a struct {XDP_BUFF}", path.root));
                continue;
            }
            match self.walk(At::of(*root), &path.steps).and_then(|at| self.number(&at, order)) {
                Ok(place) if places.contains(&place) => {}
                Ok(place) => places.push(place),
                Err(fault) => why = Some(fault),
            }
        }
        match (places.as_slice(), why) {
            ([place], _) => Ok(place.clone()),
            ([], Some(why)) => Err(why),
            ([], None) => Err(format!("there is no struct {}", path.root)),
            _ => Err(format!("there are several structs {}, which differ", path.root)),
        }
    }

    fn walk(&self, mut at: At<'a>, steps: &[Step]) -> Result<At<'a>, String> {
        for step in steps {
            at = match step {
                Step::Member(name) if !at.cast.is_empty() => {
                    return Err(format!("behind : there is a pointer: ->{name}"));
                }
                Step::Member(name) => self.member(at, name)?,
                Step::Follow(name) => self.member(self.follow(at)?, name)?,
                Step::Element(number) => self.element(at, *number)?,
                Step::Cast(name) => self.cast(at, name)?,
            };
        }
        Ok(at)
    }

    fn member(&self, at: At<'a>, name: &str) -> Result<At<'a>, String> {
        let own = self.btf.skip_mods_and_typedefs(at.type_id);
        let types = if at.cast.is_empty() { vec![own] } else { at.cast };
        let mut members = Vec::<Found>::new();
        for ty in types {
            if ty.kind() == Kind::Ptr {
                return Err(format!("what has {name} is a pointer: ->{name}"));
            }
            members.push(
                Search::of(self.btf).member(ty, name, DEEP).ok_or_else(|| format!("{} has no {name}", told(ty)))?,
            );
        }
        let [found, others @ ..] = members.as_slice() else { return Err(format!("nothing has {name}")) };
        if others.iter().any(|other| (other.bit, other.bits) != (found.bit, found.bits)) {
            return Err(format!("there are several that have {name}, at different places"));
        }
        let bit = at.bit.saturating_add(found.bit);
        Ok(At { hops: at.hops, bit, type_id: found.type_id, cast: Vec::new(), bits: found.bits })
    }

    fn follow(&self, mut at: At<'a>) -> Result<At<'a>, String> {
        let pointer = self.btf.skip_mods_and_typedefs(at.type_id);
        if pointer.kind() != Kind::Ptr {
            return Err(format!("{} is no pointer", told(pointer)));
        }
        at.hops.push(offset(at.bit)?);
        Ok(At { bit: 0, type_id: pointer.target(), bits: 0, ..at })
    }

    fn element(&self, at: At<'a>, number: u32) -> Result<At<'a>, String> {
        let array = self.btf.skip_mods_and_typedefs(at.type_id).array();
        let array = array.ok_or_else(|| format!("[{number}] of what is no array"))?;
        // One without a length goes on behind its struct.
        if array.len != 0 && number >= array.len {
            return Err(format!("[{number}] of {} elements", array.len));
        }
        let size = self.btf.type_size(array.elem).ok_or("an array of what has no size")?;
        let bits = u64::from(size).saturating_mul(8).saturating_mul(number.into());
        Ok(At { bit: at.bit.saturating_add(bits), type_id: array.elem, ..at })
    }

    fn cast(&self, at: At<'a>, name: &str) -> Result<At<'a>, String> {
        let pointer = self.btf.skip_mods_and_typedefs(at.type_id);
        if pointer.kind() != Kind::Ptr {
            return Err(format!("{} is no pointer, and so is taken for none to {name}", told(pointer)));
        }
        let cast = self.named.get(name).cloned().ok_or_else(|| format!("there is no struct or union {name}"))?;
        Ok(At { cast, ..at })
    }

    /// The number that stands there.
    fn number(&self, at: &At<'a>, order: Option<Order>) -> Result<Place, String> {
        if let Some(cast) = at.cast.first() {
            return Err(format!("nothing is read of the {} that it is taken for", told(*cast)));
        }
        let ty = self.btf.skip_mods_and_typedefs(at.type_id);
        let whole = match ty.kind() {
            Kind::Int | Kind::Enum | Kind::Enum64 | Kind::Ptr => self.btf.type_size(ty.id()),
            _ => None,
        };
        let bits = whole.and_then(|bytes| bytes.checked_mul(8)).ok_or_else(|| format!("{} is no number", told(ty)))?;
        // Older encoders say of a bitfield only by its type how wide it is.
        let own = ty.int().map(|int| (u32::from(int.bit_offset), u32::from(int.bits))).filter(|own| own.1 < bits);
        let (below, bits) = if at.bits > 0 { (0, at.bits) } else { own.unwrap_or((0, bits)) };
        let bit = at.bit.saturating_add(below.into());
        let (start, bytes) = around(bit, bits).ok_or("a bitfield that no 8 bytes hold")?;
        let declared = match (field_order(self.btf, at.type_id), order) {
            (FieldOrder::Host, None) => self.btf.order(),
            (FieldOrder::Host | FieldOrder::Big, Some(Order::Big)) | (FieldOrder::Big, None) => ByteOrder::Big,
            (FieldOrder::Host | FieldOrder::Little, Some(Order::Little)) | (FieldOrder::Little, None) => {
                ByteOrder::Little
            }
            (declared, Some(said)) => return Err(format!("it is declared {declared:?}, and said to be {said:?}")),
        };
        let swapped = declared != self.btf.order() && bytes > 1;
        let width = bytes.saturating_mul(8);
        if swapped && bits != width {
            return Err("a bitfield in the other byte order".to_owned());
        }
        let from_low = u32::try_from(bit.saturating_sub(start.saturating_mul(8))).map_err(|_| "too far")?;
        let shift = match self.btf.order() {
            ByteOrder::Little => from_low,
            ByteOrder::Big => width.saturating_sub(from_low).saturating_sub(bits),
        };
        let offset = offset(start.saturating_mul(8))?;
        Ok(Place { hops: at.hops.clone(), offset, bytes, swapped, shift, bits })
    }
}

/// A member, from the start of what has it.
#[derive(Clone, Copy)]
struct Found {
    bit: u64,
    type_id: u32,
    bits: u32,
}

/// A look through a struct and what is in it, which ends whatever that is.
struct Search<'a> {
    btf: &'a Btf,
    /// Members that are looked at, at most.
    left: usize,
}

impl<'a> Search<'a> {
    fn of(btf: &'a Btf) -> Search<'a> {
        Search { btf, left: MOST }
    }

    /// The member of this name, in `ty` itself or in what of it has no name.
    fn member(&mut self, ty: Type<'a>, name: &str, deep: usize) -> Option<Found> {
        let deep = deep.checked_sub(1)?;
        for member in ty.members() {
            self.left = self.left.checked_sub(1)?;
            let (bit, type_id, bits) = (u64::from(member.bit_offset), member.type_id, member.bit_size);
            if member.name == name {
                return Some(Found { bit, type_id, bits });
            }
            let inner = self.btf.skip_mods(type_id);
            if member.name.is_empty()
                && inner.kind().is_composite()
                && let Some(found) = self.member(inner, name, deep)
            {
                return Some(Found { bit: bit.saturating_add(found.bit), ..found });
            }
        }
        None
    }

    /// Whether a `struct xdp_buff` stands at the start of `ty`: so the driver finds its own struct around the packet's.
    fn is_packet(&mut self, ty: Type<'a>, deep: usize) -> bool {
        let Some(deep) = deep.checked_sub(1) else { return false };
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        let mut first = ty.members().take_while(|member| member.bit_offset == 0);
        ty.kind() == Kind::Struct && ty.name() == XDP_BUFF
            || first.any(|member| self.is_packet(self.btf.skip_mods_and_typedefs(member.type_id), deep))
    }
}

/// The first byte and the number of bytes, 1, 2, 4 or 8, that hold all of these bits: of a bitfield, aligned by that number.
fn around(bit: u64, bits: u32) -> Option<(u64, u32)> {
    if bit.is_multiple_of(8) && matches!(bits, 8 | 16 | 32 | 64) {
        return Some((bit.wrapping_div(8), bits.wrapping_div(8)));
    }
    let end = bit.checked_add(bits.into())?.div_ceil(8);
    [1u32, 2, 4, 8].into_iter().find_map(|bytes| {
        let start = bit.wrapping_div(8) & !u64::from(bytes.wrapping_sub(1));
        (end <= start.saturating_add(bytes.into())).then_some((start, bytes))
    })
}

fn offset(bit: u64) -> Result<u32, String> {
    let bytes = bit.wrapping_div(8);
    u32::try_from(bytes).ok().filter(|_| bytes < FAR).ok_or_else(|| format!("{bytes} bytes into a struct"))
}

/// A type in words.
fn told(ty: Type<'_>) -> String {
    let name = if ty.name().is_empty() { "without a name" } else { ty.name() };
    match ty.kind() {
        Kind::Struct => format!("struct {name}"),
        Kind::Union => format!("union {name}"),
        Kind::Ptr => "a pointer".to_owned(),
        Kind::Void => "void".to_owned(),
        Kind::Fwd => format!("{name}, of which no more is told,"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
