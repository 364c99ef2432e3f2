//! Devices by any of their names, by rtnetlink.

use std::io;

use netlink_packet_core::{DefaultNla, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// `IFLA_ALT_IFNAME` of `linux/if_link.h`: finds a device by its name or by an alternative one, which may be longer.
const ALT_IFNAME: u16 = 53;
/// Longest alternative name, without the end (`ALTIFNAMSIZ` in `linux/if.h`).
pub(crate) const MAX_NAME: usize = 127;
/// Larger than any answer about one link.
const ANSWER: usize = 64 << 10;

/// The number of the device `name` in the caller's network namespace.
pub(crate) fn index(name: &str) -> io::Result<u32> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut ask = LinkMessage::default();
    let text = [name.as_bytes(), b"\0"].concat();
    ask.attributes.push(LinkAttribute::Other(DefaultNla::new(ALT_IFNAME, text)));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetLink(ask)));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answer = Vec::with_capacity(ANSWER);
    socket.recv(&mut answer, 0)?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link.header.index),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
