//! What can go wrong with a soft NIC, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use xhint_host::{Cause, Right};

/// Why a call failed. Nothing is left half-done by one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Rights that the process lacks.
    #[error("the soft NIC needs {}; run as root or grant it", all(.lacking))]
    Rights {
        /// Which.
        lacking: Vec<Right>,
    },
    /// No name for a device.
    #[error("'{name}' cannot name a device: {why}")]
    BadName {
        /// The name given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is a soft NIC of this name.
    #[error("soft NIC {name} is up already; use it, or take it down first")]
    Exists {
        /// Its name.
        name: String,
    },
    /// A device of this name is not ours.
    #[error("a device {name} exists and is not a soft NIC; choose another name")]
    NameTaken {
        /// Its name.
        name: String,
    },
    /// A network namespace has the name that a soft NIC's would have, and was not made here.
    #[error(
        "the network namespace {netns} exists and is no soft NIC's; choose another name, or rename or remove it first"
    )]
    NotOurs {
        /// Its name.
        netns: String,
    },
    /// There is no soft NIC of this name.
    #[error("there is no soft NIC {name}; bring it up first")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// An `up` was killed half-way, or something took a part away.
    #[error("soft NIC {name} is broken: {what} is missing; bring it up again, or take it down")]
    Broken {
        /// Its name.
        name: String,
        /// What is missing.
        what: String,
    },
    /// Another process works on it.
    #[error("another process {doing} soft NIC {name} right now; try again when it is done")]
    Busy {
        /// Its name.
        name: String,
        /// What it does.
        doing: &'static str,
    },
    /// What the machine offers: its files, network namespaces and BPF file system, and what it makes of a call.
    #[error(transparent)]
    Host(#[from] xhint_host::Error),
    /// The kernel has no veth.
    #[error("this kernel has no veth devices (CONFIG_VETH); load the module veth or use another kernel")]
    NoVeth,
    /// The kernel refused the program that plays the hardware.
    #[error("this kernel refuses the soft NIC's program: {}{cause}", before(why))]
    Refused {
        /// The verifier's reason, or libbpf's.
        why: Option<String>,
        /// Its answer.
        cause: libbpf_rs::Error,
    },
    /// The kernel does not say how much metadata may stand in front of a packet.
    #[error("asking the kernel how much metadata it lets stand in front of a packet: {cause}")]
    Room {
        /// Its answer.
        cause: io::Error,
    },
    /// The kernel refused a BPF object.
    #[error("{doing}: {cause}")]
    Bpf {
        /// What was asked of it.
        doing: String,
        /// Its answer.
        cause: libbpf_rs::Error,
    },
    /// An MTU that does not work with XDP.
    #[error("MTU {mtu} is out of range; {min} to {max} work with XDP on one page")]
    BadMtu {
        /// The one given.
        mtu: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A firmware of too many layouts, or one twice.
    #[error("this firmware cannot be flashed: {why}")]
    BadFirmware {
        /// What is wrong.
        why: String,
    },
    /// A frame cannot be sent.
    #[error("frame {number} of the traffic has {len} bytes; {min} to {max} can be sent{hint}")]
    BadFrame {
        /// Which, from 1.
        number: usize,
        /// Its length in bytes.
        len: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
        /// What to do.
        hint: &'static str,
    },
    /// Nothing to send.
    #[error("the traffic holds no frames; nothing can be sent")]
    NoFrames,
    /// A capture file cannot be used.
    #[error("{}: {why}", path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
    /// A record of the wire program is not as expected.
    #[error("the pinned {what} of soft NIC {name} is of another version; take it down and up again")]
    Version {
        /// Its name.
        name: String,
        /// What does not fit.
        what: &'static str,
    },
}

fn all(rights: &[Right]) -> String {
    rights.iter().map(Right::to_string).collect::<Vec<_>>().join(", ")
}

fn before(why: &Option<String>) -> String {
    why.as_ref().map_or_else(String::new, |why| format!("{why}; "))
}

/// Short for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// Names what was being done when libbpf failed.
pub(crate) fn bpf(doing: impl Into<String>) -> impl FnOnce(libbpf_rs::Error) -> Error {
    move |cause| Error::Bpf { doing: doing.into(), cause }
}

/// Names what was being done when a system call failed.
pub(crate) fn system<E: Cause>(doing: &str) -> impl FnOnce(E) -> Error + '_ {
    move |cause| xhint_host::Error::system(doing)(cause).into()
}

/// Names the file on which a call failed.
pub(crate) fn file<E: Cause>(path: &Path) -> impl FnOnce(E) -> Error + '_ {
    move |cause| xhint_host::Error::file(path)(cause).into()
}
