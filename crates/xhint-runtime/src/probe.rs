//! What a device offers, and what that is worth.

mod answer;
mod known;
mod paths;

use xhint_fill::driver::{DriverPaths, Route};
use xhint_host::kfunc::{Callee, callees};
use xhint_host::{Facts, Right, Room, netdev, room, xdp};
use xhint_layout::Hint;
use xhint_layout::vocabulary::Kfunc;

use crate::device::Device;
use crate::error::{Error, Result};

pub use answer::{Answer, Evidence};
pub use known::{DRIVERS, Driver, Known, Worth, known, refuses_metadata};

/// The kfuncs, and the bits by which the kernel lists them.
const KFUNCS: [(Kfunc, u64); 3] =
    [(Kfunc::RxTimestamp, netdev::TIMESTAMP), (Kfunc::RxHash, netdev::HASH), (Kfunc::RxVlanTag, netdev::VLAN_TAG)];

/// What came of asking a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it, its driver and the kernel tell.
    pub facts: Facts,
    /// Each kfunc.
    pub kfuncs: Vec<Asked>,
    /// Where paths lead in the driver's own structures, or why nowhere, in words.
    pub paths: Vec<(Hint, std::result::Result<Route, String>)>,
    /// How much metadata the kernel lets through; `None` if this process may not ask.
    pub room: Option<Room>,
    /// Why the driver lets none through, if that is known of it.
    pub refuses_metadata: Option<&'static str>,
    /// What this process may do, and what not.
    pub rights: Vec<(Right, bool)>,
}

/// What came of asking for a kfunc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which.
    pub kfunc: Kfunc,
    /// Where a call leads; `None` if this process may not ask.
    pub callee: Option<Callee>,
    /// Whether the driver has a function for it; `None` if nothing tells.
    pub offered: Option<bool>,
    /// What its answers are worth.
    pub answer: Answer,
    /// What a call takes, in nanoseconds, if it was measured with this driver.
    pub nanoseconds: Option<u32>,
}

/// Asks `device`. Nothing changes by that: programs are loaded for it, stand nowhere and see no packet.
///
/// # Errors
/// [`Error::NoDevice`] if it is gone; what the kernel says.
pub fn probe(device: &Device) -> Result<Probe> {
    probe_with(device, &DriverPaths::shipped()?)
}

/// The same with other paths into drivers' structures than those that come with xhint.
///
/// # Errors
/// As [`probe`].
pub fn probe_with(device: &Device, known: &DriverPaths) -> Result<Probe> {
    let ifindex = device.ifindex();
    let names = KFUNCS.map(|(kfunc, _)| kfunc.name());
    let ask = || -> xhint_host::Result<_> { Ok((Facts::of(ifindex)?, allowed(callees(ifindex, &names))?)) };
    // Whatever fails because the device went says so in a way of its own.
    let gone = |error| match xdp::name_of(ifindex) {
        Some(_) => Error::Host(error),
        None => Error::NoDevice { device: device.name().to_owned(), netns: device.netns().name().map(str::to_owned) },
    };
    let (facts, callees) = device.netns().run(|| ask().map_err(gone))?;
    let kfuncs = KFUNCS.iter().enumerate();
    let kfuncs = kfuncs.map(|(at, kfunc)| asked(*kfunc, callees.as_ref().and_then(|c| c.get(at).cloned()), &facts));
    Ok(Probe {
        kfuncs: kfuncs.collect(),
        paths: paths::paths(&facts, known)?,
        room: allowed(room().map_err(xhint_host::Error::system("asking for the room for metadata")))?,
        refuses_metadata: facts.driver_name().and_then(refuses_metadata),
        rights: Right::ALL.into_iter().map(|right| (right, right.is_granted())).collect(),
        facts,
    })
}

/// What was told, unless this process may not ask.
fn allowed<T>(told: xhint_host::Result<T>) -> xhint_host::Result<Option<T>> {
    match told {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) => Ok(None),
        other => other.map(Some),
    }
}

fn asked((kfunc, bit): (Kfunc, u64), callee: Option<Callee>, facts: &Facts) -> Asked {
    let listed = facts.xdp.and_then(|xdp| xdp.rx_metadata).map(|bits| bits & bit != 0);
    let offered = match callee {
        Some(Callee::Driver { .. }) => Some(true),
        Some(Callee::Nobody | Callee::Unknown | Callee::NoXdp) => Some(false),
        Some(Callee::Hidden) | None => listed,
    };
    let known = facts.driver_name().and_then(|driver| known(driver, kfunc));
    let answer = match (offered, &callee, known) {
        (Some(false), Some(Callee::Unknown), _) => fails("this kernel has no such function"),
        (Some(false), Some(Callee::NoXdp), _) => {
            fails("the driver runs no XDP programs itself, and others cannot call it")
        }
        (Some(false), ..) => fails("the driver has no such function"),
        (_, _, Some(known)) => known.answer(facts),
        (_, _, None) => Answer::Unknown,
    };
    let nanoseconds = known.filter(|_| offered != Some(false)).and_then(|known| known.nanoseconds);
    Asked { kfunc, callee, offered, answer, nanoseconds }
}

fn fails(why: &str) -> Answer {
    Answer::AlwaysFails(why.to_owned())
}

impl Probe {
    /// What came of asking for a kfunc.
    pub fn kfunc(&self, kfunc: Kfunc) -> Option<&Asked> {
        self.kfuncs.iter().find(|asked| asked.kfunc == kfunc)
    }
}
