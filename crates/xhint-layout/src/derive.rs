//! From a struct in BTF to a [`Plan`].
//!
//! The walk goes through nested structs, unions, anonymous members and arrays, and collects the
//! numbers at the leaves. Worked example, as C:
//!
//! ```c
//! struct nic_meta {
//!     __u32 rx_hash;                    // by its name
//!     enum { PKT_IPV4 = 1, PKT_IPV6 = 2 } pkt_type;
//!     union {
//!         struct { __be32 ipv4_src; __u8 ip_proto; } v4;  // this arm: IPv4 only, as ipv4_src is
//!         struct { __be32 ipv6_flow; } v6;
//!     } l3;
//!     __u16 mark __attribute__((btf_decl_tag("xhint:hint=flow_mark")));
//!     __u16 btf_id;                     // the selector
//! };
//! ```
//!
//! gives `rx_hash`, `pkt_type`, `l3.v4.ipv4_src`, `l3.v4.ip_proto`, `l3.v6.ipv6_flow`, `mark` and
//! `btf_id`. All that an arm of a union holds is for the kind of packet that its fields speak of:
//! of the third layer if they agree on one, or else of the fourth, or else the one the arm is called
//! by. A tag `xhint:when=ipv4` on a member says it outright.

use std::collections::HashMap;

use xhint_btf::{Btf, ByteOrder, Kind, Member, Type};
use xhint_universe::{FieldOrder, Layout, Universe, field_order};

use crate::error::Error;
use crate::hint::{Class, Hint, Value};
use crate::plan::{Field, MAX_SIZE, Order, Plan};

/// Levels of structs, unions and arrays.
const MAX_DEPTH: usize = 16;

/// Members looked at in all; far more than 216 bytes have use for.
const MAX_VISITS: usize = 4096;

impl Plan {
    /// Makes the plan of a layout of this universe.
    ///
    /// # Errors
    /// As [`Plan::of`].
    pub fn of_layout(universe: &Universe, layout: &Layout) -> Result<Plan, Error> {
        match universe.source(layout.source) {
            Some(source) => Plan::of(source.btf(), layout.type_id, &layout.name, layout.id),
            None => Err(Error::NotAStruct { id: layout.type_id, what: "of no source of this universe".to_string() }),
        }
    }

    /// Makes the plan of the struct or union `type_id`, as layout `id` called `name`.
    ///
    /// # Errors
    /// What keeps the struct from being a layout: its size, tags that name nothing, fields that are no
    /// numbers or lie on each other.
    pub fn of(btf: &Btf, type_id: u32, name: &str, id: u32) -> Result<Plan, Error> {
        let ty = btf.skip_mods_and_typedefs(type_id);
        if !ty.kind().is_composite() {
            return Err(Error::NotAStruct { id: type_id, what: describe(ty) });
        }
        let empty = Plan { name: name.to_string(), id, size: ty.size(), fields: Vec::new(), silent: Vec::new() };
        let mut walk = Walk {
            btf,
            tags: tags(btf),
            // The size is known to be sane before anything is walked.
            plan: empty.checked()?,
            visits: 0,
        };
        walk.composite(ty, &Place::default())?;
        walk.plan.checked()
    }
}

/// Field tags by struct and member number.
fn tags(btf: &Btf) -> HashMap<(u32, i32), Vec<&str>> {
    let mut tags: HashMap<(u32, i32), Vec<&str>> = HashMap::new();
    for ty in btf.types().filter(|t| t.kind() == Kind::DeclTag) {
        if let (Some(component), true) = (ty.component(), ty.name().starts_with("xhint:")) {
            tags.entry((ty.target(), component)).or_default().push(ty.name());
        }
    }
    tags
}

struct Walk<'a> {
    btf: &'a Btf,
    tags: HashMap<(u32, i32), Vec<&'a str>>,
    plan: Plan,
    visits: usize,
}

/// Where the walk stands.
#[derive(Clone, Default)]
struct Place {
    path: String,
    /// Bits from the layout's start.
    offset: u64,
    /// Whether any level above is a union.
    shared: bool,
    depth: usize,
}

