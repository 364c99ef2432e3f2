//! A soft NIC, from up to down.
//!
//! ```text
//!     the caller's namespace │ namespace xhint-NAME
//!                            │
//!                            │            XDP: parse, write metadata, redirect
//!        NAME ◀──────── veth ┼── port ◀──────────────────────── wire1 ◀── veth ── wire0 ◀── send
//! ```

use std::path::Path;

use xhint_host::ethtool::Ethtool;
use xhint_host::owned::{self, Found};
use xhint_host::private::is_there;
use xhint_host::rtnl::{End, Link, Rtnl};
use xhint_host::{Netns, bpffs, on_thread};
use xhint_layout::Plan;

use crate::error::{Error, Result, file, system};
use crate::flash::{self, Spread};
use crate::rights::may;
use crate::wire::Maps;
use crate::work::Work;
use crate::{name, netns, pins, wire};

/// The inner namespace's devices.
pub(crate) const PORT: &str = "port";
pub(crate) const WIRE0: &str = "wire0";
const WIRE1: &str = "wire1";

/// Bytes that two VLAN tags add to a frame.
const TAGS: u32 = 8;

const MIN_MTU: u32 = 68;

/// What XDP on one page leaves to a veth pair, less two VLAN tags; drivers/net/veth.c, `veth_xdp_set`.
const MAX_MTU: u32 = 3400;

/// How a device is to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// The namespace the device is to be in: a name for `ip netns`, or a path. The caller's if `None`.
    pub netns: Option<String>,
    /// The device's MTU in bytes.
    pub mtu: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config { netns: None, mtu: 1500 }
    }
}

/// A soft NIC that is up. Dropping it leaves the device as it is.
#[derive(Debug)]
pub struct SoftNic {
    name: String,
    pub(crate) netns: Netns,
    pub(crate) maps: Maps,
}

impl SoftNic {
    /// Makes the device `name`, its packets described as `plans` say.
    ///
    /// A half-made one that was left behind is cleared away first. If anything fails, nothing remains.
    ///
    /// # Errors
    /// [`Error::Exists`] and [`Error::NameTaken`] if there is one; [`Error::Rights`] without the
    /// rights; whatever the kernel refuses.
    pub fn up(name: &str, config: &Config, plans: &[Plan], mode: Spread) -> Result<SoftNic> {
        name::check(name)?;
        may()?;
        flash::check(plans)?;
        if !(MIN_MTU..=MAX_MTU).contains(&config.mtu) {
            return Err(Error::BadMtu { mtu: config.mtu, min: MIN_MTU, max: MAX_MTU });
        }
        let outer = match &config.netns {
            Some(netns) => Netns::named(netns)?,
            None => Netns::current()?,
        };
        let _lock = Work::Change.begin(name)?;
        match state(name)? {
            Presence::Whole => return Err(Error::Exists { name: name.to_string() }),
            Presence::Broken(_) => remove(name)?,
            Presence::Absent => {}
        }
        if let Found::Theirs = owned::find(&name::netns(name))? {
            return Err(Error::NotOurs { netns: name::netns(name) });
        }
        outer.run(|| free(name))?;
        let made = make(name, config, &outer).and_then(|()| {
            let nic = SoftNic::open(name)?;
            nic.maps.flash(plans, mode)?;
            Ok(nic)
        });
        if made.is_err() {
            // The first error is the one to tell; what cannot be removed is for the next call.
            let _ = remove(name);
        }
        made
    }

    /// The soft NIC `name`, made by this process or another.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Broken`] if a part is missing.
    pub fn open(name: &str) -> Result<SoftNic> {
        name::check(name)?;
        may()?;
        whole(name)?;
        Ok(SoftNic {
            name: name.to_string(),
            netns: Netns::named(&name::netns(name))?,
            maps: Maps::open(&pins::dir(name))?,
        })
    }

    /// The names of all soft NICs, broken ones too.
    ///
    /// # Errors
    /// If bpffs cannot be read.
    pub fn list() -> Result<Vec<String>> {
        pins::names()
    }

