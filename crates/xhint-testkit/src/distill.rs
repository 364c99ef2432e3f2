//! Distilled bases, made and relocated by libbpf.

use crate::libbpf::Btf;

/// A split BTF and the distilled base that it is then split on: `btf__distill_base`.
///
/// # Panics
/// When libbpf refuses one of them.
#[must_use]
pub fn distill(split: &[u8], base: &[u8]) -> Distilled {
    let base = Btf::new(base, None).expect("a base");
    let split = Btf::new(split, Some(&base)).expect("a split BTF");
    let (base, split) = split.distill().expect("btf__distill_base");
    Distilled { split: split.bytes(), base: base.bytes() }
}

/// What [`distill`] makes.
#[derive(Debug, Clone)]
pub struct Distilled {
    /// The split BTF.
    pub split: Vec<u8>,
    /// Its distilled base.
    pub base: Vec<u8>,
}

impl Distilled {
    /// The split BTF put on `base`: `btf__relocate`.
    ///
    /// # Errors
    /// What libbpf says where it refuses.
    pub fn relocate(&self, base: &[u8]) -> Result<Vec<u8>, String> {
        let base = Btf::new(base, None)?;
        let distilled = Btf::new(&self.base, None)?;
        let mut split = Btf::new(&self.split, Some(&distilled))?;
        split.relocate(&base)?;
        Ok(split.bytes())
    }
}
