//! Split BTF on the running kernel's, of the sort that NIC drivers bring, made up since this kernel may have no modules.

use xhint_btf::{Btf, Kind};
use xhint_testkit::damage::Random;
use xhint_testkit::hostile::Forge;

/// Structs in each. With their pointers about 1,500 types and 110 KB: between Debian's igc (559) and mlx5_core (7,936).
const STRUCTS: usize = 750;

/// `count` split BTFs on `base`. Names differ from one to the next; members refer to the base and among themselves.
#[must_use]
pub fn make(base: &Btf, count: usize) -> Vec<Vec<u8>> {
    let sized = [Kind::Int, Kind::Ptr, Kind::Enum, Kind::Typedef];
    let members: Vec<u32> =
        base.types().filter(|ty| sized.contains(&ty.kind())).map(|ty| ty.id()).take(20_000).collect();
    (0..count).map(|number| one(base, number, &members)).collect()
}

fn one(base: &Btf, number: usize, members: &[u32]) -> Vec<u8> {
    // `BTF_KIND_STRUCT` and `BTF_KIND_PTR`.
    const STRUCT: u32 = 4;
    const PTR: u32 = 2;
    let mut random = Random::new(number as u64);
    let mut forge = Forge::split(base.end_id(), base.end_string());
    let fields: Vec<u32> = (0..64).map(|n| forge.string(&format!("field_{n}"))).collect();
    for index in 0..STRUCTS {
        let name = forge.string(&format!("nic{number}_struct_{index}"));
        let rows = (0..8u32).flat_map(|at| {
            let field = fields[random.below(fields.len())];
            [field, members[random.below(members.len())], at * 64]
        });
        let rows: Vec<u32> = rows.collect();
        let id = forge.ty(name, STRUCT, 8, 64, &rows);
        forge.ty(0, PTR, 0, id, &[]);
    }
    forge.bytes()
}
