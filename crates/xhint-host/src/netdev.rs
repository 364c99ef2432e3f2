//! What the kernel says of a device's XDP, by the generic netlink family `netdev`
//! (Documentation/netlink/specs/netdev.yaml).

use std::io;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NetlinkDeserializable, NetlinkPayload, NetlinkSerializable, Nla, NlaBuffer,
    NlasIterator, Parseable, ParseableParametrized,
};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::error::{Error, Result};
use crate::netlink::Netlink;

/// `NETDEV_FAMILY_NAME` of `linux/netdev.h`.
const FAMILY: &str = "netdev";
/// `NETDEV_FAMILY_VERSION`.
const VERSION: u8 = 1;
/// `NETDEV_CMD_DEV_GET`.
const DEV_GET: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX`.
const IFINDEX: u16 = 1;
/// `NETDEV_A_DEV_XDP_FEATURES`.
const XDP_FEATURES: u16 = 3;
/// `NETDEV_A_DEV_XDP_ZC_MAX_SEGS`.
const ZERO_COPY_SEGMENTS: u16 = 4;
/// `NETDEV_A_DEV_XDP_RX_METADATA_FEATURES`.
const RX_METADATA: u16 = 5;

/// What a device can do with XDP, as its driver tells the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XdpSupport {
    /// Bits of `enum netdev_xdp_act`; see [`XdpSupport::names`].
    pub features: u64,
    /// Bits of `enum netdev_xdp_rx_metadata`: [`TIMESTAMP`], [`HASH`], [`VLAN_TAG`]; `None` where the kernel does not tell.
    pub rx_metadata: Option<u64>,
    /// Into how many parts a packet may be cut for an AF_XDP socket without copying; `None` for no such sockets, and
    /// where the kernel does not tell.
    pub zero_copy_segments: Option<u32>,
}

/// `NETDEV_XDP_RX_METADATA_TIMESTAMP`.
pub const TIMESTAMP: u64 = 1;
/// `NETDEV_XDP_RX_METADATA_HASH`.
pub const HASH: u64 = 2;
/// `NETDEV_XDP_RX_METADATA_VLAN_TAG`.
pub const VLAN_TAG: u64 = 4;

/// `enum netdev_xdp_rx_metadata`, from bit 0.
const RX_METADATAS: [&str; 3] = ["timestamp", "hash", "vlan-tag"];
/// `enum netdev_xdp_act`, from bit 0.
const ACTS: [&str; 7] = ["basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg"];

impl XdpSupport {
    /// Its features by the names that the kernel's specification gives them, and those that are newer than this by their
    /// bits' numbers.
    pub fn names(&self) -> Vec<String> {
        named(self.features, &ACTS)
    }

    /// What it tells of packets, in the same way.
    pub fn metadata_names(&self) -> Option<Vec<String>> {
        Some(named(self.rx_metadata?, &RX_METADATAS))
    }
}

fn named(bits: u64, names: &[&str]) -> Vec<String> {
    let set = (0..u64::BITS).filter(|bit| bits >> bit & 1 == 1);
    set.map(|bit| names.get(bit as usize).map_or_else(|| format!("bit {bit}"), |name| (*name).to_owned())).collect()
}

/// What the device `ifindex` of the caller's network namespace can do with XDP; `None` where the kernel does not tell (before
/// Linux 6.3).
///
/// # Errors
/// What the kernel says; `ENODEV` if there is no such device.
pub fn xdp_support(ifindex: u32) -> Result<Option<XdpSupport>> {
    let mut netlink = Netlink::open(NETLINK_GENERIC)?;
    let Some(family) = family(&mut netlink).map_err(Error::system("asking for the netlink family netdev"))? else {
        return Ok(None);
    };
    let asked = Device { command: DEV_GET, attributes: vec![DefaultNla::new(IFINDEX, ifindex.to_ne_bytes().into())] };
    let mut message = GenlMessage::from_payload(asked);
    message.set_resolved_family_id(family);
    let told =
        ask(&mut netlink, message).map_err(Error::system(format!("asking for the XDP features of link {ifindex}")))?;
    Ok(told.xdp())
}

/// The number that the family has until the next start; `None` if there is no such family.
fn family(netlink: &mut Netlink) -> io::Result<Option<u16>> {
    let nlas = vec![GenlCtrlAttrs::FamilyName(FAMILY.to_owned())];
    let asked = GenlMessage::from_payload(GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas });
    let told = match ask(netlink, asked) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        other => other?,
    };
    Ok(told.nlas.into_iter().find_map(|attribute| match attribute {
        GenlCtrlAttrs::FamilyId(id) => Some(id),
        _ => None,
    }))
}

/// Sends a request that has one answer.
fn ask<F>(netlink: &mut Netlink, message: GenlMessage<F>) -> io::Result<F>
where
    F: std::fmt::Debug,
    GenlMessage<F>: NetlinkSerializable + NetlinkDeserializable,
{
    netlink.send(message, 0)?;
    loop {
        match netlink.receive::<GenlMessage<F>>()? {
            NetlinkPayload::InnerMessage(answer) => return Ok(answer.payload),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
    }
}

/// A message of the family about a device.
#[derive(Debug)]
struct Device {
    command: u8,
    attributes: Vec<DefaultNla>,
}

impl Device {
    fn xdp(&self) -> Option<XdpSupport> {
        Some(XdpSupport {
            // A device without any has the attribute all the same.
            features: self.number(XDP_FEATURES)?,
            rx_metadata: self.number(RX_METADATA),
            zero_copy_segments: self.number(ZERO_COPY_SEGMENTS).and_then(|n| n.try_into().ok()),
        })
    }

    /// An attribute of 4 or 8 bytes.
    fn number(&self, kind: u16) -> Option<u64> {
        let attribute = self.attributes.iter().find(|attribute| attribute.kind() == kind)?;
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        match value.as_slice().try_into() {
            Ok(long) => Some(u64::from_ne_bytes(long)),
            Err(_) => Some(u32::from_ne_bytes(value.as_slice().try_into().ok()?).into()),
        }
    }
}

impl GenlFamily for Device {
    fn family_name() -> &'static str {
        FAMILY
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        VERSION
    }
}

impl Emitable for Device {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Device {
    fn parse_with_param(bytes: &[u8], header: GenlHeader) -> std::result::Result<Device, DecodeError> {
        let attributes =
            NlasIterator::new(bytes).map(|one: std::result::Result<NlaBuffer<&[u8]>, _>| DefaultNla::parse(&one?));
        Ok(Device { command: header.cmd, attributes: attributes.collect::<std::result::Result<_, _>>()? })
    }
}
