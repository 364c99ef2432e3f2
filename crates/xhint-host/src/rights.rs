//! What this process may do.

use std::fmt;

use caps::{CapSet, Capability, has_cap};

/// A capability that somebody's work here hangs on.
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
    /// All of them.
    pub const ALL: [Right; 5] = [Right::Bpf, Right::NetAdmin, Right::NetRaw, Right::Perfmon, Right::SysAdmin];

    fn is_held(self) -> bool {
        let capability = match self {
            Right::Bpf => Capability::CAP_BPF,
            Right::NetAdmin => Capability::CAP_NET_ADMIN,
            Right::NetRaw => Capability::CAP_NET_RAW,
            Right::Perfmon => Capability::CAP_PERFMON,
            Right::SysAdmin => Capability::CAP_SYS_ADMIN,
        };
        has_cap(None, CapSet::Effective, capability).unwrap_or(false)
    }

    /// Whether the calling thread may do what it is for: `CAP_SYS_ADMIN` stands for the two BPF ones (`bpf_capable`,
    /// `perfmon_capable` in `linux/capability.h`).
    pub fn is_granted(self) -> bool {
        self.is_held() || matches!(self, Right::Bpf | Right::Perfmon) && Right::SysAdmin.is_held()
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