/// What is known of a leaf before its type is looked at.
#[derive(Clone, Copy)]
struct Leaf {
    type_id: u32,
    hint: Hint,
    /// The width if it is a bitfield, else 0.
    bitfield: u32,
    /// Right shift of the value.
    shift: u32,
}

impl<'a> Walk<'a> {
    fn composite(&mut self, ty: Type<'a>, at: &Place) -> Result<(), Error> {
        if at.depth >= MAX_DEPTH {
            return Err(Error::TooDeep { layout: self.plan.name.clone(), path: at.path.clone(), depth: MAX_DEPTH });
        }
        let union = ty.kind() == Kind::Union;
        for (n, member) in (0i32..).zip(ty.members()) {
            self.visit(&at.path)?;
            let place = Place {
                path: join(&at.path, member.name),
                offset: at.offset.saturating_add(member.bit_offset.into()),
                shared: at.shared || union,
                depth: at.depth.saturating_add(1),
            };
            let tags = self.tags.get(&(ty.id(), n)).cloned().unwrap_or_default();
            let first = self.plan.fields.len();
            self.member(member, &place, &tags)?;
            let class = match self.tagged_class(&tags, &place.path)? {
                None if union => self.arm_class(first, member.name),
                tagged => tagged,
            };
            self.restrict(first, class);
        }
        Ok(())
    }

    /// Counts what is looked at, so that structs of structs of structs come to an end.
    fn visit(&mut self, path: &str) -> Result<(), Error> {
        self.visits = self.visits.saturating_add(1);
        if self.visits > MAX_VISITS {
            return Err(Error::TooManyFields { layout: self.plan.name.clone(), path: path.to_string() });
        }
        Ok(())
    }

    fn member(&mut self, member: Member<'a>, at: &Place, tags: &[&str]) -> Result<(), Error> {
        let tagged = self.tagged_hint(tags, &at.path)?;
        let ty = self.btf.skip_mods_and_typedefs(member.type_id);
        if ty.kind().is_composite() {
            return match tagged {
                None => self.composite(ty, at),
                Some(hint) => Err(self.not_a_number(hint, ty, at)),
            };
        }
        if ty.kind() == Kind::Array && tagged.is_none() && self.holds_structs(member.type_id) {
            return self.structs(member.type_id, at);
        }
        let named = match member.name {
            "btf_id" => Some(Hint::LayoutId),
            name => Hint::from_name(name).filter(|h| !matches!(h, Hint::Const(_))),
        };
        match tagged.or(named) {
            None => self.plan.silent.push(at.path.clone()),
            Some(hint) => {
                let leaf = Leaf { type_id: member.type_id, hint, bitfield: member.bit_size, shift: 0 };
                self.leaf(leaf, at)?;
            }
        }
        Ok(())
    }

    /// Whether an array, of arrays perhaps, ends in structs or unions.
    fn holds_structs(&self, type_id: u32) -> bool {
        let mut ty = self.btf.skip_mods_and_typedefs(type_id);
        for _ in 0..MAX_DEPTH {
            match ty.array() {
                Some(array) => ty = self.btf.skip_mods_and_typedefs(array.elem),
                None => break,
            }
        }
        ty.kind().is_composite()
    }

    /// An array of structs: each is walked by its index.
    fn structs(&mut self, type_id: u32, at: &Place) -> Result<(), Error> {
        let ty = self.btf.skip_mods_and_typedefs(type_id);
        let Some(array) = ty.array() else {
            return self.composite(ty, at);
        };
        let size = self.btf.type_size(array.elem).unwrap_or(0);
        // Elements without bytes hold nothing, however many they say they are.
        let len = if size == 0 { 0 } else { array.len };
        for i in 0..len {
            let place = self.element(at, i, size)?;
            self.structs(array.elem, &place)?;
        }
        Ok(())
    }

