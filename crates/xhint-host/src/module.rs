//! The module a driver is in, and whether that has BTF.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::rtnl::Parent;

/// Where modules are, the built-in ones among them if they have parameters or a version.
const MODULES: &str = "/sys/module";
/// Where their BTF is.
const BTF: &str = "/sys/kernel/btf";

/// What a driver is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, as `/sys/module` would have it.
    pub name: String,
    /// Whether it was loaded. What was not is part of the kernel's image.
    pub is_loaded: bool,
    /// The file that has its BTF: of what is built in, the kernel's. `None` if there is no such file.
    pub btf: Option<PathBuf>,
    /// Why the file may not be read; `None` if it may.
    pub unreadable: Option<String>,
}

/// The module of the driver that ethtool calls `driver`, of a device that hangs on `parent`; `None` if neither tells.
///
/// # Errors
/// If sysfs cannot be read.
pub fn module(driver: &str, parent: Option<&Parent>) -> Result<Option<Module>> {
    let bound = parent.map(bound).transpose()?.flatten();
    let Some(name) = elsewhere(driver).map(str::to_owned).or(bound).or_else(|| called(driver)) else {
        return Ok(None);
    };
    // Of what is built in there is no state.
    let state = Path::new(MODULES).join(&name).join("initstate");
    let is_loaded = state.try_exists().map_err(Error::file(&state))?;
    let btf = Path::new(BTF).join(if is_loaded { name.as_str() } else { "vmlinux" });
    let (btf, unreadable) = match File::open(&btf) {
        Ok(_) => (Some(btf), None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
        Err(error) => (Some(btf), Some(error.to_string())),
    };
    Ok(Some(Module { name, is_loaded, btf, unreadable }))
}

/// The module of the driver that a device on a bus is bound to; `None` if that is built in, or the device is gone.
fn bound(parent: &Parent) -> Result<Option<String>> {
    let link = device(parent).join("driver/module");
    match fs::read_link(&link) {
        Ok(path) => Ok(path.file_name().map(|name| name.to_string_lossy().into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file(&link)(error)),
    }
}

/// Where sysfs has a device on a bus. Buses are the same in all network namespaces, where `/sys/class/net` is not.
pub(crate) fn device(parent: &Parent) -> PathBuf {
    Path::new("/sys/bus").join(&parent.bus).join("devices").join(&parent.name)
}

/// The module of that name, if it can be one's. ("802.1Q VLAN Support" is not.)
fn called(driver: &str) -> Option<String> {
    let is_name = !driver.is_empty() && driver.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    is_name.then(|| driver.replace('-', "_"))
}

/// The module that receives packets, of drivers where another one is bound to the bus: stmmac, whose names are in
/// `stmmac_ethtool.c`.
fn elsewhere(driver: &str) -> Option<&'static str> {
    matches!(driver, "st_gmac" | "st_xgmac" | "st_mac100").then_some("stmmac")
}
