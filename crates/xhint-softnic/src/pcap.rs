//! Frames out of capture files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError};

use crate::error::{Error, Result, file, system};
use crate::traffic::Traffic;

/// Most bytes of frames that are taken into memory.
const MAX_BYTES: usize = 256 << 20;

/// The first four bytes of pcapng, in both byte orders.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

impl Traffic {
    /// The Ethernet frames of a pcap or pcapng file, with their own source addresses.
    ///
    /// # Errors
    /// If the file is no capture of Ethernet, is damaged, was cut by the capture's snap length, or has
    /// more than 256 MiB of frames.
    pub fn pcap(path: impl AsRef<Path>) -> Result<Traffic> {
        let path = path.as_ref();
        let mut opened = File::open(path).map_err(system(&format!("opening {}", path.display())))?;
        let mut magic = [0; 4];
        let mut frames = Frames { path, frames: Vec::new(), bytes: 0 };
        match opened.read_exact(&mut magic) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(frames.bad("it is too short for a capture file".to_string()));
            }
            other => other.map_err(file(path))?,
        }
        // A pipe cannot be read again from its start.
        let whole = magic.chain(opened);
        if magic == PCAPNG {
            frames.pcapng(whole)?
        } else {
            frames.pcap(whole)?
        }
        if frames.frames.is_empty() {
            return Err(frames.bad("it holds no packets".to_string()));
        }
        Ok(Traffic::frames(frames.frames))
    }
}

struct Frames<'a> {
    path: &'a Path,
    frames: Vec<Vec<u8>>,
    bytes: usize,
}

impl Frames<'_> {
    fn pcap(&mut self, opened: impl Read) -> Result<()> {
        let mut reader =
            PcapReader::new(opened).map_err(|e| self.bad(format!("it is no pcap or pcapng file ({})", reason(&e))))?;
        self.ethernet(reader.header().datalink)?;
        while let Some(packet) = reader.next_raw_packet() {
            let packet = packet.map_err(|e| self.damaged(&e))?;
            self.push(&packet.data, packet.orig_len)?;
        }
        Ok(())
    }

    fn pcapng(&mut self, opened: impl Read) -> Result<()> {
        let mut reader = PcapNgReader::new(opened).map_err(|e| self.damaged(&e))?;
        // Of the section: each describes its own.
        let mut interfaces = 0u32;
        while let Some(block) = reader.next_block() {
            let (interface, data, original) = match block.map_err(|e| self.damaged(&e))? {
                Block::SectionHeader(_) => {
                    interfaces = 0;
                    continue;
                }
                Block::InterfaceDescription(interface) => {
                    self.ethernet(interface.linktype)?;
                    interfaces = interfaces.saturating_add(1);
                    continue;
                }
                Block::EnhancedPacket(packet) => (packet.interface_id, packet.data, packet.original_len),
                // It names none: it is of the first.
                Block::SimplePacket(packet) => (0, packet.data, packet.original_len),
                Block::Packet(packet) => (packet.interface_id.into(), packet.data, packet.original_len),
                _ => continue,
            };
            self.described(interface, interfaces)?;
            self.push(&data, original)?;
        }
        Ok(())
    }

    /// That the next packet's interface is one of those that its section describes: else nobody knows what it is.
    fn described(&self, interface: u32, described: u32) -> Result<()> {
        if interface < described {
            return Ok(());
        }
        let number = self.frames.len().saturating_add(1);
        Err(self.bad(format!(
            "packet {number} was captured on interface {interface}, which the file does not describe, so whether it is \
             Ethernet is not known; capture again, or take the packets before it: editcap -r"
        )))
    }

    fn ethernet(&self, link: DataLink) -> Result<()> {
        if link == DataLink::ETHERNET {
            return Ok(());
        }
        Err(self.bad(format!("its packets are {link:?}; only Ethernet can be sent")))
    }

    fn push(&mut self, data: &[u8], original: u32) -> Result<()> {
        let number = self.frames.len().saturating_add(1);
        if usize::try_from(original).is_ok_and(|original| original > data.len()) {
            let had = data.len();
            return Err(self.bad(format!(
                "packet {number} was cut from {original} to {had} bytes; capture whole packets, tcpdump -s 0"
            )));
        }
        self.bytes = self.bytes.saturating_add(data.len());
        if self.bytes > MAX_BYTES {
            return Err(self.bad(format!("it has more than {} MiB of packets; cut it, editcap -r", MAX_BYTES >> 20)));
        }
        self.frames.push(data.to_vec());
        Ok(())
    }

    fn damaged(&self, error: &PcapError) -> Error {
        let after = self.frames.len();
        self.bad(format!("it is damaged after packet {after} ({})", reason(error)))
    }

    fn bad(&self, why: String) -> Error {
        Error::Capture { path: self.path.to_path_buf(), why }
    }
}

/// The error in one line, its cause included.
fn reason(error: &PcapError) -> String {
    match error {
        PcapError::IncompleteBuffer => "it ends early".to_string(),
        PcapError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => "it ends early".to_string(),
        PcapError::IoError(error) => error.to_string(),
        other => other.to_string(),
    }
}
