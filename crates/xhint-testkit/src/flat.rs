//! One flat BTF out of a base and NIC BTFs, by libbpf alone.
//!
//! libbpf takes a custom BTF for CO-RE only if it is flat. Its ids: those of the base unchanged, then each NIC BTF's
//! types in the order given. Nothing is deduplicated, so that with one split NIC BTF even its ids are unchanged.

use crate::libbpf::Btf;

/// A NIC BTF's bytes, and how they are meant.
#[derive(Debug, Clone, Copy)]
pub enum Nic<'a> {
    /// Needs no base.
    Standalone(&'a [u8]),
    /// Split on the base.
    Split(&'a [u8]),
}

/// Merges `base` and `nics`.
///
/// # Panics
/// When libbpf refuses one of them.
#[must_use]
pub fn merge(base: &[u8], nics: &[Nic<'_>]) -> Vec<u8> {
    let base = Btf::new(base, None).expect("base BTF");
    let mut split = Btf::empty(Some(&base)).unwrap();
    for nic in nics {
        let (bytes, on) = match nic {
            Nic::Standalone(bytes) => (bytes, None),
            Nic::Split(bytes) => (bytes, Some(&base)),
        };
        let nic = Btf::new(bytes, on).expect("NIC BTF");
        // btf__add_btf takes a source whose base is that of the destination, and one with none.
        split.append(&nic).expect("btf__add_btf of a NIC BTF");
    }
    let mut flat = Btf::empty(None).unwrap();
    flat.append(&base).expect("btf__add_btf of the base");
    // The flat BTF now ends where the split one starts, so its types keep their ids, and their references hold.
    for id in base.end_id()..split.end_id() {
        let new = flat.append_type(&split, id).expect("btf__add_type");
        assert_eq!(new, id, "ids must not move");
    }
    flat.bytes()
}

/// The same BTF in big endian.
///
/// # Panics
/// When libbpf refuses it.
#[must_use]
pub fn big_endian(btf: &[u8]) -> Vec<u8> {
    let mut btf = Btf::new(btf, None).expect("a BTF");
    btf.set_big_endian();
    btf.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_merge_spans_the_ids_of_its_parts() {
        let base = fixture::corpus("vmlinux.btf");
        let ice = fixture::corpus("ice.btf");
        let nic = fixture::nic("mlx_rx.c");
        let flat = merge(&base, &[Nic::Split(&ice), Nic::Standalone(&nic)]);

        let end = |bytes: &[u8]| crate::oracle::btf_end_id(bytes, None).unwrap();
        let split_end = crate::oracle::btf_end_id(&ice, Some(&base)).unwrap();
        assert!(split_end > end(&base));
        assert_eq!(end(&flat), split_end + end(&nic) - 1);
    }
}