    fn element(&mut self, at: &Place, i: u32, size: u32) -> Result<Place, Error> {
        self.visit(&at.path)?;
        let bits = u64::from(size).saturating_mul(8);
        let place = Place {
            path: format!("{}[{i}]", at.path),
            offset: at.offset.saturating_add(bits.saturating_mul(i.into())),
            shared: at.shared,
            depth: at.depth.saturating_add(1),
        };
        if place.depth >= MAX_DEPTH {
            return Err(Error::TooDeep { layout: self.plan.name.clone(), path: place.path, depth: MAX_DEPTH });
        }
        Ok(place)
    }

    fn leaf(&mut self, leaf: Leaf, at: &Place) -> Result<(), Error> {
        let ty = self.btf.skip_mods_and_typedefs(leaf.type_id);
        match ty.kind() {
            Kind::Array => self.numbers(leaf, ty, at),
            Kind::Int | Kind::Enum | Kind::Enum64 | Kind::Ptr => self.number(leaf, ty, at),
            _ => Err(self.not_a_number(leaf.hint, ty, at)),
        }
    }

    /// An array of numbers: one value, cut into elements, the most significant one first.
    fn numbers(&mut self, leaf: Leaf, ty: Type<'a>, at: &Place) -> Result<(), Error> {
        let Some(array) = ty.array() else {
            return Err(self.not_a_number(leaf.hint, ty, at));
        };
        let size = self.btf.type_size(array.elem).unwrap_or(0);
        let bits = size.saturating_mul(8);
        if size == 0 || size > MAX_SIZE || array.len > MAX_SIZE {
            return Err(self.not_a_number(leaf.hint, ty, at));
        }
        for i in 0..array.len {
            let place = self.element(at, i, size)?;
            let after = array.len.saturating_sub(i).saturating_sub(1);
            let shift = leaf.shift.saturating_add(after.saturating_mul(bits));
            let type_id = array.elem;
            self.leaf(Leaf { type_id, shift, ..leaf }, &place)?;
        }
        Ok(())
    }

    fn number(&mut self, leaf: Leaf, ty: Type<'a>, at: &Place) -> Result<(), Error> {
        let (mut bits, mut offset) = (u64::from(leaf.bitfield), at.offset);
        if bits == 0 {
            bits = match ty.kind() {
                Kind::Ptr => u64::from(self.btf.pointer_size()).saturating_mul(8),
                _ => u64::from(ty.size()).saturating_mul(8),
            };
            // The older form of bitfields: the int itself tells.
            if let Some(int) = ty.int().filter(|i| u64::from(i.bits) < bits || i.bit_offset != 0) {
                bits = int.bits.into();
                offset = offset.saturating_add(int.bit_offset.into());
            }
        }
        let (Ok(bit_offset), Ok(bits)) = (u32::try_from(offset), u32::try_from(bits)) else {
            return Err(Error::BadPlace {
                layout: self.plan.name.clone(),
                path: at.path.clone(),
                bit_offset: offset,
                bits,
                size: self.plan.size,
            });
        };
        self.plan.fields.push(Field {
            path: at.path.clone(),
            hint: leaf.hint,
            bit_offset,
            bits,
            order: self.order(leaf.type_id),
            signed: ty.int().is_some_and(|i| i.signed) || (ty.kind().is_any_enum() && ty.kind_flag()),
            pointer: ty.kind() == Kind::Ptr,
            shift: leaf.shift,
            when: Vec::new(),
            shared: at.shared,
            values: values(leaf.hint, ty),
        });
        Ok(())
    }

    fn order(&self, type_id: u32) -> Order {
        match field_order(self.btf, type_id) {
            FieldOrder::Big => Order::Big,
            FieldOrder::Little => Order::Little,
            FieldOrder::Host if self.btf.order() == ByteOrder::Big => Order::Big,
            FieldOrder::Host => Order::Little,
        }
    }

    fn tagged_hint(&self, tags: &[&str], path: &str) -> Result<Option<Hint>, Error> {
        if tags.contains(&"xhint:selector") {
            return Ok(Some(Hint::LayoutId));
        }
        for tag in tags {
            if let Some(name) = tag.strip_prefix("xhint:hint=") {
                return match Hint::from_name(name) {
                    Some(hint) => Ok(Some(hint)),
                    None => Err(Error::UnknownHint {
                        layout: self.plan.name.clone(),
                        path: path.to_string(),
                        tag: tag.to_string(),
                    }),
                };
            }
        }
        Ok(None)
    }

