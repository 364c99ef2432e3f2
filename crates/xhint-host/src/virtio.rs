//! What a virtio device and its driver have agreed on.

use std::fs;
use std::io;

use crate::error::{Error, Result};
use crate::module::device;
use crate::rtnl::Parent;

/// `VIRTIO_NET_F_HASH_REPORT` of `linux/virtio_net.h`: packets come with their hash.
pub const HASH_REPORT: u32 = 57;
/// `VIRTIO_NET_F_RSS`: packets are spread over queues by a hash.
pub const RSS: u32 = 60;

/// The features of a device, by their bits' numbers; `None` if it is no virtio device, or gone.
///
/// # Errors
/// If sysfs cannot be read, or has anything else than bits there.
pub fn features(parent: &Parent) -> Result<Option<Vec<u32>>> {
    if parent.bus != "virtio" {
        return Ok(None);
    }
    let file = device(parent).join("features");
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::file(&file))?,
    };
    // A digit each, the first for bit 0.
    match text.trim_end().bytes().all(|digit| matches!(digit, b'0' | b'1')) {
        true => Ok(Some((0..).zip(text.bytes()).filter(|(_, digit)| *digit == b'1').map(|(bit, _)| bit).collect())),
        false => Err(Error::file(&file)(io::Error::new(io::ErrorKind::InvalidData, "is no row of bits"))),
    }
}
