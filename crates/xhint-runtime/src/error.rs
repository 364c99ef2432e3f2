//! What can go wrong on the way to a device, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use xhint_host::{Cause, Right};

use crate::taken_off::Kept;

/// What holds someone else's program on a device, and so how it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBy {
    /// The device, to which netlink gave it, in the driver.
    Native,
    /// The same behind the driver.
    Generic,
    /// The same in the device's own hardware.
    Offloaded,
    /// A bpf_link of someone else, which netlink cannot take off.
    Link,
    /// The bpf_link of xhint, on which someone put it.
    OurLink,
}

/// Why something was not done. Whatever it says, what was attached before is attached still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such device in this network namespace.
    #[error("{device}: no such network device{}; `ip link` lists the devices", in_netns(.netns.as_deref()))]
    NoDevice {
        /// The name asked for.
        device: String,
        /// The network namespace it was looked for in, if one was given.
        netns: Option<String>,
    },
    /// A device that is no longer in its network namespace, but runs our program still.
    #[error("{device}: moved to a network namespace that cannot be found or entered; its program runs on there")]
    Moved {
        /// The name it had.
        device: String,
    },
    /// A name that no device can have.
    #[error("'{0}' cannot be the name of a network device")]
    BadDevice(String),
    /// What the machine offers: its files, network namespaces and BPF file system.
    #[error(transparent)]
    Host(#[from] xhint_host::Error),
    /// Rights that this process lacks.
    #[error(
        "missing {}; run as root, or grant it with setcap to a user's copy of xhint, and /run/xhint and \
         /sys/fs/bpf/xhint to that user", all(.lacking)
    )]
    Rights {
        /// Which.
        lacking: Vec<Right>,
    },
    /// Another xhint works on this device.
    #[error("{device}: another xhint{} is at work on it; try again when it is done", with_pid(.pid))]
    Busy {
        /// The device.
        device: String,
        /// Its process id, if that can be told.
        pid: Option<u32>,
    },
    /// Someone else's program is attached.
    #[error(
        "{device}: has the XDP program {program} attached, which xhint did not put there; {}, or replace it",
        off(.device, *.by)
    )]
    Foreign {
        /// The device.
        device: String,
        /// Its name and id, as far as they may be known.
        program: String,
        /// What holds it.
        by: HeldBy,
    },
    /// A program of another object is attached, by xhint.
    #[error(
        "{device}: runs {program} of another object, {object}; detach that first, or \
         replace it"
    )]
    OtherObject {
        /// The device.
        device: String,
        /// The program's name.
        program: String,
        /// The file it came from.
        object: String,
    },
    /// Another call changed what runs while this one was at work.
    #[error("{0}: another call changed what runs on it meanwhile; try again")]
    Changed(String),
    /// Nothing of ours is attached.
    #[error("{0}: xhint has nothing attached to it")]
    NotAttached(String),
    /// Another program of ours is attached than the one that was.
    #[error("{0}: another program was attached")]
    OtherAttached(String),
    /// Nothing of ours is attached, and someone else's program waits to be put back.
    #[error("{0}")]
    Kept(Kept),
    /// What runs was made from files that are gone: `/run` was cleared, say.
    #[error("{device}: what it was made from is lost ({cause}); attach again")]
    Lost {
        /// The device.
        device: String,
        /// What came of reading it.
        cause: Box<Error>,
    },
    /// The driver cannot run XDP itself.
    #[error(
        "{device}: its driver has no native XDP; generic XDP works on any device, but there the NIC's metadata is gone"
    )]
    NoNative {
        /// The device.
        device: String,
    },
    /// Attached in the other mode.
    #[error("{device}: a program is attached in the other mode, which cannot change in one step; detach it first")]
    Mode {
        /// The device.
        device: String,
    },
    /// The kernel refused to attach.
    #[error("{device}: cannot attach: {cause}{}", why(.said))]
    Attach {
        /// The device.
        device: String,
        /// What the kernel said.
        cause: io::Error,
        /// And in more words, if it did.
        said: String,
    },
    /// The kernel refused to load.
    #[error("{program}: the kernel refuses to load it: {reason}")]
    Load {
        /// The program at fault, or the object.
        program: String,
        /// The line of the verifier's log that tells most, or libbpf's words.
        reason: String,
        /// All of what libbpf and the verifier said.
        log: String,
    },
    /// A program for one device that the kernel made longer than it may become.
    #[error(
        "{program}: the kernel made {length} instructions of {given}, more than there was room for, and would lose track of it \
         when the device goes; it is not attached: please report this"
    )]
    Outgrown {
        /// The program.
        program: String,
        /// Instructions that the kernel was given.
        given: usize,
        /// And what it made of them.
        length: usize,
    },
    /// The object has not the program that was asked for.
    #[error("no XDP program {wanted}in the object; it has: {have}")]
    NoProgram {
        /// Name and a space, or empty.
        wanted: String,
        /// Names of those that are.
        have: String,
    },
    /// A program for an entry of a map was to go on a device.
    #[error(
        "{program}: SEC(\"{section}\") is for an entry of a {}, not for a device; whoever fills the map puts it there",
        entry_of(.section)
    )]
    ForMapEntry {
        /// Its name.
        program: String,
        /// The section it stands in.
        section: String,
    },
    /// A program in a section that does not say what it is.
    #[error(
        "{program} is in section {section}, which names no type of program; write SEC(\"xdp\"), as \
         libbpf 1.0 and later require"
    )]
    UnknownSection {
        /// Its name.
        program: String,
        /// The section it stands in.
        section: String,
    },
    /// The object has several, and none was named.
    #[error("the object has several XDP programs, {0}; name one")]
    ManyPrograms(String),
    /// A layout that is not there.
    #[error("{device}: no layout there is called '{which}'; there is {have}")]
    NoSuchLayout {
        /// The device.
        device: String,
        /// The name, id or file asked for.
        which: String,
        /// Names and ids of those that are.
        have: String,
    },
    /// Several layouts are called so.
    #[error("{device}: several layouts are called '{which}': {have}; give the id of one")]
    ManyLayouts {
        /// The device.
        device: String,
        /// What they are called.
        which: String,
        /// Their names and ids.
        have: String,
    },
    /// A NIC BTF has no layout that is called so.
    #[error("{}: no layout of it is called '{which}'{}", .path.display(), those(.have))]
    NoLayoutCalled {
        /// The file.
        path: PathBuf,
        /// The name or id asked for.
        which: String,
        /// Names and ids of those that it has.
        have: String,
    },
    /// The last layout was to go.
    #[error("{device}: that is its last layout; to take that away, detach the program")]
    LastLayout {
        /// The device.
        device: String,
    },
    /// A NIC BTF without a layout.
    #[error("{}: describes no layout; tag its struct with xhint:layout, or name it", .path.display())]
    NoLayout {
        /// The file.
        path: PathBuf,
    },
    /// A NIC BTF with layouts that the program does not ask for.
    #[error("{}: none of its layouts answers to a struct that the program asks for; bind one", .path.display())]
    NotAsked {
        /// The file.
        path: PathBuf,
    },
    /// A layout whose packets do not say that they carry it.
    #[error(
        "{device}: layout {layout} has no selector: no field says that a packet carries it, so its packets cannot be told \
         from others; a NIC of that kind is served one layout at a time: attach again with this one alone"
    )]
    NoSelector {
        /// The device.
        device: String,
        /// The layout.
        layout: String,
    },
    /// A layout that lacks what the program reads without asking.
    #[error("{device}: {layout} is not added, since it lacks what the program reads: {why}")]
    Unreadable {
        /// The device.
        device: String,
        /// The layout.
        layout: String,
        /// What is read where.
        why: String,
    },
    /// Layouts were to come to a program that is linked for one.
    #[error("{device}: its program was attached without dispatch, for one layout; attach again with dispatch")]
    OneLayout {
        /// The device.
        device: String,
    },
    /// No room among the ids.
    #[error(
        "the table of ids has no room for id {}: the places where it would be looked for hold other ids; declare another id \
         for this layout",
        xhint_universe::LayoutId(*.id)
    )]
    TableFull {
        /// The id.
        id: u32,
    },
    /// A layout that was named and is nowhere, or that cannot be one.
    #[error("{0}")]
    Layout(xhint_universe::Error),
    /// A layout that is another than the one with its id that packets are read by now.
    #[error(
        "layout '{is}' ({is_file}) differs from '{was}' ({was_file}), by which packets with the same id {} are read \
         now; give it another id (tag xhint:id=…), or detach first", xhint_universe::LayoutId(*.id)
    )]
    IdTaken {
        /// The id.
        id: u32,
        /// The layout that has it now.
        was: String,
        /// Its file.
        was_file: String,
        /// The layout that was to have it.
        is: String,
        /// Its file.
        is_file: String,
    },
    /// The linker's refusal.
    #[error("{}: {}", .path.display(), Chain(.cause))]
    Link {
        /// The object.
        path: PathBuf,
        /// What is wrong with it, or with what it is linked for.
        cause: Box<xhint_link::Error>,
    },
    /// Nothing can be filled in for the program.
    #[error("{}: {}", .path.display(), Chain(.cause))]
    Fill {
        /// The object.
        path: PathBuf,
        /// What is wrong.
        cause: Box<xhint_fill::Error>,
    },
    /// A file that is to say where drivers keep what.
    #[error(transparent)]
    Paths(#[from] xhint_fill::driver::PathFault),
    /// A filler whose metadata does not fit in front of a packet.
    #[error(
        "the fields that the program asks for take {size} bytes of metadata, and this kernel lets at most {most} stand in front \
         of a packet here; leave some of them unfilled"
    )]
    FillTooLong {
        /// What they take.
        size: u32,
        /// What there is room for.
        most: u32,
    },
    /// A layout that no NIC sends, to be removed.
    #[error(
        "{device}: layout {layout} is of no NIC: it is filled in for packets that carry none; attach the program again without filling"
    )]
    IsFilled {
        /// The device.
        device: String,
        /// The layout.
        layout: String,
    },
    /// A map that the program does not have.
    #[error("no map {map}; the program has: {have}")]
    NoMap {
        /// The name asked for.
        map: String,
        /// Names of those that are.
        have: String,
    },
    /// A map changed shape, so its contents cannot be kept.
    #[error("map {map}: {what}, so its contents cannot be kept; detach {device} first, to start with empty maps")]
    MapChanged {
        /// The device.
        device: String,
        /// The map.
        map: String,
        /// What is another.
        what: String,
    },
    /// A file of the user's that does not hold what it should.
    #[error("{}: {}", .path.display(), Chain(.cause))]
    Source {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<xhint_object::Error>,
    },
    /// The same of what could be split on a base, which is not there.
    #[error("{}: {}; it may be split on a base, and there is none: {why}", .path.display(), Chain(.cause))]
    NoBase {
        /// Which.
        path: PathBuf,
        /// What is wrong with it if it stands alone.
        cause: Box<xhint_object::Error>,
        /// Why there is no base.
        why: String,
    },
    /// A kept file that is not what was kept.
    #[error("{}: is not what was written there", .path.display())]
    Altered {
        /// Which.
        path: PathBuf,
    },
    /// A state file that another version wrote.
    #[error("{}: was written by another version of xhint", .path.display())]
    StateVersion {
        /// Which.
        path: PathBuf,
    },
    /// A state file that is not one.
    #[error("{}: not a state of xhint's: {cause}", .path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
}