    /// Its name, and the device's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's MAC address, as it was made.
    pub fn mac(&self) -> [u8; 6] {
        name::mac(&self.name, 1)
    }

    /// Replaces the firmware while packets flow: each packet is described by the old plans alone or by
    /// the new ones alone, and after the return, packets that come off the wire are by the new ones. No
    /// plans: packets come without metadata.
    ///
    /// # Errors
    /// [`Error::BadFirmware`] if the plans do not fit together; then the old ones stay.
    pub fn flash(&self, plans: &[Plan], mode: Spread) -> Result<()> {
        flash::check(plans)?;
        let _lock = Work::Change.begin(&self.name)?;
        if !matches!(state(&self.name)?, Presence::Whole) {
            return Err(Error::NotFound { name: self.name.clone() });
        }
        self.maps.flash(plans, mode)
    }

    /// Removes the device and all that belongs to it.
    ///
    /// # Errors
    /// What could not be removed; another call goes on with the rest.
    pub fn down(self) -> Result<()> {
        SoftNic::down_by_name(&self.name)
    }

    /// Removes the soft NIC `name`, whole or broken.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is nothing of it.
    pub fn down_by_name(name: &str) -> Result<()> {
        name::check(name)?;
        may()?;
        let _lock = Work::Change.begin(name)?;
        let was = state(name)?;
        if let (Presence::Absent, Found::Theirs) = (&was, owned::find(&name::netns(name))?) {
            return Err(Error::NotOurs { netns: name::netns(name) });
        }
        remove(name)?;
        // What a sender that was killed left goes with its lock; one that sends still takes it away itself.
        drop(Work::Send.begin(name));
        match was {
            Presence::Absent => Err(Error::NotFound { name: name.to_string() }),
            _ => Ok(()),
        }
    }

    /// The number of the device behind the receive descriptor, in the NIC's own namespace: what a program
    /// finds that walks a field with the hint `rx_desc` to its device.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn rx_device(&self) -> Result<u32> {
        self.netns.run(|| index(&mut Rtnl::open()?, WIRE1))
    }

    /// An error if it was taken down since it was opened, or a part of it.
    pub(crate) fn check(&self) -> Result<()> {
        whole(&self.name)
    }

    /// The device's far end and the wire's near end.
    pub(crate) fn links(&self) -> Result<(Link, Link)> {
        self.netns.run(|| {
            let mut rtnl = Rtnl::open()?;
            let mut link = |name: &str| {
                rtnl.by_name(name)?
                    .ok_or_else(|| Error::Broken { name: self.name.clone(), what: format!("its device {name}") })
            };
            Ok((link(PORT)?, link(WIRE0)?))
        })
    }
}

/// An error if nothing is there, or not all.
fn whole(name: &str) -> Result<()> {
    match state(name)? {
        Presence::Whole => Ok(()),
        Presence::Absent => Err(Error::NotFound { name: name.to_string() }),
        Presence::Broken(what) => Err(Error::Broken { name: name.to_string(), what }),
    }
}

enum Presence {
    Absent,
    Broken(String),
    Whole,
}

/// What there is of a soft NIC. Its device cannot be there without the namespace.
fn state(name: &str) -> Result<Presence> {
    let dir = pins::dir(name);
    let pinned = is_there(&dir)?;
    let netns = match owned::find(&name::netns(name))? {
        Found::Ours(netns) => netns,
        Found::Nothing | Found::Theirs if !pinned => return Ok(Presence::Absent),
        _ => return Ok(Presence::Broken(format!("its namespace {}", name::netns(name)))),
    };
    if !wire::link_exists(&dir) {
        return Ok(Presence::Broken(format!("its wire program in {}", dir.display())));
    }
    let port = netns.run(|| Rtnl::open()?.by_name(PORT))?;
    Ok(match port {
        Some(_) => Presence::Whole,
        None => Presence::Broken(format!("the device {name}")),
    })
}

