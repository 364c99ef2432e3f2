//! Network namespaces for soft NICs to stand in.

use xhint_host::owned::{self, Found};

use crate::error::{Error, Result};
use crate::rights::may;

/// Makes a namespace of this name, as `ip netns add` does; the caller stays where it is.
///
/// # Errors
/// If there is one of this name, or without the rights that a soft NIC takes.
pub fn add(name: &str) -> Result<()> {
    may()?;
    Ok(owned::add(name)?)
}

/// Whether the namespace of this name was made by [`add`], or is a soft NIC's.
pub fn is_owned(name: &str) -> bool {
    matches!(owned::find(name), Ok(Found::Ours(_)))
}

/// Takes the name of a namespace of ours away, as `ip netns del` does; the namespace goes when nothing is in it. Fine
/// if there is none.
///
/// # Errors
/// [`Error::NotOurs`] if somebody else made it; without `CAP_SYS_ADMIN`.
pub fn remove(name: &str) -> Result<()> {
    owned::remove(name).map_err(|error| match error {
        xhint_host::Error::NetnsTaken { name } => Error::NotOurs { netns: name },
        other => other.into(),
    })
}
