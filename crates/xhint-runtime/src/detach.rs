//! Taking a program off a device, with all that was kept for it.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::site::{Held, Site};

/// Takes off `device` what [`crate::attach::attach`] put there, and clears away pins and state, its maps among them.
/// Returns the id of the program; `None` if only leftovers were there, which are gone now.
///
/// # Errors
/// [`Error::NotAttached`] if there was nothing.
pub fn detach(home: &Home, device: &Device) -> Result<Option<u32>> {
    let held = Held::of(home, device)?;
    let site = &held.site;
    let live = site.live()?;
    if !site.exists()? || live.is_none() && site.is_anothers(device)? {
        return Err(Error::NotAttached(device.name().to_owned()));
    }
    if let Some(live) = &live {
        // By itself an unpinned link goes off its device some time later; this way it is off when we return.
        let off = live.link.detach();
        off.map_err(Error::system(format!("{}: cannot detach", device.name())))?;
        site.clear()?;
    } else {
        site.repair(device)?;
    }
    drop(held);
    Site::sweep(home);
    Ok(live.map(|l| l.program))
}
