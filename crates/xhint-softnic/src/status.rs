//! How a soft NIC is doing.

use std::collections::BTreeMap;

use crate::abi::Counter;
use crate::error::Result;
use crate::flash::Spread;
use crate::nic::SoftNic;

/// A moment's counts. Each packet off the wire is `forwarded` or in `dropped`; each forwarded one has
/// `arrived` at the device, is among the ring's drops, or is still on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The device's name.
    pub name: String,
    /// Which flash of this device is in force, from 1; 0 with no firmware.
    pub flash: u32,
    /// Which layout a packet gets, if there are several.
    pub mode: Spread,
    /// The layouts in force, in the firmware's order.
    pub layouts: Vec<LayoutStatus>,
    /// Packets by layout id, over all firmwares there were.
    pub by_layout: BTreeMap<u32, u64>,
    /// Packets that came off the wire.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets handed to the device.
    pub forwarded: u64,
    /// Of these, packets without metadata as there was no firmware.
    pub plain: u64,
    /// Packets that the device has taken, by its own count.
    pub arrived: u64,
    /// Packets that were lost, by reason.
    pub dropped: Dropped,
    /// Whether the truth log is kept.
    pub truth: bool,
    /// Truth records that found the log full.
    pub truth_lost: u64,
}

/// One layout in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutStatus {
    /// Its name, cut at 63 bytes.
    pub name: String,
    /// Its id.
    pub id: u32,
    /// Bytes of metadata.
    pub size: u32,
    /// How many fields the NIC writes.
    pub fields: u32,
    /// Packets it was written for, in this firmware or an earlier one.
    pub packets: u64,
}

/// Why packets were lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Too short for an Ethernet header.
    pub malformed: u64,
    /// No room for the metadata.
    pub no_room: u64,
    /// No device to hand them to.
    pub no_device: u64,
    /// The device's ring was full, or the frame longer than its MTU.
    pub ring: u64,
    /// The wire itself was full; who sends by [`SoftNic::send`] is told and sends them again.
    pub wire: u64,
}

impl Dropped {
    /// Each with its name.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("malformed", self.malformed),
            ("no_room", self.no_room),
            ("no_device", self.no_device),
            ("ring", self.ring),
            ("wire", self.wire),
        ]
    }

    /// All of them but the wire's.
    pub fn total(&self) -> u64 {
        [self.malformed, self.no_room, self.no_device, self.ring].into_iter().sum()
    }
}

impl SoftNic {
    /// How it is doing.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn status(&self) -> Result<Status> {
        let (port, wire0) = self.links()?;
        let count = |which| self.maps.counter(which);
        let flashed = self.maps.flashed()?;
        let by_layout = self.maps.packets()?;
        let first = flashed.first();
        let (flash, mode) = (first.map_or(0, |f| f.serial), first.map_or(0, |f| f.mode));
        let packets = |id: &u32| by_layout.get(id).copied().unwrap_or(0);
        let layouts = flashed.into_iter().map(|f| LayoutStatus {
            packets: packets(&f.id),
            name: f.name,
            id: f.id,
            size: f.size,
            fields: f.fields,
        });
        Ok(Status {
            name: self.name().to_string(),
            flash,
            mode: Spread::from_raw(mode),
            layouts: layouts.collect(),
            packets: count(Counter::Packets)?,
            bytes: count(Counter::Bytes)?,
            forwarded: count(Counter::Forwarded)?,
            plain: count(Counter::Plain)?,
            arrived: port.stats.tx_packets,
            dropped: Dropped {
                malformed: count(Counter::DropLoad)?,
                no_room: count(Counter::DropMeta)?,
                no_device: count(Counter::DropPort)?,
                ring: port.stats.tx_dropped,
                wire: wire0.stats.tx_dropped,
            },
            by_layout,
            truth: self.maps.keeps_truth()?,
            truth_lost: count(Counter::TruthLost)?,
        })
    }
}