    fn tagged_class(&self, tags: &[&str], path: &str) -> Result<Option<Class>, Error> {
        let Some((tag, name)) = tags.iter().find_map(|t| t.strip_prefix("xhint:when=").map(|name| (t, name))) else {
            return Ok(None);
        };
        match Class::from_name(name) {
            Some(class) => Ok(Some(class)),
            None => Err(Error::UnknownClass {
                layout: self.plan.name.clone(),
                path: path.to_string(),
                tag: tag.to_string(),
            }),
        }
    }

    /// The kind of packet that an arm of a union is for: fields from `first` on are the arm's.
    fn arm_class(&self, first: usize, name: &str) -> Option<Class> {
        let mut found: Vec<Class> = Vec::new();
        for field in self.plan.fields.iter().skip(first) {
            found.extend(&field.when);
            found.extend(field.hint.word().class);
        }
        for layer in [3, 4] {
            let mut of_layer = found.iter().filter(|c| c.layer() == layer);
            if let Some(one) = of_layer.next() {
                return of_layer.all(|c| c == one).then_some(*one);
            }
        }
        match name {
            "v4" | "ip4" => Some(Class::Ipv4),
            "v6" | "ip6" => Some(Class::Ipv6),
            other => Class::from_name(other),
        }
    }

    fn restrict(&mut self, first: usize, class: Option<Class>) {
        let Some(class) = class else { return };
        for field in self.plan.fields.iter_mut().skip(first) {
            if !field.when.contains(&class) {
                field.when.push(class);
                field.when.sort();
            }
        }
    }

    fn not_a_number(&self, hint: Hint, ty: Type<'_>, at: &Place) -> Error {
        Error::NotANumber {
            layout: self.plan.name.clone(),
            path: at.path.clone(),
            hint: hint.to_string(),
            what: describe(ty),
        }
    }
}

/// An anonymous member adds nothing to the path.
fn join(path: &str, name: &str) -> String {
    match (path.is_empty(), name.is_empty()) {
        (_, true) => path.to_string(),
        (true, false) => name.to_string(),
        (false, false) => format!("{path}.{name}"),
    }
}

fn describe(ty: Type<'_>) -> String {
    match ty.name() {
        "" => format!("a {}", ty.kind().name()),
        name => format!("the {} {name}", ty.kind().name()),
    }
}

/// What our enumeration's values are in a field of type `ty`.
fn values(hint: Hint, ty: Type<'_>) -> Vec<u64> {
    let Some(table) = hint.values() else {
        return Vec::new();
    };
    if !ty.kind().is_any_enum() {
        return table.iter().map(|row| row.3).collect();
    }
    table.iter().map(|row| enumerated(ty, table, row.0)).collect()
}

/// The enumerator whose name ends in `name`, or in the name it falls back to.
fn enumerated(ty: Type<'_>, table: &[Value], name: &str) -> u64 {
    let mut name = Some(name);
    // A fallback leads to an earlier row, so there are no more steps than rows.
    for _ in table {
        let Some(wanted) = name else { break };
        if let Some(found) = ty.enumerators().find(|e| ends_in(e.name, wanted)) {
            return found.value;
        }
        name = table.iter().find(|row| row.0 == wanted).and_then(|row| row.2);
    }
    0
}

/// `MY_PKT_IPV4___v2` ends in `ipv4`.
fn ends_in(enumerator: &str, wanted: &str) -> bool {
    let essential = match enumerator.rfind("___") {
        Some(at) if at > 0 => enumerator.get(..at).unwrap_or(enumerator),
        _ => enumerator,
    };
    let name = essential.to_ascii_lowercase();
    match name.strip_suffix(wanted) {
        Some(before) => before.is_empty() || before.ends_with('_'),
        None => false,
    }
}
