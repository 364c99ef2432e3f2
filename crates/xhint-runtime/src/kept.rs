//! Someone else's program while it is off its device, so that it can be put back.
//!
//! ```text
//! replaced-from                          a device map with the one device that it was taken off
//! replaced-name                          leads nowhere: its target is the device's name
//! replaced-native, -generic, -offloaded  the program, by the mode it was on in
//! ```
//! All are pins in the site. The number of a device may be another's later, and a device may move. But the kernel takes a
//! device out of a device map when it goes away or moves to another network namespace (`dev_map_notification` in
//! `kernel/bpf/devmap.c`). So as long as the map has it, the device with its number in its namespace is that very one.
//! Once it has not, nobody can tell which device that was, and the program stays kept until someone decides.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use xhint_host::libbpf_log;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::taken_off::Kept;
use xhint_host::private::is_there;
use xhint_host::{Netns, Programs, pin, xdp};

const FROM: &str = "replaced-from";
const NAME: &str = "replaced-name";
const PROGRAM: [(&str, u32); 3] =
    [("replaced-native", xdp::NATIVE), ("replaced-generic", xdp::GENERIC), ("replaced-offloaded", xdp::OFFLOADED)];

impl Kept {
    /// What is kept in `site`.
    pub(crate) fn of(site: &Path) -> Result<Option<Kept>> {
        let Some((path, _)) = programs(site)?.into_iter().next() else { return Ok(None) };
        let name = fs::read_link(site.join(NAME)).ok();
        let device = name.map_or_else(|| "a device".to_owned(), |name| name.display().to_string());
        Ok(Some(Kept { device, path, ifindex: from(site)? }))
    }
}

/// Keeps `program`, which is on `device` in the mode of `flags`, in `site`.
pub(crate) fn keep(site: &Path, device: &Device, program: impl AsFd, flags: u32) -> Result<()> {
    forget(site);
    let opts = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    let map = MapHandle::create(MapType::Devmap, Some("xhint_from"), 4, 4, 1, &opts).map_err(Error::system(FROM))?;
    let entry = device.ifindex().to_ne_bytes();
    let put = || map.update(&0u32.to_ne_bytes(), &entry, MapFlags::ANY).map_err(Error::system(FROM));
    device.netns().run(put)?;
    let path = site.join(FROM);
    pin::put(map.as_fd(), &path).map_err(Error::file(&path))?;
    let path = site.join(NAME);
    symlink(device.own_name(), &path).map_err(Error::file(&path))?;
    for (name, _) in PROGRAM.iter().filter(|p| p.1 == flags) {
        let path = site.join(name);
        pin::put(program.as_fd(), &path).map_err(Error::file(&path))?;
    }
    Ok(())
}

/// Lets go of what is kept in `site`.
pub(crate) fn forget(site: &Path) {
    let all = PROGRAM.iter().map(|p| p.0).chain([FROM, NAME]);
    for name in all {
        let _none = fs::remove_file(site.join(name));
    }
}

/// Puts back on a device what is kept in `site`, if nothing else is there by now; whether nothing is kept any more. `site` is
/// held, has no link, and was made for the device with number `ifindex` in `netns`; `ours` tells programs that it had.
pub(crate) fn restore(
    site: &Path,
    ours: &(dyn Fn(Programs) -> bool + Sync),
    netns: &Netns,
    ifindex: u32,
) -> Result<bool> {
    for (path, flags) in programs(site)? {
        if from(site)? != Some(ifindex) {
            return Ok(false);
        }
        let program = pin::open(&path).map_err(Error::file(&path))?;
        let put = || match rest(ours, ifindex) {
            Ok(programs) if programs == Programs::default() => {
                libbpf_log::captured(|| xdp::attach(ifindex, Some(program.as_fd()), None, flags | xdp::IF_NONE)).0
            }
            other => other.map(drop),
        };
        let is_back = netns.run(|| match put() {
            // It went just now.
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            // Another came first.
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => Ok(true),
            done => done.map(|()| true).map_err(Error::file(&path)),
        })?;
        if !is_back {
            return Ok(false);
        }
    }
    forget(site);
    Ok(true)
}

/// The programs kept in `site`, and in which mode each was on.
fn programs(site: &Path) -> Result<Vec<(PathBuf, u32)>> {
    let mut found = Vec::new();
    for (name, flags) in PROGRAM {
        let path = site.join(name);
        if is_there(&path)? {
            found.push((path, flags));
        }
    }
    Ok(found)
}

/// The number of the device that something was taken off, as long as that is where it was.
fn from(site: &Path) -> Result<Option<u32>> {
    let path = site.join(FROM);
    if !is_there(&path)? {
        return Ok(None);
    }
    let map = MapHandle::from_pinned_path(&path).map_err(Error::file(&path))?;
    let found = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).map_err(Error::file(&path))?;
    Ok(found.and_then(|value| Some(u32::from_ne_bytes(*value.first_chunk()?))))
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
    Err(io::Error::new(io::ErrorKind::TimedOut, "the program that was to replace it does not go off the device"))
}
