//! What this process may do.

use std::fmt;

use caps::{CapSet, Capability, has_cap};

/// A capability that the work of others here hangs on. `CAP_SYS_ADMIN` stands for the two BPF ones, as in the kernel
/// (`bpf_capable`, `perfmon_capable` in `linux/capability.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Load programs and maps.
    Bpf,
    /// Attach to devices, make and change them.
    NetAdmin,
    /// Send frames as they are.
    NetRaw,
    /// Walk kernel pointers and do arithmetic on packet pointers.
    Perfmon,
    /// Make and enter namespaces.
    SysAdmin,
}

impl Right {
    /// Whether the calling thread has it.
    pub fn is_held(self) -> bool {
        let has = |capability| has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        match self {
            Right::Bpf => has(Capability::CAP_SYS_ADMIN) || has(Capability::CAP_BPF),
            Right::NetAdmin => has(Capability::CAP_NET_ADMIN),
            Right::NetRaw => has(Capability::CAP_NET_RAW),
            Right::Perfmon => has(Capability::CAP_SYS_ADMIN) || has(Capability::CAP_PERFMON),
            Right::SysAdmin => has(Capability::CAP_SYS_ADMIN),
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Right::Bpf => "CAP_BPF",
            Right::NetAdmin => "CAP_NET_ADMIN",
            Right::NetRaw => "CAP_NET_RAW",
            Right::Perfmon => "CAP_PERFMON",
            Right::SysAdmin => "CAP_SYS_ADMIN",
        })
    }
}

/// Those of `needed` that the calling thread lacks.
pub fn lacking(needed: &[Right]) -> Vec<Right> {
    needed.iter().copied().filter(|right| !right.is_held()).collect()
}
