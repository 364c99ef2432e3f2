//! Where the devices of links are.
//!
//! A link tells its device's number, but not the network namespace. So all that can be found are asked which of them has
//! a device with that number that runs the link's program.

use crate::device::Device;
use crate::site::Live;
use xhint_host::{Netns, xdp};

/// The device of each link; `None` for one whose namespace cannot be found or entered.
pub(crate) fn locate(links: &[&Live]) -> Vec<Option<Device>> {
    let mut found: Vec<Option<Device>> = links.iter().map(|_| None).collect();
    for netns in Netns::all() {
        if found.iter().all(Option::is_some) {
            break;
        }
        let name = |link: &Live| {
            let programs = xdp::query(link.ifindex).unwrap_or_default();
            if programs.has(link.program) { xdp::name_of(link.ifindex) } else { None }
        };
        let look = || Ok::<_, xhint_host::Error>(links.iter().map(|link| name(link)).collect::<Vec<_>>());
        let names = netns.run(look).unwrap_or_default();
        for ((device, link), name) in found.iter_mut().zip(links).zip(names) {
            if let (None, Some(name)) = (&device, name) {
                *device = Some(Device::known(name, link.ifindex, netns.clone()));
            }
        }
    }
    found
}
