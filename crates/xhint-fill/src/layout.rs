//! The layout that holds what is fetched, and beside it the enums by which the filler learns from where: a NIC BTF that
//! stands alone.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use xhint_btf::{Array, Btf, Builder, Composite, Def, Enumeration, Enumerator, Member};
use xhint_layout::derive::values_of;
use xhint_layout::vocabulary::Kfunc;
use xhint_layout::{Hint, content, derived_id};

use crate::choice::Source;
use crate::{Asked, Choice, Error, Origin, Shape};

/// What the filler calls the layout.
const OWN_NAME: &str = "xhint_fill";
/// So many bytes of metadata are counted by.
const UNIT: u32 = 4;

/// A layout, and where in its BTF it stands.
pub struct Layout {
    /// The BTF.
    pub btf: Btf,
    /// Its struct there.
    pub type_id: u32,
    /// Its id, derived from what it holds.
    pub id: u32,
}

/// The layout for `choice`, whose types are those of `program`; its struct is a flavour of the program's. With `walk`, packets are
/// read where they lie.
///
/// # Errors
/// [`Error::Layout`], [`Error::Struct`].
pub fn layout(program: &Btf, asked: &Asked, choice: &Choice, walk: bool) -> Result<Layout, Error> {
    let mut btf = Builder::new(program.order());
    let mut fields = Vec::new();
    for (hint, (shape, names)) in by_hint(choice) {
        let (type_id, bytes, align) = field_type(&mut btf, program, shape)?;
        fields.push(Placed { name: hint, type_id, bytes, align, also: names });
    }
    // The widest first, so that there are no gaps but at the end.
    fields.sort_by_key(|field| Reverse(field.align));
    let bytes: u32 = fields.iter().map(|field| field.bytes).sum();
    let byte = btf.add(&Def::unsigned("unsigned char", 1))?;
    let pads = bytes.next_multiple_of(UNIT).abs_diff(bytes);
    fields.extend((0..pads).map(|n| Placed::one(format!("pad{n}"), byte, 1)));
    let id = btf.add(&Def::unsigned("unsigned int", 4))?;
    fields.push(Placed::one("btf_id".to_owned(), id, 4));
    // By a flavour no NIC's layout is equal to it, which packets could carry.
    let name = format!("{}___filled", asked.structs.first().map_or(OWN_NAME, String::as_str));
    let target = structure(&mut btf, &name, &fields)?;
    let others = asked.structs.iter().skip(1).map(String::as_str).chain([OWN_NAME]);
    let tags = ["xhint:layout".to_owned()].into_iter().chain(others.map(|name| format!("xhint:as={name}")));
    for text in tags {
        btf.add(&Def::DeclTag { text: &text, target, component: None, attribute: false })?;
    }
    enums(&mut btf, program, choice, walk)?;
    let btf = Btf::parse(btf.finish())?;
    let content = content(&btf, &name, target).map_err(|source| Error::Struct { name, source })?;
    Ok(Layout { btf, type_id: target, id: derived_id(&content) })
}

/// A field of the layout.
struct Placed {
    /// As the filler calls it.
    name: String,
    type_id: u32,
    bytes: u32,
    /// What its place is a multiple of.
    align: u32,
    /// As the program calls it, where that is otherwise.
    also: Vec<String>,
}

impl Placed {
    fn one(name: String, type_id: u32, bytes: u32) -> Placed {
        Placed { name, type_id, bytes, align: bytes, also: Vec::new() }
    }
}

/// The values that are filled: how each lies in metadata, and what the program calls it by other names.
fn by_hint(choice: &Choice) -> BTreeMap<String, (Shape, Vec<String>)> {
    let mut all = BTreeMap::<String, (Shape, Vec<String>)>::new();
    for (name, source) in choice.filled() {
        let hint = source.hint.to_string();
        let also = (name != hint).then(|| name.to_owned());
        all.entry(hint).or_insert((source.shape, Vec::new())).1.extend(also);
    }
    all
}

/// The struct with these fields, one behind another. What has several names is a union without one.
fn structure(btf: &mut Builder, name: &str, fields: &[Placed]) -> Result<u32, Error> {
    let mut at = 0u32;
    let mut members = Vec::new();
    for field in fields {
        let bit = at.saturating_mul(8);
        at = at.saturating_add(field.bytes);
        members.push(if field.also.is_empty() {
            Member::new(&field.name, field.type_id, bit)
        } else {
            let names = [&field.name].into_iter().chain(&field.also);
            let arms: Vec<_> = names.map(|name| Member::new(name, field.type_id, 0)).collect();
            let union = Def::Union(Composite::new("", field.bytes, arms));
            Member::new("", btf.add(&union)?, bit)
        });
    }
    Ok(btf.add(&Def::structure(name, at, members))?)
}

/// A type for the field, its bytes, and what its place is a multiple of.
fn field_type(btf: &mut Builder, program: &Btf, shape: Shape) -> Result<(u32, u32, u32), Error> {
    Ok(match shape {
        Shape::Host(bytes) => (btf.add(&Def::unsigned(host_name(bytes), bytes))?, bytes, bytes),
        Shape::Network(bytes) => (network(btf, bytes)?, bytes, bytes),
        Shape::Enum(id) => {
            let ty = program.skip_mods_and_typedefs(id);
            let def = ty.def().unwrap_or_else(|| Def::unsigned("unsigned int", ty.size()));
            (btf.add(&def)?, ty.size(), ty.size())
        }
        Shape::Bytes(len) => {
            let elem = btf.add(&Def::unsigned("unsigned char", 1))?;
            (array(btf, elem, len)?, len, 4)
        }
        Shape::Words(len) => {
            let elem = network(btf, 4)?;
            (array(btf, elem, len)?, len.saturating_mul(4), 4)
        }
    })
}

