//! Which BTF, and which type of it.

/// Which of a universe's BTFs: the base is 0, NIC BTFs follow in the order they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

impl SourceId {
    /// The base BTF.
    pub const BASE: SourceId = SourceId(0);

    /// The NIC BTF at this place among them. Memory has no room for more of them than 32 bits count.
    pub fn nic(place: usize) -> SourceId {
        SourceId((place as u32).wrapping_add(1))
    }

    /// Its place among NIC BTFs; `None` of the base.
    pub fn of_nic(self) -> Option<usize> {
        usize::try_from(self.0).ok()?.checked_sub(1)
    }
}

/// A type of a universe: which source, and the id there. A split BTF's ids below its own first are its base's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeRef {
    /// The BTF.
    pub source: SourceId,
    /// The id in it.
    pub id: u32,
}
