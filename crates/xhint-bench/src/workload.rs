//! Objects with so many CO-RE relocations against so many types, generated from the names in a kernel's BTF.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use xhint_btf::{Btf, Kind, Member, Type};
use xhint_testkit::fixture::{self, Compile};

/// How many relocations an object has, and to how many distinct types they go.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Relocations.
    pub relocations: usize,
    /// Distinct local types.
    pub types: usize,
}

/// The sizes that are measured.
pub const SIZES: [Size; 4] = [
    Size { relocations: 5, types: 3 },
    Size { relocations: 50, types: 12 },
    Size { relocations: 500, types: 3 },
    Size { relocations: 500, types: 125 },
];

/// An object that reads fields of the kernel's structs, compiled.
///
/// # Panics
/// When the BTF has too few structs with enough fields.
#[must_use]
pub fn object(kernel: &Btf, size: Size) -> PathBuf {
    let source = source(kernel, size);
    let name = format!("bench-{}-{}", size.relocations, size.types);
    let path = fixture::keep(&name, "c", source.as_bytes());
    Compile::new(Path::new(&path)).object()
}

/// Fields of one struct that one program reads at most; what is left of the struct's share goes to further programs.
const FIELDS: usize = 40;

/// Reads are real loads, one each of a field in each program, so that each is one relocation.
fn source(kernel: &Btf, size: Size) -> String {
    let share = size.relocations.div_ceil(size.types);
    let structs = structs(kernel, size.types, share.min(FIELDS));
    let mut text = String::from("#include \"kernel.h\"\n__u64 sum;\n");
    let mut left = size.relocations;
    for (index, (ty, fields)) in structs.iter().enumerate() {
        writeln!(text, "struct {} {{", ty.name()).unwrap();
        for field in fields {
            writeln!(text, "\t{} {};", c_type(kernel, field), field.name).unwrap();
        }
        writeln!(text, "}} CORE;").unwrap();

        let mut mine = left.div_ceil(size.types - index);
        left -= mine;
        while mine > 0 {
            let reads = &fields[..mine.min(fields.len())];
            mine -= reads.len();
            write_program(&mut text, ty.name(), reads, mine);
        }
    }
    text + "char LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";\n"
}

fn write_program(text: &mut String, name: &str, reads: &[Member<'_>], number: usize) {
    writeln!(text, "SEC(\"raw_tp/{name}\")\nint {name}_{number}(__u64 *args)\n{{").unwrap();
    writeln!(text, "\tstruct {name} *s = (void *)args[0];\n\t__u64 all = 0;").unwrap();
    for field in reads {
        writeln!(text, "\tall += (__u64)s->{};", field.name).unwrap();
    }
    writeln!(text, "\tsum += all;\n\treturn 0;\n}}").unwrap();
}

/// `count` structs with at least `least` fields to read, spread evenly over all that have them.
fn structs(kernel: &Btf, count: usize, least: usize) -> Vec<(Type<'_>, Vec<Member<'_>>)> {
    let named = |ty: &Type<'_>| ty.kind() == Kind::Struct && !ty.name().is_empty();
    let mut times = HashMap::new();
    for ty in kernel.types().filter(named) {
        *times.entry(ty.name()).or_insert(0) += 1;
    }
    let eligible: Vec<_> = kernel
        .types()
        // A name that is there twice would be ambiguous.
        .filter(|ty| named(ty) && times[ty.name()] == 1)
        .map(|ty| (ty, fields(kernel, &ty)))
        .filter(|(_, fields)| fields.len() >= least)
        .collect();
    assert!(eligible.len() >= count, "{} structs with {least} fields", eligible.len());
    let step = eligible.len() / count;
    let take = |(ty, mut fields): (_, Vec<_>)| {
        fields.truncate(least);
        (ty, fields)
    };
    eligible.into_iter().step_by(step).take(count).map(take).collect()
}

/// Fields that are whole numbers or pointers under names that C takes.
fn fields<'a>(kernel: &'a Btf, ty: &Type<'a>) -> Vec<Member<'a>> {
    let plain = |field: &Member<'_>| {
        let target = kernel.skip_mods_and_typedefs(field.type_id);
        let number = target.int().is_some_and(|int| !int.signed) && matches!(target.size(), 1 | 2 | 4 | 8);
        field.bit_size == 0 && !field.name.is_empty() && (number || target.kind() == Kind::Ptr)
    };
    ty.members().filter(plain).collect()
}

fn c_type(kernel: &Btf, field: &Member<'_>) -> &'static str {
    let target = kernel.skip_mods_and_typedefs(field.type_id);
    match (target.kind(), target.size()) {
        (Kind::Ptr, _) => "void *",
        (_, 1) => "__u8",
        (_, 2) => "__u16",
        (_, 4) => "__u32",
        _ => "__u64",
    }
}
