//! Packets onto the wire.
//!
//! A frame goes from `wire0` to the device in one go of the kernel's softirq, mostly before the system
//! call returns. Under load it may wait, in two rings of 256 places (drivers/net/veth.c,
//! VETH_RING_SIZE), and a full ring drops: the wire's by telling the sender, who sends again; the
//! device's by counting. So at most [`WINDOW`] packets are let under way, which leaves no ring to fill.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use xhint_host::rtnl::{Link, Rtnl};

use crate::error::{Error, Result, system};
use crate::nic::{PORT, SoftNic, WIRE0};
use crate::traffic::{KEY_PREFIX, Traffic};
use crate::wire::{Maps, Refused};
use crate::work::Work;

/// Packets handed to the kernel in one call.
const BATCH: usize = 32;

/// Packets under way at most.
const WINDOW: u64 = 192;

/// How long packets under way may make no step before they are given up for lost.
const PATIENCE: Duration = Duration::from_millis(500);

/// Shortest frame: an Ethernet header.
const MIN_FRAME: usize = 14;

/// Ethernet header and one VLAN tag, beyond the MTU.
const OVERHEAD: usize = 18;

/// How to send.
#[derive(Debug, Clone, Default)]
pub struct SendOptions {
    /// Packets per second; as fast as none is lost if `None`.
    pub rate: Option<u64>,
    /// How many packets; the traffic is repeated as needed. Until stopped if `None`.
    pub count: Option<u64>,
    /// Ends the sending when set.
    pub stop: Option<Arc<AtomicBool>>,
    /// The key of the first packet, for keyed traffic.
    pub first_key: u32,
    /// Lets a reader hold the sender back.
    pub credit: Option<Credit>,
}

/// The sender is never more than `ahead` packets ahead of `taken`, which a reader counts up.
#[derive(Debug, Clone)]
pub struct Credit {
    /// How many packets the reader has dealt with.
    pub taken: Arc<AtomicU64>,
    /// How many more may be sent.
    pub ahead: u64,
}

/// What was sent and what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets put on the wire.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that the device has taken meanwhile.
    pub arrived: u64,
    /// Packets that found the device's ring full, or were too long for it.
    pub dropped: u64,
    /// Packets that the NIC itself let go of.
    pub refused: Refused,
    /// Packets of which nobody tells: the device was down, say.
    pub lost: u64,
    /// Times the wire was full and a packet was sent again.
    pub retries: u64,
    /// From the first packet until the last has arrived.
    pub elapsed: Duration,
}

impl Sent {
    /// Packets that did not arrive.
    pub fn missing(&self) -> u64 {
        self.packets.saturating_sub(self.arrived)
    }
}

impl SoftNic {
    /// Sends traffic into the device, and returns when all of it has arrived or is known to be lost.
    ///
    /// # Errors
    /// [`Error::BadFrame`] before anything is sent, if a frame is too long; [`Error::Busy`] if another
    /// process is sending.
    pub fn send(&self, traffic: &Traffic, options: &SendOptions) -> Result<Sent> {
        let _lock = Work::Send.begin(self.name())?;
        check(traffic, self.links()?.1.mtu)?;
        let sent = self.netns.run(|| Sender::open(&self.maps, traffic, options)?.run());
        // What the kernel says of a device that was taken down meanwhile helps nobody.
        sent.or_else(|error| self.check().and(Err(error)))
    }
}

fn check(traffic: &Traffic, wire_mtu: u32) -> Result<()> {
    if traffic.is_empty() {
        return Err(Error::NoFrames);
    }
    // The wire is wider than the device by two VLAN tags.
    let max = usize::try_from(wire_mtu).unwrap_or(0).saturating_sub(8).saturating_add(OVERHEAD);
    for (number, frame) in (1usize..).zip(traffic.iter()) {
        let len = frame.len();
        if !(MIN_FRAME..=max).contains(&len) {
            let hint = if len > max { "; bring the device up with a larger MTU" } else { "" };
            return Err(Error::BadFrame { number, len, min: MIN_FRAME, max, hint });
        }
    }
    Ok(())
}

