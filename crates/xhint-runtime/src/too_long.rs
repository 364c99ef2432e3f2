//! Layouts that are longer than what a packet can carry here.

use std::fmt;

use crate::device::Device;
use crate::state::LayoutState;

/// The driver whose packets carry what a program put in front of them and no more.
const VETH: &str = "veth";
/// Bytes of metadata that every kernel lets through: the limit of Linux 6.1.
const ALWAYS: u32 = 32;

/// A layout that no packet can carry on this device: the program is linked for it and will never meet it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLong {
    /// Its name.
    pub layout: String,
    /// Its id.
    pub id: u32,
    /// Its bytes.
    pub size: u32,
    /// How many this kernel lets stand in front of a packet.
    pub most: u32,
    /// Whether that is so by the device's kind, rather than for all of them.
    pub veth: bool,
}

/// Those of `layouts` that no packet can carry on `device`. None where the kernel does not tell.
pub(crate) fn too_long(device: &Device, layouts: &[LayoutState]) -> Vec<TooLong> {
    // To ask takes a program that is loaded and run.
    if layouts.iter().all(|l| l.size <= ALWAYS) {
        return Vec::new();
    }
    let Ok(room) = xhint_host::room() else { return Vec::new() };
    let veth = device.driver().is_ok_and(|f| f.driver == VETH);
    let Some(most) = (if veth { Some(room.written) } else { room.found }) else { return Vec::new() };
    // What holds for all of them is not said of one kind.
    let veth = veth && room.found != Some(most);
    let long = layouts.iter().filter(|l| l.size > most);
    long.map(|l| TooLong { layout: l.name.clone(), id: l.id, size: l.size, most, veth }).collect()
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLong { layout, size, most, veth, .. } = self;
        let id = xhint_universe::LayoutId(self.id);
        let of = if *veth { " on veth" } else { "" };
        write!(
            f,
            "layout {layout} (id {id}) has {size} bytes, and this kernel lets at most {most} bytes of metadata \
             stand in front of a packet{of}: none can come with it"
        )
    }
}
