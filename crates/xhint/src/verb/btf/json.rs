//! The JSON of `bpftool -j btf dump file FILE format raw`.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use xhint_btf::{Btf, Kind, Type};

use super::raw::{encoding, linkage, name, word};

/// Writes `{"types":[…]}`, an object a type.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, btf: &Btf) -> io::Result<()> {
    out.write_all(b"{\"types\":[")?;
    for (n, ty) in btf.types().enumerate() {
        if n > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, &one(ty))?;
    }
    out.write_all(b"]}\n")
}

fn one(ty: Type<'_>) -> Value {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    put("id", ty.id().into());
    put("kind", word(ty.kind()).into());
    put("name", name(ty.name()).into());
    match ty.kind() {
        Kind::Int => {
            put("size", ty.size().into());
            if let Some(int) = ty.int() {
                put("bits_offset", int.bit_offset.into());
                put("nr_bits", int.bits.into());
                put("encoding", encoding(int).into());
            }
        }
        Kind::Array => {
            if let Some(array) = ty.array() {
                put("type_id", array.elem.into());
                put("index_type_id", array.index.into());
                put("nr_elems", array.len.into());
            }
        }
        Kind::Struct | Kind::Union => {
            sized(&mut put, ty);
            put("members", members(ty));
        }
        Kind::Enum | Kind::Enum64 => {
            put("encoding", if ty.kind_flag() { "SIGNED" } else { "UNSIGNED" }.into());
            sized(&mut put, ty);
            put("values", values(ty));
        }
        Kind::Fwd => drop(put("fwd_kind", if ty.kind_flag() { "union" } else { "struct" }.into())),
        Kind::FuncProto => {
            put("ret_type_id", ty.target().into());
            put("vlen", ty.vlen().into());
            put("params", ty.params().map(|p| json!({"name": name(p.name), "type_id": p.type_id})).collect());
        }
        Kind::Func | Kind::Var => {
            put("type_id", ty.target().into());
            put("linkage", linkage(ty).into());
        }
        Kind::Datasec => {
            sized(&mut put, ty);
            let var = |v: xhint_btf::SecVar| json!({"type_id": v.type_id, "offset": v.offset, "size": v.size});
            put("vars", ty.vars().map(var).collect());
        }
        Kind::Float => drop(put("size", ty.size().into())),
        Kind::DeclTag => {
            put("type_id", ty.target().into());
            put("component_idx", ty.component().unwrap_or(-1).into());
        }
        Kind::Void | Kind::Unknown => {}
        _ => drop(put("type_id", ty.target().into())),
    }
    Value::Object(all)
}

fn sized(put: &mut impl FnMut(&str, Value) -> Option<Value>, ty: Type<'_>) {
    put("size", ty.size().into());
    put("vlen", ty.vlen().into());
}

fn members(ty: Type<'_>) -> Value {
    let member = |m: xhint_btf::Member<'_>| {
        let mut out = json!({"name": name(m.name), "type_id": m.type_id, "bits_offset": m.bit_offset});
        if let (true, Some(out)) = (m.bit_size != 0, out.as_object_mut()) {
            out.insert("bitfield_size".to_owned(), m.bit_size.into());
        }
        out
    };
    ty.members().map(member).collect()
}

fn values(ty: Type<'_>) -> Value {
    let signed = ty.kind_flag();
    let number = |v: u64| if signed { Value::from(v as i64) } else { Value::from(v) };
    ty.enumerators().map(|e| json!({"name": name(e.name), "val": number(e.value)})).collect()
}
