//! What a soft NIC may not be made without.

use xhint_host::Right;

use crate::error::{Error, Result};

/// Says which rights lack, before anything is begun.
pub(crate) fn may() -> Result<()> {
    let needed = [Right::SysAdmin, Right::NetAdmin, Right::NetRaw, Right::Bpf, Right::Perfmon];
    let lacking: Vec<_> = needed.into_iter().filter(|right| !right.is_granted()).collect();
    if lacking.is_empty() { Ok(()) } else { Err(Error::Rights { lacking }) }
}
