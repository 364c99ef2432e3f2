//! What a soft NIC may not be made without.

use caps::{CapSet, Capability};

use crate::error::{Error, Result, system};

/// Says which capabilities lack, before anything is begun.
pub(crate) fn may() -> Result<()> {
    let needed = [
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_NET_ADMIN,
        Capability::CAP_NET_RAW,
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
    ];
    let mut missing = Vec::new();
    for capability in needed {
        let has = caps::has_cap(None, CapSet::Effective, capability)
            .map_err(|e| system("reading capabilities")(std::io::Error::other(e.to_string())))?;
        if !has {
            missing.push(capability.to_string());
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::Capability { missing: missing.join(", ") }) }
}
