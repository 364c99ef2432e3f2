//! Someone else's program on a device, and how it makes room.
//!
//! Nothing takes its place in one step: the kernel makes no link where a program is. So it goes first, and until ours is
//! there, a pin keeps it (`replaced-native` or `replaced-generic` in the site). A call that fails puts it back; one that is
//! killed in between leaves that to the next.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use libbpf_rs::Program;
use libbpf_rs::query::{LinkInfoIter, LinkTypeInfo, ProgInfoIter};
use xhint_host::libbpf_log;

use crate::device::Device;
use crate::error::{Error, Result};
use xhint_host::private::is_there;
use xhint_host::{Netns, Programs, pin, xdp};

/// What it is kept as while it is off, and in which mode it was on.
const KEPT: [(&str, u32); 2] = [("replaced-native", xdp::NATIVE), ("replaced-generic", xdp::GENERIC)];

/// A program on a device that is not ours.
pub(crate) struct Foreign {
    /// Its name and id, as far as they may be known.
    pub name: String,
    /// For when it must come back; none without `CAP_SYS_ADMIN`.
    program: Option<OwnedFd>,
    /// Ids of the links that may hold it: they tell no namespace, so some may be on devices of others with this number.
    links: Vec<u32>,
    flags: u32,
}

impl Foreign {
    /// Someone else's program on `device`; an error unless it may be replaced.
    pub fn on(device: &Device, replace: bool) -> Result<Option<Foreign>> {
        let programs = device.programs()?;
        let Some(id) = programs.ids().next() else { return Ok(None) };
        let name = program_name(id);
        let on_device = |info: &LinkTypeInfo| matches!(info, LinkTypeInfo::Xdp(x) if x.ifindex == device.ifindex());
        let links = LinkInfoIter::default().filter(|l| l.prog_id == id && on_device(&l.info)).map(|l| l.id);
        let links: Vec<u32> = links.collect();
        if !replace {
            let linked = !links.is_empty();
            return Err(Error::Foreign { device: device.name().to_owned(), program: name, linked });
        }
        let flags = if programs.native == id { xdp::NATIVE } else { xdp::GENERIC };
        Ok(Some(Foreign { name, program: Program::fd_from_id(id).ok(), links, flags }))
    }

    /// Takes it off `device`, and keeps it in the directory `site` until [`forget`] or [`restore`].
    pub fn take_off(&self, site: &Path, device: &Device) -> Result<()> {
        let kept = KEPT.iter().find(|k| k.1 == self.flags);
        if let (Some(program), Some((kept, _))) = (&self.program, kept) {
            let path = site.join(kept);
            pin::put(program.as_fd(), &path).map_err(Error::file(&path))?;
        }
        let program = self.program.as_ref().map(AsFd::as_fd);
        // libbpf would print why not.
        let off = || match libbpf_log::captured(|| xdp::attach(device.ifindex(), None, program, self.flags)).0 {
            // A link holds it.
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => self.detach_link(),
            done => done,
        };
        device.netns().run(|| off().map_err(Error::system(format!("{}: cannot take off {}", device.name(), self.name))))
    }

    fn detach_link(&self) -> io::Result<()> {
        match self.links.as_slice() {
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

/// Whether a program is kept that was taken off for one of ours.
pub(crate) fn is_kept(site: &Path) -> bool {
    KEPT.iter().any(|(kept, _)| is_there(&site.join(kept)).unwrap_or(false))
}

/// Lets go of what was taken off: ours is there.
pub(crate) fn forget(site: &Path) {
    for (kept, _) in KEPT {
        let _none = fs::remove_file(site.join(kept));
    }
}

/// Puts back on a device what a call took off that then failed or was killed, if nothing else is there by now. `site` is
/// held, and has no link; `ours` tells programs that it had.
pub(crate) fn restore(
    site: &Path,
    ours: &(dyn Fn(Programs) -> bool + Sync),
    netns: &Netns,
    ifindex: u32,
) -> Result<()> {
    for (kept, flags) in KEPT {
        let path = site.join(kept);
        if !is_there(&path)? {
            continue;
        }
        let program = pin::open(&path).map_err(Error::file(&path))?;
        // The device is gone, or another came first.
        let fine = |e: &io::Error| matches!(e.raw_os_error(), Some(libc::ENODEV | libc::EBUSY));
        let put = || match rest(ours, ifindex) {
            Ok(programs) if programs == Programs::default() => {
                libbpf_log::captured(|| xdp::attach(ifindex, Some(program.as_fd()), None, flags | xdp::IF_NONE)).0
            }
            other => other.map(drop),
        };
        netns.run(|| match put() {
            Err(e) if !fine(&e) => Err(Error::file(&path)(e)),
            _ => Ok(()),
        })?;
        fs::remove_file(&path).map_err(Error::file(&path))?;
    }
    Ok(())
}

/// What is on the device once a link that nobody holds any more is off: the kernel takes its time with that.
fn rest(ours: &(dyn Fn(Programs) -> bool + Sync), ifindex: u32) -> io::Result<Programs> {
    for _ in 0..200 {
        let programs = xdp::query(ifindex)?;
        if programs == Programs::default() || !ours(programs) {
            return Ok(programs);
        }
        thread::sleep(Duration::from_millis(5));
    }
    xdp::query(ifindex)
}

/// A program's name and id, as far as they may be known.
fn program_name(id: u32) -> String {
    let info = ProgInfoIter::default().find(|p| p.id == id);
    match info {
        Some(p) => format!("'{}' (id {id})", p.name.to_string_lossy()),
        None => format!("with id {id}"),
    }
}