/// An error with all its causes. What this crate says of a failure goes to the last of them by itself.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0.source() {
            Some(cause) => write!(f, ": {}", Chain(cause)),
            None => Ok(()),
        }
    }
}

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the device is not there any more, or cannot be reached where it went.
    pub fn is_gone(&self) -> bool {
        matches!(self, Error::NoDevice { .. } | Error::Moved { .. } | Error::Host(xhint_host::Error::Netns { .. }))
    }

    /// Ties what is wrong with a state to where it is.
    pub(crate) fn state(path: &Path) -> impl FnOnce(serde_json::Error) -> Error + '_ {
        move |cause| Error::State { path: path.to_owned(), cause }
    }

    /// Ties an error to the file or pin that it came of.
    pub(crate) fn file<E: Cause>(path: &Path) -> impl FnOnce(E) -> Error + '_ {
        move |cause| xhint_host::Error::file(path)(cause).into()
    }

    /// Ties an error to what was tried.
    pub(crate) fn system<E: Cause>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        move |cause| xhint_host::Error::system(what)(cause).into()
    }
}

fn in_netns(netns: Option<&str>) -> String {
    netns.map(|n| format!(" in network namespace {n}")).unwrap_or_default()
}

fn all(rights: &[Right]) -> String {
    rights.iter().map(Right::to_string).collect::<Vec<_>>().join(" and ")
}

fn with_pid(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// How a stranger's program goes.
fn off(device: &str, by: HeldBy) -> String {
    match by {
        HeldBy::Native => format!("detach it (ip link set dev {device} xdp off)"),
        HeldBy::Generic => format!("detach it (ip link set dev {device} xdpgeneric off)"),
        HeldBy::Offloaded => format!("detach it (ip link set dev {device} xdpoffload off)"),
        HeldBy::Link => "end whoever attached it (`bpftool link` shows its link)".to_owned(),
        HeldBy::OurLink => "detach it (it is on the link of xhint)".to_owned(),
    }
}

/// The kind of map that a section names.
fn entry_of(section: &str) -> &'static str {
    if section.ends_with("cpumap") { "cpumap" } else { "devmap" }
}

fn those(have: &str) -> String {
    if have.is_empty() { String::new() } else { format!("; it has {have}") }
}

fn why(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ({said})") }
}
