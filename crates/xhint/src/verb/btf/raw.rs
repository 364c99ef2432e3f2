//! The text of `bpftool btf dump file FILE format raw`, line for line.

use std::io::{self, Write};

use xhint_btf::{Btf, IntEncoding, Kind, Linkage, Type};

/// Writes the types of `btf` (its own, without its base's), one or more lines each.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, btf: &Btf) -> io::Result<()> {
    btf.types().try_for_each(|ty| one(out, btf, ty))
}

fn one(out: &mut impl Write, btf: &Btf, ty: Type<'_>) -> io::Result<()> {
    write!(out, "[{}] {} '{}'", ty.id(), word(ty.kind()), name(ty.name()))?;
    match ty.kind() {
        Kind::Int => {
            let Some(int) = ty.int() else { return writeln!(out) };
            let IntEncoding { bit_offset, bits, .. } = int;
            let encoding = encoding(int);
            write!(out, " size={} bits_offset={bit_offset} nr_bits={bits} encoding={encoding}", ty.size())?;
        }
        Kind::Ptr | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::Typedef | Kind::TypeTag => {
            write!(out, " type_id={}", ty.target())?;
        }
        Kind::Array => {
            let Some(a) = ty.array() else { return writeln!(out) };
            write!(out, " type_id={} index_type_id={} nr_elems={}", a.elem, a.index, a.len)?;
        }
        Kind::Struct | Kind::Union => members(out, ty)?,
        Kind::Enum | Kind::Enum64 => enumerators(out, ty)?,
        Kind::Fwd => write!(out, " fwd_kind={}", if ty.kind_flag() { "union" } else { "struct" })?,
        Kind::Func => write!(out, " type_id={} linkage={}", ty.target(), linkage(ty))?,
        Kind::FuncProto => {
            write!(out, " ret_type_id={} vlen={}", ty.target(), ty.vlen())?;
            for param in ty.params() {
                write!(out, "\n\t'{}' type_id={}", name(param.name), param.type_id)?;
            }
        }
        Kind::Var => write!(out, " type_id={}, linkage={}", ty.target(), linkage(ty))?,
        Kind::Datasec => {
            write!(out, " size={} vlen={}", ty.size(), ty.vlen())?;
            for var in ty.vars() {
                write!(out, "\n\ttype_id={} offset={} size={}", var.type_id, var.offset, var.size)?;
                if let Some(ty) = btf.ty(var.type_id) {
                    write!(out, " ({} '{}')", word(ty.kind()), name(ty.name()))?;
                }
            }
        }
        Kind::Float => write!(out, " size={}", ty.size())?,
        Kind::DeclTag => {
            write!(out, " type_id={} component_idx={}", ty.target(), ty.component().unwrap_or(-1))?;
        }
        Kind::Void | Kind::Unknown => {}
    }
    writeln!(out)
}

fn members(out: &mut impl Write, ty: Type<'_>) -> io::Result<()> {
    write!(out, " size={} vlen={}", ty.size(), ty.vlen())?;
    for member in ty.members() {
        write!(out, "\n\t'{}' type_id={} bits_offset={}", name(member.name), member.type_id, member.bit_offset)?;
        if member.bit_size != 0 {
            write!(out, " bitfield_size={}", member.bit_size)?;
        }
    }
    Ok(())
}

fn enumerators(out: &mut impl Write, ty: Type<'_>) -> io::Result<()> {
    let signed = ty.kind_flag();
    let (sign, suffix) = match (signed, ty.kind() == Kind::Enum64) {
        (true, true) => ("SIGNED", "LL"),
        (true, false) => ("SIGNED", ""),
        (false, true) => ("UNSIGNED", "ULL"),
        (false, false) => ("UNSIGNED", ""),
    };
    write!(out, " encoding={sign} size={} vlen={}", ty.size(), ty.vlen())?;
    for one in ty.enumerators() {
        write!(out, "\n\t'{}' val=", name(one.name))?;
        if signed {
            write!(out, "{}{suffix}", one.value as i64)?;
        } else {
            write!(out, "{}{suffix}", one.value)?;
        }
    }
    Ok(())
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