fn network(btf: &mut Builder, bytes: u32) -> Result<u32, Error> {
    let target = btf.add(&Def::unsigned(host_name(bytes), bytes))?;
    if bytes == 1 {
        return Ok(target);
    }
    let name = format!("__be{}", bytes.saturating_mul(8));
    Ok(btf.add(&Def::Typedef { name: &name, target })?)
}

fn array(btf: &mut Builder, elem: u32, len: u32) -> Result<u32, Error> {
    let index = btf.add(&Def::unsigned("__ARRAY_SIZE_TYPE__", 4))?;
    Ok(btf.add(&Def::Array(Array { elem, index, len }))?)
}

fn host_name(bytes: u32) -> &'static str {
    match bytes {
        1 => "unsigned char",
        2 => "unsigned short",
        4 => "unsigned int",
        _ => "unsigned long long",
    }
}

/// The enums of `bpf/layout.h`: from where values come, and which numbers the program has for kinds of packets.
fn enums(btf: &mut Builder, program: &Btf, choice: &Choice, walk: bool) -> Result<(), Error> {
    let mut from = BTreeSet::from_iter(walk.then_some(Cow::Borrowed("XHINT_FROM_WHERE_IT_LIES")));
    for (_, source) in choice.filled() {
        from.extend(from_of(source));
    }
    let from: Vec<_> =
        (0i32..).zip(&from).map(|(n, name)| Enumerator { name, value: n.cast_unsigned().into() }).collect();
    if !from.is_empty() {
        btf.add(&enumeration("xhint_from", from))?;
    }
    let type_of = choice.filled().find(|(_, source)| source.hint == Hint::PktType);
    if let Some((_, source)) = type_of {
        let own = match source.shape {
            Shape::Enum(id) => Some(program.skip_mods_and_typedefs(id)),
            _ => None,
        };
        let values = values_of(Hint::PktType, own);
        let names: Vec<_> = values.iter().map(|(name, _)| format!("XHINT_PKT_{}", name.to_ascii_uppercase())).collect();
        let values = names.iter().zip(&values).map(|(name, (_, value))| Enumerator { name, value: *value }).collect();
        btf.add(&enumeration("xhint_pkt_type", values))?;
    }
    Ok(())
}

fn enumeration<'a>(name: &'a str, values: Vec<Enumerator<'a>>) -> Def<'a> {
    Def::Enum(Enumeration { name, size: 4, signed: false, values: values.into() })
}

/// What of the filler a field needs: `enum xhint_from`.
fn from_of(source: &Source) -> Vec<Cow<'static, str>> {
    let driver = || format!("XHINT_FROM_DRIVER_{}", source.hint.to_string().to_ascii_uppercase());
    match (&source.offer.origin, source.hint) {
        // As of the kernel's functions: where no tag was taken off, it stands in the packet.
        (Origin::Driver(_), Hint::VlanTci | Hint::VlanProto) => vec![driver().into(), PACKET.into()],
        (Origin::Driver(_), _) => vec![driver().into()],
        (origin, hint) => others(origin, hint).into_iter().map(Cow::Borrowed).collect(),
    }
}

const PACKET: &str = "XHINT_FROM_PACKET";
const NETWORK: &str = "XHINT_FROM_NETWORK_HEADER";
const TRANSPORT: &str = "XHINT_FROM_TRANSPORT_HEADER";

/// The same where these do not depend on the field alone.
fn others(origin: &Origin, hint: Hint) -> Vec<&'static str> {
    match (origin, hint) {
        (Origin::Kfunc(Kfunc::RxTimestamp), _) => vec!["XHINT_FROM_KFUNC_RX_TIMESTAMP"],
        (Origin::Kfunc(Kfunc::RxHash), _) => vec!["XHINT_FROM_KFUNC_RX_HASH"],
        // Where the driver has taken no tag off, it stands in the packet.
        (Origin::Kfunc(Kfunc::RxVlanTag), _) => vec!["XHINT_FROM_KFUNC_RX_VLAN_TAG", PACKET],
        (Origin::Clock, _) => vec!["XHINT_FROM_CLOCK"],
        (Origin::Toeplitz, _) => vec![PACKET, NETWORK, TRANSPORT, "XHINT_FROM_HASH"],
        (Origin::Packet, Hint::VlanTci | Hint::VlanProto | Hint::EthProto) => vec![PACKET],
        (
            Origin::Packet,
            Hint::PktType
            | Hint::SrcPort
            | Hint::DstPort
            | Hint::TcpFlags
            | Hint::IcmpType
            | Hint::IcmpCode
            | Hint::L4Offset,
        ) => vec![PACKET, NETWORK, TRANSPORT],
        (Origin::Packet, Hint::PktLen) => Vec::new(),
        (Origin::Packet, _) => vec![PACKET, NETWORK],
        (Origin::Context(_) | Origin::Filler | Origin::Driver(_) | Origin::NoDriver, _) => Vec::new(),
    }
}
