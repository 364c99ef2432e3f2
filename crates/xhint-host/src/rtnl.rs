//! Network devices by rtnetlink: by any of their names, veth pairs, flags, counters.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Stats64,
};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::error::{Error, Result};
use crate::netlink::Netlink;

/// `IFLA_ALT_IFNAME` of `linux/if_link.h`: finds a device by its name or by an alternative one, which may be longer.
const ALT_IFNAME: u16 = 53;
/// Longest alternative name, without the end (`ALTIFNAMSIZ` in `linux/if.h`).
pub const MAX_NAME: usize = 127;

/// A socket in the namespace it was opened in.
#[derive(Debug)]
pub struct Rtnl {
    netlink: Netlink,
}

/// What is to be made of one end of a pair.
#[derive(Debug)]
pub struct End<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address.
    pub mac: [u8; 6],
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The namespace it is to be in, if not the socket's.
    pub netns: Option<&'a File>,
}

/// What is known of a link.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its counters.
    pub stats: Stats64,
}

/// A device on a bus that a link hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The bus: `pci`, `virtio`, `auxiliary`.
    pub bus: String,
    /// Which on that bus: `0000:00:03.0`, `virtio2`.
    pub name: String,
}

impl Rtnl {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> Result<Rtnl> {
        Ok(Rtnl { netlink: Netlink::open(NETLINK_ROUTE)? })
    }

    /// Makes a veth pair in one step: both ends or none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add_veth(&mut self, here: &End<'_>, there: &End<'_>) -> Result<()> {
        let mut message = end(here);
        let data = InfoData::Veth(InfoVeth::Peer(end(there)));
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(data)]));
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let made = self.change(RouteNetlinkMessage::NewLink(message), flags);
        made.map_err(Error::system(format!("making the veth pair {} and {}", here.name, there.name)))
    }

    /// Sets a link up. A silent one speaks no ARP and takes no part in multicast.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_up(&mut self, index: u32, silent: bool) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        if silent {
            message.header.flags |= LinkFlags::Noarp;
            message.header.change_mask |= LinkFlags::Noarp | LinkFlags::Multicast;
        }
        self.change(RouteNetlinkMessage::SetLink(message), 0).map_err(Error::system(format!("setting link {index} up")))
    }

    /// Removes a link, with its peer. Fine if there is none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_string()));
        match self.change(RouteNetlinkMessage::DelLink(message), 0) {
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
                Err(Error::system(format!("removing link {name}"))(error))
            }
            _ => Ok(()),
        }
    }

    /// The link that has this name, or has it as an alternative one (`ip link property add`), or `None`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn by_name(&mut self, name: &str) -> Result<Option<Link>> {
        match self.ask(named(name)) {
            Ok(link) => Ok(Some(describe(&link))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(Error::system(format!("asking for link {name}"))(error)),
        }
    }

    /// What a link is called for people.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn alias(&mut self, name: &str) -> Result<Option<String>> {
        let link = self.ask(named(name)).map_err(Error::system(format!("asking for link {name}")))?;
        Ok(link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfAlias(alias) => Some(alias),
            _ => None,
        }))
    }

    /// Calls a link something for people.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_alias(&mut self, name: &str, alias: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_string()));
        message.attributes.push(LinkAttribute::IfAlias(alias.to_string()));
        self.change(RouteNetlinkMessage::SetLink(message), 0).map_err(Error::system(format!("marking link {name}")))
    }

    /// The link of this number.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn by_index(&mut self, index: u32) -> Result<Link> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.ask(message).map(|link| describe(&link)).map_err(Error::system(format!("asking for link {index}")))
    }

    /// What a link hangs on; `None` for one that is made of software, and before Linux 5.14.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn parent(&mut self, index: u32) -> Result<Option<Parent>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let link = self.ask(message).map_err(Error::system(format!("asking for link {index}")))?;
        let (mut bus, mut name) = (None, None);
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::ParentDevBusName(text) => bus = Some(text),
                LinkAttribute::ParentDevName(text) => name = Some(text),
                _ => {}
            }
        }
        Ok(bus.zip(name).map(|(bus, name)| Parent { bus, name }))
    }

    fn ask(&mut self, message: LinkMessage) -> io::Result<LinkMessage> {
        self.netlink.send(RouteNetlinkMessage::GetLink(message), 0)?;
        loop {
            match self.netlink.receive()? {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => return Ok(link),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
    }

    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.netlink.send(message, flags | NLM_F_ACK)?;
        loop {
            if let NetlinkPayload::Error(error) = self.netlink.receive::<RouteNetlinkMessage>()? {
                return match error.code {
                    None => Ok(()),
                    Some(_) => Err(error.to_io()),
                };
            }
        }
    }
}

/// A question for the link of this name, first or alternative.
fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    let text = [name.as_bytes(), b"\0"].concat();
    message.attributes.push(LinkAttribute::Other(DefaultNla::new(ALT_IFNAME, text)));
    message
}

fn end(end: &End<'_>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(end.name.to_string()));
    message.attributes.push(LinkAttribute::Address(end.mac.to_vec()));
    message.attributes.push(LinkAttribute::Mtu(end.mtu));
    message.attributes.push(LinkAttribute::NumTxQueues(1));
    message.attributes.push(LinkAttribute::NumRxQueues(1));
    if let Some(netns) = end.netns {
        message.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
    }
    message
}

fn describe(message: &LinkMessage) -> Link {
    let mut link = Link { index: message.header.index, mtu: 0, stats: Stats64::default() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Stats64(stats) => link.stats = *stats,
            _ => {}
        }
    }
    link
}
