//! The truth log: what the NIC knew of each packet, to hold what a program read against.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libbpf_rs::{RingBuffer, RingBufferBuilder};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use xhint_layout::{Class, Hint, PlanField};

use crate::abi::{self, SLOTS};
use crate::error::{Result, bpf, system};
use crate::nic::SoftNic;
use crate::record::Reader;

/// Most records that one [`TruthLog::take`] gives.
pub const BATCH: usize = 1 << 14;

/// One packet, as the NIC saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truth {
    /// The packet's source MAC address as a number; generated traffic counts in its low 32 bits.
    pub key: u64,
    /// The layout it was given; 0 for none.
    pub layout: u32,
    /// Which flash of the device that layout came from.
    pub flash: u32,
    present: u64,
    values: [u64; SLOTS],
}

impl Truth {
    /// The value of a hint; `None` if this packet has none. Of values longer than 64 bits, the high ones.
    pub fn value(&self, hint: Hint) -> Option<u64> {
        if let Hint::Const(value) = hint {
            return Some(value);
        }
        let slot = abi::slot_of(hint)?;
        let has = self.present & abi::slot_bit(slot) != 0;
        has.then(|| self.values.get(usize::from(slot)).copied()).flatten()
    }

    /// The value of a hint as a field has it that is no enumeration: a packet's type without its
    /// transport, see [`xhint_layout::hint::PKT_TYPES`].
    pub fn plain(&self, hint: Hint) -> Option<u64> {
        let value = self.value(hint)?;
        match hint.values() {
            None => Some(value),
            Some(rows) => rows.iter().find(|row| row.1 == value).map(|row| row.3),
        }
    }

    /// Whether the packet is of this kind.
    pub fn is(&self, class: Class) -> bool {
        self.present & abi::class_bit(class) != 0
    }

    /// What must stand in `field`, if the packet carries a layout with it: the number that
    /// [`PlanField::read`] gives. `None` if nothing is said of it, as it is a part of a union that is not
    /// for this packet.
    pub fn expect(&self, field: &PlanField) -> Option<u64> {
        let value = if abi::need(field).is_some_and(|need| self.present & need == need) {
            abi::value(field, &self.values) & field.mask()
        } else if field.shared || !field.when.is_empty() {
            return None;
        } else {
            0
        };
        let sign = field.mask() ^ field.mask().wrapping_shr(1);
        let negative = field.signed && value & sign != 0;
        Some(if negative { value | !field.mask() } else { value })
    }

    fn parse(bytes: &[u8]) -> Option<Truth> {
        let mut r = Reader(bytes);
        let (key, present, layout, flash) = (r.u64()?, r.u64()?, r.u32()?, r.u32()?);
        let mut values = [0; SLOTS];
        for value in &mut values {
            *value = r.u64()?;
        }
        Some(Truth { key, layout, flash, present, values })
    }
}

/// Reads the truth log, which is kept as long as this lives. One reader at a time gets each record.
pub struct TruthLog<'a> {
    nic: &'a SoftNic,
    ring: RingBuffer<'static>,
    records: Arc<Mutex<Vec<Truth>>>,
}

impl SoftNic {
    /// Starts the truth log. What an earlier reader left behind is thrown away.
    ///
    /// # Errors
    /// If the kernel does not map the log.
    pub fn truth(&self) -> Result<TruthLog<'_>> {
        let records = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&records);
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&self.maps.truth_log, move |bytes| {
                let mut records = sink.lock().unwrap_or_else(PoisonError::into_inner);
                records.extend(Truth::parse(bytes));
                0
            })
            .map_err(bpf("mapping the truth log"))?;
        let ring = builder.build().map_err(bpf("mapping the truth log"))?;
        let log = TruthLog { nic: self, ring, records };
        while !log.take(Duration::ZERO)?.is_empty() {}
        self.maps.keep_truth(true)?;
        Ok(log)
    }
}

impl TruthLog<'_> {
    /// The records there are, at most [`BATCH`], in the order in which the packets came. Waits up to
    /// `wait` for the first.
    ///
    /// # Errors
    /// If waiting fails.
    pub fn take(&self, wait: Duration) -> Result<Vec<Truth>> {
        let mut fds = [PollFd::new(self.nic.maps.truth_log.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Err(error) if error != nix::Error::EINTR => return Err(system("waiting for the truth log")(error)),
            _ => {}
        }
        let taken = self.ring.consume_raw_n(BATCH);
        if taken < 0 {
            let error = libbpf_rs::Error::from_raw_os_error(taken.saturating_neg());
            return Err(bpf("reading the truth log")(error));
        }
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *records))
    }
}

impl Drop for TruthLog<'_> {
    fn drop(&mut self) {
        // A log that stays on costs time and loses records, and harms nothing.
        let _ = self.nic.maps.keep_truth(false);
    }
}
