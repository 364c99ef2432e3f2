//! Kinds of packets.

use std::fmt;

/// The kinds of packets that a part of a layout may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// ARP.
    Arp,
    /// TCP over either IP.
    Tcp,
    /// UDP over either IP.
    Udp,
    /// ICMP or ICMPv6.
    Icmp,
    /// With a VLAN tag.
    Vlan,
    /// Neither IP nor ARP.
    Other,
}

/// Every class.
pub const CLASSES: &[Class] =
    &[Class::Ipv4, Class::Ipv6, Class::Arp, Class::Tcp, Class::Udp, Class::Icmp, Class::Vlan, Class::Other];

impl Class {
    /// The class that is called so in a tag.
    pub fn from_name(name: &str) -> Option<Class> {
        CLASSES.iter().copied().find(|class| class.name() == name)
    }

    /// Its name, as in `xhint:when=NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Class::Ipv4 => "ipv4",
            Class::Ipv6 => "ipv6",
            Class::Arp => "arp",
            Class::Tcp => "tcp",
            Class::Udp => "udp",
            Class::Icmp => "icmp",
            Class::Vlan => "vlan",
            Class::Other => "other",
        }
    }

    /// The layer that decides it: two classes of one layer exclude each other.
    pub fn layer(self) -> u8 {
        match self {
            Class::Vlan => 2,
            Class::Ipv4 | Class::Ipv6 | Class::Arp | Class::Other => 3,
            Class::Tcp | Class::Udp | Class::Icmp => 4,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