struct Sender<'a> {
    maps: &'a Maps,
    traffic: &'a Traffic,
    options: &'a SendOptions,
    socket: OwnedFd,
    rtnl: Rtnl,
    port: u32,
    /// The port's counts when it began.
    before: Link,
    /// What the NIC had refused by then.
    refused_before: Refused,
    sent: Sent,
    start: Instant,
}

impl<'a> Sender<'a> {
    fn open(maps: &'a Maps, traffic: &'a Traffic, options: &'a SendOptions) -> Result<Sender<'a>> {
        let mut rtnl = Rtnl::open()?;
        let mut link = |name: &str| {
            rtnl.by_name(name)?
                .ok_or_else(|| system("looking for the wire")(io::Error::from_raw_os_error(libc::ENODEV)))
        };
        let (before, wire0) = (link(PORT)?, link(WIRE0)?);
        Ok(Sender {
            maps,
            traffic,
            options,
            socket: packet_socket(wire0.index)?,
            rtnl,
            port: before.index,
            before,
            refused_before: maps.refused()?,
            sent: Sent::default(),
            start: Instant::now(),
        })
    }

    fn run(mut self) -> Result<Sent> {
        let mut next = 0usize;
        let mut underway = Batch::default();
        while !self.stopped() {
            let room = self.room()?;
            if room == 0 {
                continue;
            }
            underway.clear();
            for n in 0..room {
                let Some(frame) = self.traffic.frames.get(next) else { break };
                next = next.wrapping_add(1).checked_rem(self.traffic.len()).unwrap_or(0);
                underway.push(frame, self.traffic.keyed.then(|| self.key(n)));
            }
            self.put(&mut underway)?;
        }
        self.drain(0)?;
        self.sent.elapsed = self.start.elapsed();
        Ok(self.sent)
    }

    fn key(&self, ahead: u64) -> u32 {
        let [.., a, b, c, d] = self.sent.packets.wrapping_add(ahead).to_be_bytes();
        self.options.first_key.wrapping_add(u32::from_be_bytes([a, b, c, d]))
    }

    fn stopped(&self) -> bool {
        let told = self.options.stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed));
        told || self.options.count.is_some_and(|count| self.sent.packets >= count)
    }

    /// How many packets may go now; waits a little if none may.
    fn room(&mut self) -> Result<u64> {
        let mut room = BATCH as u64;
        if let Some(count) = self.options.count {
            room = room.min(count.saturating_sub(self.sent.packets));
        }
        if let Some(credit) = &self.options.credit {
            let limit = credit.taken.load(Ordering::Acquire).saturating_add(credit.ahead);
            room = room.min(limit.saturating_sub(self.sent.packets));
        }
        if let Some(rate) = self.options.rate {
            let due = u128::from(rate).saturating_mul(self.start.elapsed().as_nanos()) / 1_000_000_000;
            let due = u64::try_from(due).unwrap_or(u64::MAX).saturating_add(1);
            room = room.min(due.saturating_sub(self.sent.packets));
        }
        if room == 0 {
            thread::sleep(Duration::from_micros(50));
            return Ok(0);
        }
        if self.under_way() > WINDOW {
            self.drain(WINDOW / 2)?;
        }
        Ok(room)
    }

    fn under_way(&self) -> u64 {
        let done = [self.sent.arrived, self.sent.dropped, self.sent.refused.total(), self.sent.lost];
        self.sent.packets.saturating_sub(done.into_iter().sum())
    }

    /// Waits until at most `rest` packets are under way. Those that make no step any more are lost: the
    /// device is down, say.
    fn drain(&mut self, rest: u64) -> Result<()> {
        let mut last = (u64::MAX, Instant::now());
        loop {
            let now = self.rtnl.by_index(self.port)?;
            let since = |now: u64, before: u64| now.saturating_sub(before);
            self.sent.arrived = since(now.stats.tx_packets, self.before.stats.tx_packets);
            self.sent.dropped = since(now.stats.tx_dropped, self.before.stats.tx_dropped);
            let under_way = self.under_way();
            if under_way <= rest {
                return Ok(());
            }
            if under_way != last.0 {
                last = (under_way, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                self.sent.lost = self.sent.lost.saturating_add(under_way);
                return Ok(());
            } else {
                // Those that still make no step may have come to their end before the device.
                self.sent.refused = self.maps.refused()?.since(self.refused_before);
            }
            thread::sleep(Duration::from_micros(20));
        }
    }

    /// Puts a batch on the wire, all of it: what finds the wire full is put again.
    fn put(&mut self, batch: &mut Batch<'_>) -> Result<()> {
        while !batch.frames.is_empty() {
            match batch.send(&self.socket) {
                Ok((packets, bytes)) => {
                    self.sent.packets = self.sent.packets.wrapping_add(packets);
                    self.sent.bytes = self.sent.bytes.wrapping_add(bytes);
                }
                Err(nix::Error::ENOBUFS | nix::Error::EAGAIN) => {
                    self.sent.retries = self.sent.retries.wrapping_add(1);
                    thread::sleep(Duration::from_micros(20));
                }
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(system("sending on the wire")(error)),
            }
        }
        Ok(())
    }
}

