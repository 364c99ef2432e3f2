//! What this process may do, as far as it decides how a program is linked.

use caps::{CapSet, Capability};

use crate::error::{Error, Result};

/// The capabilities that count. `CAP_SYS_ADMIN` stands for the two BPF ones, as in the kernel (`bpf_capable`,
/// `perfmon_capable` in `linux/capability.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Load programs and maps.
    pub bpf: bool,
    /// Attach to devices.
    pub net_admin: bool,
    /// Walk kernel pointers and do arithmetic on packet pointers.
    pub perfmon: bool,
}

impl Rights {
    /// Those of the calling thread.
    pub fn current() -> Rights {
        let has = |cap| caps::has_cap(None, CapSet::Effective, cap).unwrap_or(false);
        let admin = has(Capability::CAP_SYS_ADMIN);
        Rights {
            bpf: admin || has(Capability::CAP_BPF),
            net_admin: has(Capability::CAP_NET_ADMIN),
            perfmon: admin || has(Capability::CAP_PERFMON),
        }
    }

    /// Whether programs may walk pointers that stand in metadata.
    pub fn walk(self) -> bool {
        self.perfmon
    }

    /// What attaching takes.
    ///
    /// # Errors
    /// [`Error::Rights`] names what is missing.
    pub fn check(self) -> Result<()> {
        let missing: Vec<_> =
            [(self.bpf, "CAP_BPF"), (self.net_admin, "CAP_NET_ADMIN")].iter().filter(|r| !r.0).map(|r| r.1).collect();
        if missing.is_empty() { Ok(()) } else { Err(Error::Rights { missing: missing.join(" and ") }) }
    }
}
