//! Where the kernel runs a program, and what that means to its code: the one place that says so.

/// A place in the kernel where programs run with metadata in front of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// In a driver, as a packet comes in: `struct xdp_md` of include/uapi/linux/bpf.h.
    Xdp,
}

/// Where a program's context has the addresses that bound metadata and packet: 32-bit words, by their offset in bytes. The
/// verifier makes addresses of such loads (`is_valid_access` of the program type), and lets no other load have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The packet's first byte, where the metadata ends.
    pub data: i16,
    /// One past the packet's last byte.
    pub data_end: i16,
    /// The metadata's first byte.
    pub data_meta: i16,
}

impl Context {
    /// Bytes of each word.
    pub const WORD: u8 = 4;

    /// Whether one of the addresses stands there.
    #[must_use]
    pub fn is_address(self, offset: i16) -> bool {
        [self.data, self.data_end, self.data_meta].contains(&offset)
    }
}

impl Hook {
    /// All of them.
    pub const ALL: [Hook; 1] = [Hook::Xdp];

    /// The hook of programs in this ELF section, as libbpf reads its name (`section_defs` of src/libbpf.c): a `?` in front
    /// says that a program is loaded only on demand. None for programs of these types that run elsewhere, without metadata
    /// (`xdp/devmap`).
    #[must_use]
    pub fn of_section(name: &str) -> Option<Hook> {
        let name = name.strip_prefix('?').unwrap_or(name);
        Hook::ALL.into_iter().find(|hook| hook.sections().contains(&name))
    }

    /// The names of sections whose programs run there.
    #[must_use]
    pub fn sections(self) -> &'static [&'static str] {
        match self {
            Hook::Xdp => &["xdp", "xdp.frags"],
        }
    }

    /// What its programs are given.
    #[must_use]
    pub fn context(self) -> Context {
        match self {
            Hook::Xdp => Context { data: 0, data_end: 4, data_meta: 8 },
        }
    }

    /// What a program returns whose packet goes on to the kernel's stack: `XDP_PASS`.
    #[must_use]
    pub fn passes(self) -> i32 {
        match self {
            Hook::Xdp => 2,
        }
    }

    /// What a program returns that could not do its work: `XDP_ABORTED`.
    #[must_use]
    pub fn failed(self) -> i32 {
        match self {
            Hook::Xdp => 0,
        }
    }
}
