//! Someone else's program on a device, and how it makes room.
//!
//! Nothing takes its place in one step: the kernel makes no link where a program is. So it goes first, and until ours is
//! there, it is kept (kept.rs). A call that fails puts it back; one that is killed in between leaves that to the next.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use libbpf_rs::Program;
use libbpf_rs::query::{LinkInfoIter, LinkTypeInfo, ProgInfoIter};
use xhint_host::{Right, libbpf_log};

use crate::device::Device;
use crate::error::{Error, HeldBy, Result};
use crate::kept;
use xhint_host::xdp;

/// A program on a device that is not ours.
pub(crate) struct Foreign {
    /// Its name and id, as far as they may be known.
    pub name: String,
    /// For when it must come back.
    program: OwnedFd,
    id: u32,
    /// Whether a bpf_link of someone else holds it; else the device does, to which netlink gave it.
    is_linked: bool,
    /// The mode it is on in.
    flags: u32,
}

impl Foreign {
    /// Someone else's program on `device`; an error unless it may be replaced.
    pub fn on(device: &Device, replace: bool) -> Result<Option<Foreign>> {
        let Some((id, flags)) = device.programs()?.by_mode().next() else { return Ok(None) };
        let cannot = || Error::system(format!("{}: cannot ask what holds its XDP program", device.name()));
        let is_linked = device
            .netns()
            .run(|| libbpf_log::captured(|| xdp::is_linked(device.ifindex(), flags)).0.map_err(cannot()))?;
        if !replace {
            return Err(refused(device, id, held_by(is_linked, flags)));
        }
        // It has to be there for when ours cannot go on.
        let program = Program::fd_from_id(id).map_err(|e| match Right::SysAdmin.is_granted() {
            true => Error::system(format!("{}: cannot open program {id}", device.name()))(e),
            false => Error::Rights { lacking: vec![Right::SysAdmin] },
        })?;
        Ok(Some(Foreign { name: program_name(id), program, id, is_linked, flags }))
    }

    /// Takes it off `device`, and keeps it in the directory `site` until [`kept::forget`] or [`kept::restore`].
    pub fn take_off(&self, site: &Path, device: &Device) -> Result<()> {
        kept::keep(site, device, &self.program, self.flags)?;
        let program = Some(self.program.as_fd());
        // libbpf would print why not.
        let off = || match self.is_linked {
            true => self.detach_link(device),
            false => libbpf_log::captured(|| xdp::attach(device.ifindex(), None, program, self.flags)).0,
        };
        let cannot = format!("{}: cannot take off program {}", device.name(), self.name);
        device.netns().run(|| off().map_err(Error::system(cannot)))
    }

    fn detach_link(&self, device: &Device) -> io::Result<()> {
        // A link tells no namespace, so some may be on devices of others with this number.
        let on_device = |info: &LinkTypeInfo| matches!(info, LinkTypeInfo::Xdp(x) if x.ifindex == device.ifindex());
        let links = LinkInfoIter::default().filter(|l| l.prog_id == self.id && on_device(&l.info)).map(|l| l.id);
        match links.collect::<Vec<u32>>().as_slice() {
            [link] => xdp::detach(xdp::link_by_id(*link)?.as_fd()),
            [] => Err(io::Error::other("a link holds it that cannot be found; end whoever attached it")),
            _ => {
                let why = "it is on devices with this number in several network namespaces, and which of its links is this \
                           one's cannot be told; end whoever attached it";
                Err(io::Error::other(why))
            }
        }
    }
}

fn held_by(is_linked: bool, flags: u32) -> HeldBy {
    match flags {
        _ if is_linked => HeldBy::Link,
        xdp::OFFLOADED => HeldBy::Offloaded,
        xdp::GENERIC => HeldBy::Generic,
        _ => HeldBy::Native,
    }
}

/// That someone else's program is on `device`.
pub(crate) fn refused(device: &Device, id: u32, by: HeldBy) -> Error {
    Error::Foreign { device: device.name().to_owned(), program: program_name(id), by }
}

/// A program's name and id, as far as they may be known: without `CAP_SYS_ADMIN` the id alone.
pub(crate) fn program_name(id: u32) -> String {
    let info = ProgInfoIter::default().find(|p| p.id == id);
    match info {
        Some(p) => format!("'{}' (id {id})", p.name.to_string_lossy()),
        None => format!("id {id}"),
    }
}
