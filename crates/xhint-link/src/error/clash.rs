//! Two layouts whose packets cannot be told apart for certain.

/// Two layouts that a packet can pass for both of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The one and the other, with id and file.
    pub layouts: [String; 2],
    /// Their length in bytes.
    pub size: u32,
    /// How many bits of each's packets must happen to be as the other's id says.
    pub bits: [u32; 2],
}

impl std::fmt::Display for Clash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([a, b], [of_a, of_b]) = (&self.layouts, self.bits.map(|bits| 1u64.checked_shl(bits).unwrap_or(u64::MAX)));
        write!(
            f,
            "layouts {a} and {b} are both {} bytes long and have their ids in different places, so that a packet can pass \
             for both: if those bits are random, one in {of_a} of the first's has the id of the second, and one in {of_b} \
             the other way",
            self.size
        )
    }
}
