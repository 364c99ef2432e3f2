//! What this process may do, as far as it decides how a program is linked and whether it can be attached.

use xhint_host::Right;

use crate::error::{Error, Result};

/// Whether programs that this process attaches may walk pointers which stand in metadata.
pub(crate) fn may_walk() -> bool {
    Right::Perfmon.is_granted()
}

/// That this process may attach.
///
/// # Errors
/// [`Error::Rights`] names what it lacks.
pub(crate) fn may_attach() -> Result<()> {
    let lacking: Vec<_> = [Right::Bpf, Right::NetAdmin].into_iter().filter(|right| !right.is_granted()).collect();
    if lacking.is_empty() { Ok(()) } else { Err(Error::Rights { lacking }) }
}