/// Frames to be sent in one call.
#[derive(Default)]
struct Batch<'a> {
    frames: VecDeque<Frame<'a>>,
}

/// A frame in two parts, the first of them its own: both addresses, the key in the second.
struct Frame<'a> {
    addresses: [u8; 12],
    rest: &'a [u8],
}

impl<'a> Batch<'a> {
    fn clear(&mut self) {
        self.frames.clear();
    }

    fn push(&mut self, frame: &'a [u8], key: Option<u32>) {
        // Frames are checked to be longer.
        let Some((head, rest)) = frame.split_first_chunk::<12>() else { return };
        let mut addresses = *head;
        if let Some(key) = key {
            let [a, b] = KEY_PREFIX;
            let [c, d, e, f] = key.to_be_bytes();
            for (to, from) in addresses.iter_mut().skip(6).zip([a, b, c, d, e, f]) {
                *to = from;
            }
        }
        self.frames.push_back(Frame { addresses, rest });
    }

    /// Sends from the front and takes off what was sent; returns how many packets and bytes that was.
    fn send(&mut self, socket: &OwnedFd) -> nix::Result<(u64, u64)> {
        let mut parts: Vec<[IoSlice<'_>; 2]> =
            self.frames.iter().map(|f| [IoSlice::new(&f.addresses), IoSlice::new(f.rest)]).collect();
        let mut messages: Vec<libc::mmsghdr> = parts.iter_mut().map(message).collect();
        let count = libc::c_uint::try_from(messages.len()).unwrap_or(0);
        // SAFETY: `messages` are `count` headers without an address or control data; their two parts each
        // live in `parts`, and the bytes these point to in `self.frames` and the traffic, past the call.
        // The kernel reads them and writes to msg_len alone.
        let result = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        let sent = nix::errno::Errno::result(result)?;
        let sent = usize::try_from(sent).unwrap_or(0);
        let bytes = messages.iter().take(sent).fold(0u64, |sum, m| sum.wrapping_add(m.msg_len.into()));
        self.frames.drain(..sent.min(self.frames.len()));
        Ok((sent as u64, bytes))
    }
}

fn message(parts: &mut [IoSlice<'_>; 2]) -> libc::mmsghdr {
    // SAFETY: all zeroes is a valid mmsghdr, a C struct of plain data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    // An IoSlice has the layout of an iovec (std::io::IoSlice).
    message.msg_hdr.msg_iov = parts.as_mut_ptr().cast();
    message.msg_hdr.msg_iovlen = parts.len();
    message
}

/// A socket that sends on the device `index` and receives nothing.
fn packet_socket(index: u32) -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
        .map_err(system("opening a packet socket"))?;
    let on: libc::c_int = 1;
    // SAFETY: all zeroes is a valid sockaddr_ll, a C struct of plain data.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_ifindex = libc::c_int::try_from(index).unwrap_or(0);
    // SAFETY: the option's value is a c_int that lives past the call, and its size is given.
    let bypass = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    nix::errno::Errno::result(bypass).map_err(system("setting up a packet socket"))?;
    // SAFETY: the address is a sockaddr_ll that lives past the call, and its size is given.
    let bound = unsafe {
        libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    nix::errno::Errno::result(bound).map_err(system("binding a packet socket"))?;
    Ok(fd)
}