/// The device's name has to be free in the calling thread's namespace.
fn free(name: &str) -> Result<()> {
    match Rtnl::open()?.by_name(name)? {
        Some(_) => Err(Error::NameTaken { name: name.to_string() }),
        None => Ok(()),
    }
}

/// Makes the namespace, the devices and the program, in that order, so that whatever exists can be
/// found by the namespace's name.
fn make(name: &str, config: &Config, outer: &Netns) -> Result<()> {
    // Sockets belong to the namespace they were opened in.
    let (mut rtnl, outer_ethtool) = outer.run(|| Ok::<_, Error>((Rtnl::open()?, ethtool()?)))?;
    on_thread(|| {
        bpffs::enter()?;
        owned::create(&name::netns(name))?;
        quiet()?;
        let mut inner = Rtnl::open()?;
        links(&mut inner, name, config, outer)?;
        // NAPI starts when a device comes up with GRO; and only a port that comes up after that lets
        // redirected frames through (drivers/net/veth.c, veth_set_xdp_features).
        outer_ethtool.gro_on(name).map_err(gro(name))?;
        let device = index(&mut rtnl, name)?;
        rtnl.set_up(device, false)?;
        ethtool()?.gro_on(PORT).map_err(gro(PORT))?;
        for of in [WIRE0, WIRE1, PORT] {
            let index = index(&mut inner, of)?;
            inner.set_up(index, true)?;
        }
        program(&mut inner, name)
    })
}

fn ethtool() -> Result<Ethtool> {
    Ethtool::open().map_err(system("opening a socket for ethtool"))
}

fn gro(device: &str) -> impl FnOnce(std::io::Error) -> Error {
    let doing = format!("switching GRO on for {device}");
    move |cause| system(&doing)(cause)
}

/// Keeps IPv6 of the calling thread's namespace silent.
fn quiet() -> Result<()> {
    for of in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6");
        match std::fs::write(&path, "1") {
            // A kernel without IPv6 is silent already.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file(Path::new(&path))(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Makes both pairs.
fn links(rtnl: &mut Rtnl, name: &str, config: &Config, outer: &Netns) -> Result<()> {
    let wide = config.mtu.saturating_add(TAGS);
    let end = |of: &'static str, n: u8| End { name: of, mac: name::mac(name, n), mtu: wide, netns: None };
    let outer = outer.open()?;
    let device = End { name, mac: name::mac(name, 1), mtu: config.mtu, netns: Some(&outer) };
    for (here, there) in [(end(WIRE0, 3), end(WIRE1, 4)), (end(PORT, 2), device)] {
        rtnl.add_veth(&here, &there).map_err(|error| match error.raw_os_error() {
            Some(libc::EEXIST) => Error::NameTaken { name: there.name.to_owned() },
            Some(libc::EOPNOTSUPP) => Error::NoVeth,
            _ => error.into(),
        })?;
    }
    Ok(())
}

fn index(rtnl: &mut Rtnl, name: &str) -> Result<u32> {
    match rtnl.by_name(name)? {
        Some(link) => Ok(link.index),
        None => Err(system("looking for a device that was just made")(std::io::Error::from_raw_os_error(libc::ENODEV))),
    }
}

/// Loads, attaches and pins the wire program, in the inner namespace.
fn program(rtnl: &mut Rtnl, name: &str) -> Result<()> {
    let object = wire::load()?;
    wire::plug(&object, index(rtnl, PORT)?)?;
    let link = wire::attach(&object, index(rtnl, WIRE1)?)?;
    wire::pin(&object, link, &pins::create(name)?)
}

/// Removes whatever there is. The devices go first and at once; the namespace itself dies later.
fn remove(name: &str) -> Result<()> {
    let inner = name::netns(name);
    let found = owned::find(&inner)?;
    if let Found::Ours(netns) = &found {
        netns.run(|| {
            let mut rtnl = Rtnl::open()?;
            rtnl.remove(PORT)?;
            rtnl.remove(WIRE0)
        })?;
    }
    pins::remove(name)?;
    match found {
        // The pins were what there was of ours.
        Found::Theirs => Ok(()),
        _ => netns::remove(&inner),
    }
}
