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

use xhint_btf::{Btf, Type, essential};

use crate::class::Class;
use crate::error::Error;
use crate::fields::holds_structs;
use crate::hint::{Hint, NamedValue};
use crate::limits::{MAX_BITS, MAX_SIZE};
use crate::plan::{Plan, PlanField};
use crate::tags::Tags;
use crate::walk::{self, Go, Visit, WalkFault, What, walk};

impl Plan {
    /// Makes the plan of the struct or union `type_id`, as layout `id` called `name`. Who makes several of one BTF
    /// gathers its tags once and uses [`Plan::tagged`].
    ///
    /// # Errors
    /// What keeps the struct from being a layout: its size, tags that name nothing, fields that are no
    /// numbers or lie on each other.
    pub fn of(btf: &Btf, type_id: u32, name: &str, id: u32) -> Result<Plan, Error> {
        Plan::tagged(btf, &Tags::of(btf), type_id, name, id)
    }

    /// The same with the tags of `btf` at hand.
    ///
    /// # Errors
    /// As [`Plan::of`].
    pub fn tagged(btf: &Btf, tags: &Tags<'_>, type_id: u32, name: &str, id: u32) -> Result<Plan, Error> {
        let ty = btf.skip_mods_and_typedefs(type_id);
        if !ty.kind().is_composite() {
            return Err(Error::NotAStruct { id: type_id, what: describe(ty) });
        }
        let empty = Plan { name: name.to_string(), id, size: ty.size(), fields: Vec::new(), silent: Vec::new() };
        // The size is known to be sane before anything is walked.
        let mut derive = Derive { btf, tags, plan: empty.checked()?, open: Vec::new(), array: None };
        match walk(btf, ty, &mut derive) {
            Ok(()) => derive.plan.checked(),
            Err(Stop::Here(error)) => Err(error),
            Err(Stop::Walk(cause)) => Err(Error::Fields { layout: name.to_string(), cause }),
        }
    }
}

struct Derive<'a, 't> {
    btf: &'a Btf,
    tags: &'t Tags<'a>,
    plan: Plan,
    /// For each field that the walk is in: the number of the plan's fields before it, and for which packets it is by its
    /// tag.
    open: Vec<(usize, Option<Class>)>,
    /// The array whose elements hold one value, if the walk is in one: what it means, and its last bit.
    array: Option<(Hint, u64)>,
}

enum Stop {
    Walk(WalkFault),
    Here(Error),
}

impl From<WalkFault> for Stop {
    fn from(fault: WalkFault) -> Stop {
        Stop::Walk(fault)
    }
}

impl<'a> Visit<'a> for Derive<'a, '_> {
    type Error = Stop;

    fn enter(&mut self, field: &walk::Visited<'a>) -> Result<Go, Stop> {
        let meaning = self.tags.meaning(field)?;
        self.open.push((self.plan.fields.len(), meaning.when));
        let structs = holds_structs(self.btf, field);
        let hint = match self.array {
            Some((hint, _)) => Some(hint),
            // What holds others means nothing by its name alone.
            None if structs => meaning.tagged(),
            None => meaning.hint_of(field.name),
        };
        match (hint, field.what) {
            (None, _) if structs => Ok(Go::Each),
            (None, _) => {
                self.plan.silent.push(field.path.clone());
                Ok(Go::Past)
            }
            (Some(hint), _) if structs => Err(self.not_a_number(hint, field)),
            (Some(hint), What::Array { len, stride }) => {
                if stride == 0 || stride > MAX_BITS || len > MAX_SIZE {
                    return Err(self.not_a_number(hint, field));
                }
                self.array.get_or_insert((hint, field.bit_end()));
                Ok(Go::Each)
            }
            (Some(hint), What::Int { .. } | What::Enum { .. } | What::Ptr) => self.number(hint, field),
            (Some(hint), _) => Err(self.not_a_number(hint, field)),
        }
    }

    fn leave(&mut self, field: &walk::Visited<'a>) -> Result<(), Stop> {
        if !field.element && matches!(field.what, What::Array { .. }) {
            self.array = None;
        }
        let Some((first, tagged)) = self.open.pop() else { return Ok(()) };
        let class = match tagged {
            None if field.is_arm() => self.arm_class(first, field.name),
            tagged => tagged,
        };
        self.restrict(first, class);
        Ok(())
    }
}

impl<'a> Derive<'a, '_> {
    fn number(&mut self, hint: Hint, field: &walk::Visited<'a>) -> Result<Go, Stop> {
        // An array of numbers is one value, cut into elements, the most significant one first.
        let shift = match self.array {
            Some((_, end)) => end.checked_sub(field.bit_end()),
            None => Some(0),
        };
        let small = |number: u64| u32::try_from(number).ok();
        let (Some(bit_offset), Some(bits), Some(shift)) =
            (small(field.bit_offset), small(field.bits), shift.and_then(small))
        else {
            return Err(Stop::Here(Error::BadPlace {
                layout: self.plan.name.clone(),
                path: field.path.clone(),
                bit_offset: field.bit_offset,
                bits: field.bits,
                size: self.plan.size,
            }));
        };
        self.plan.fields.push(PlanField {
            path: field.path.clone(),
            hint,
            bit_offset,
            bits,
            order: field.order.within(self.btf.order()),
            signed: field.what.signed(),
            pointer: field.what == What::Ptr,
            shift,
            when: Vec::new(),
            shared: field.in_union,
            values: values(hint, field.ty),
        });
        Ok(Go::Past)
    }

    /// The kind of packet that an arm of a union is for: fields from `first` on are the arm's.
    fn arm_class(&self, first: usize, name: &str) -> Option<Class> {
        let mut found: Vec<Class> = Vec::new();
        for field in self.plan.fields.iter().skip(first) {
            found.extend(&field.when);
            found.extend(field.hint.class());
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

    fn not_a_number(&self, hint: Hint, field: &walk::Visited<'_>) -> Stop {
        Stop::Here(Error::NotANumber {
            layout: self.plan.name.clone(),
            path: field.path.clone(),
            hint: hint.to_string(),
            what: describe(field.ty),
        })
    }
}

fn describe(ty: Type<'_>) -> String {
    match ty.name() {
        "" => format!("a {}", ty.kind().name()),
        name => format!("the {} {name}", ty.kind().name()),
    }
}

/// The names of our enumeration's values, and what they are in a field of type `ty`; without one, in a plain number.
pub fn values_of(hint: Hint, ty: Option<Type<'_>>) -> Vec<(&'static str, u64)> {
    let table = hint.values().unwrap_or_default();
    let own = |row: &NamedValue| ty.map_or(row.3, |ty| enumerated(ty, table, row.0));
    table.iter().map(|row| (row.0, own(row))).collect()
}

/// What our enumeration's values are in a field of type `ty`.
fn values(hint: Hint, ty: Type<'_>) -> Vec<u64> {
    values_of(hint, ty.kind().is_any_enum().then_some(ty)).into_iter().map(|(_, value)| value).collect()
}

/// The enumerator whose name ends in `name`, or in the name it falls back to.
fn enumerated(ty: Type<'_>, table: &[NamedValue], name: &str) -> u64 {
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
    let name = essential(enumerator).to_ascii_lowercase();
    match name.strip_suffix(wanted) {
        Some(before) => before.is_empty() || before.ends_with('_'),
        None => false,
    }
}
