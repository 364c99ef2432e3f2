//! The text of `bpftool btf dump file FILE format raw`, line for line. bpftool writes any name as it is; here what would
//! control a terminal is escaped, so that a name with a newline stays in its line.

use std::fmt::{self, Display};
use std::io;

use xhint::btf::{Btf, IntEncoding, Kind, Linkage, Type};

use crate::print::{Stdout, line};

/// Writes the types of `btf` (its own, without its base's), one or more lines each.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut Stdout, btf: &Btf) -> io::Result<()> {
    btf.types().try_for_each(|ty| one(out, btf, ty))
}

fn one(out: &mut Stdout, btf: &Btf, ty: Type<'_>) -> io::Result<()> {
    line!(out, "[{}] {} '{}'{}", ty.id(), word(ty.kind()), name(ty.name()), Rest(ty))?;
    match ty.kind() {
        Kind::Struct | Kind::Union => ty.members().try_for_each(|member| {
            let (name, at) = (name(member.name), member.bit_offset);
            match member.bit_size {
                0 => out.item(format_args!("'{name}' type_id={} bits_offset={at}", member.type_id)),
                bits => {
                    out.item(format_args!("'{name}' type_id={} bits_offset={at} bitfield_size={bits}", member.type_id))
                }
            }
        }),
        Kind::Enum | Kind::Enum64 => enumerators(out, ty),
        Kind::FuncProto => {
            ty.params().try_for_each(|param| out.item(format_args!("'{}' type_id={}", name(param.name), param.type_id)))
        }
        Kind::Datasec => ty.vars().try_for_each(|var| {
            let place = format_args!("type_id={} offset={} size={}", var.type_id, var.offset, var.size);
            match btf.ty(var.type_id) {
                Some(ty) => out.item(format_args!("{place} ({} '{}')", word(ty.kind()), name(ty.name()))),
                None => out.item(place),
            }
        }),
        _ => Ok(()),
    }
}

/// What stands behind a type's name.
struct Rest<'a>(Type<'a>);

impl Display for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ty = self.0;
        match ty.kind() {
            Kind::Int => {
                let Some(int) = ty.int() else { return Ok(()) };
                let IntEncoding { bit_offset, bits, .. } = int;
                let encoding = encoding(int);
                write!(f, " size={} bits_offset={bit_offset} nr_bits={bits} encoding={encoding}", ty.size())
            }
            Kind::Ptr | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::Typedef | Kind::TypeTag => {
                write!(f, " type_id={}", ty.target())
            }
            Kind::Array => {
                let Some(a) = ty.array() else { return Ok(()) };
                write!(f, " type_id={} index_type_id={} nr_elems={}", a.elem, a.index, a.len)
            }
            Kind::Struct | Kind::Union | Kind::Datasec => write!(f, " size={} vlen={}", ty.size(), ty.vlen()),
            Kind::Enum | Kind::Enum64 => {
                let sign = if ty.kind_flag() { "SIGNED" } else { "UNSIGNED" };
                write!(f, " encoding={sign} size={} vlen={}", ty.size(), ty.vlen())
            }
            Kind::Fwd => write!(f, " fwd_kind={}", if ty.kind_flag() { "union" } else { "struct" }),
            Kind::Func => write!(f, " type_id={} linkage={}", ty.target(), linkage(ty)),
            Kind::FuncProto => write!(f, " ret_type_id={} vlen={}", ty.target(), ty.vlen()),
            Kind::Var => write!(f, " type_id={}, linkage={}", ty.target(), linkage(ty)),
            Kind::Float => write!(f, " size={}", ty.size()),
            Kind::DeclTag => write!(f, " type_id={} component_idx={}", ty.target(), ty.component().unwrap_or(-1)),
            Kind::Void | Kind::Unknown => Ok(()),
        }
    }
}

fn enumerators(out: &mut Stdout, ty: Type<'_>) -> io::Result<()> {
    let signed = ty.kind_flag();
    let suffix = match (signed, ty.kind() == Kind::Enum64) {
        (true, true) => "LL",
        (false, true) => "ULL",
        (_, false) => "",
    };
    ty.enumerators().try_for_each(|one| match signed {
        true => out.item(format_args!("'{}' val={}{suffix}", name(one.name), one.value.cast_signed())),
        false => out.item(format_args!("'{}' val={}{suffix}", name(one.name), one.value)),
    })
}

/// A name as bpftool writes it.
pub fn name(name: &str) -> &str {
    if name.is_empty() { "(anon)" } else { name }
}

/// An int's encoding as bpftool writes it.
pub fn encoding(int: IntEncoding) -> &'static str {
    match (int.signed, int.char, int.bool) {
        (false, false, false) => "(none)",
        (true, false, false) => "SIGNED",
        (false, true, false) => "CHAR",
        (false, false, true) => "BOOL",
        _ => "UNKN",
    }
}

/// Linkage as bpftool writes it.
pub fn linkage(ty: Type<'_>) -> &'static str {
    match ty.linkage() {
        Some(Linkage::Static) => "static",
        Some(Linkage::Global) => "global",
        Some(Linkage::Extern) => "extern",
        None => "(unknown)",
    }
}

/// The format's own word for a kind, in capitals.
pub fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Void => "UNKNOWN",
        Kind::Int => "INT",
        Kind::Ptr => "PTR",
        Kind::Array => "ARRAY",
        Kind::Struct => "STRUCT",
        Kind::Union => "UNION",
        Kind::Enum => "ENUM",
        Kind::Fwd => "FWD",
        Kind::Typedef => "TYPEDEF",
        Kind::Volatile => "VOLATILE",
        Kind::Const => "CONST",
        Kind::Restrict => "RESTRICT",
        Kind::Func => "FUNC",
        Kind::FuncProto => "FUNC_PROTO",
        Kind::Var => "VAR",
        Kind::Datasec => "DATASEC",
        Kind::Float => "FLOAT",
        Kind::DeclTag => "DECL_TAG",
        Kind::TypeTag => "TYPE_TAG",
        Kind::Enum64 => "ENUM64",
        Kind::Unknown => "UNKNOWN",
    }
}
