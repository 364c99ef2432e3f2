//! What a rebased BTF keeps of its distilled base.

/// A struct, union or enum of a distilled base that the base has no equal of: nothing is known of it but its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptType {
    /// The id of the copy.
    pub id: u32,
    /// Why it is kept.
    pub why: Differs,
}

/// Why a type of a distilled base is not one of the base's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// The base has none of that kind and name.
    Missing,
    /// It has that many bytes in the base.
    Size(u32),
    /// The base has several, and nothing tells which is meant.
    Several,
}

impl std::fmt::Display for Differs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Differs::Missing => f.write_str("the base has none"),
            Differs::Size(bytes) => write!(f, "it has {bytes} bytes in the base"),
            Differs::Several => f.write_str("the base has several, and nothing says which is meant"),
        }
    }
}
