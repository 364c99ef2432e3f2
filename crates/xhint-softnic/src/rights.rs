//! What a soft NIC may not be made without.

use xhint_host::Right;
use xhint_host::rights::lacking;

use crate::error::{Error, Result};

/// Says which rights lack, before anything is begun.
pub(crate) fn may() -> Result<()> {
    let lacking = lacking(&[Right::SysAdmin, Right::NetAdmin, Right::NetRaw, Right::Bpf, Right::Perfmon]);
    if lacking.is_empty() { Ok(()) } else { Err(Error::Rights { lacking }) }
}
