//! The JSON of `bpftool -j btf dump file FILE format raw`.

use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::{Map, Value, json};
use xhint::btf::{Btf, Kind, Type};

use super::raw::{encoding, linkage, name, word};

/// `{"types":[…]}`, an object a type.
pub struct Types<'a>(pub &'a Btf);

impl Serialize for Types<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_struct("", 1)?;
        all.serialize_field("types", &Each(self.0))?;
        all.end()
    }
}

struct Each<'a>(&'a Btf);

impl Serialize for Each<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.types().map(one))
    }
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
            let var = |v: xhint::btf::SecVar| json!({"type_id": v.type_id, "offset": v.offset, "size": v.size});
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
    let member = |m: xhint::btf::Member<'_>| {
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
    let number = |v: u64| if signed { Value::from(v.cast_signed()) } else { Value::from(v) };
    ty.enumerators().map(|e| json!({"name": name(e.name), "val": number(e.value)})).collect()
}
