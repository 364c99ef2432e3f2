//! Asking by netlink: a request, and the answers to it.

use std::io;

use netlink_packet_core::{
    NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

use crate::error::{Error, Result};

/// Larger than any answer about one device.
const ANSWER: usize = 64 << 10;

/// A socket in the namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    answer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket for `protocol` in the calling thread's namespace.
    pub(crate) fn open(protocol: isize) -> Result<Netlink> {
        let mut socket = Socket::new(protocol).map_err(Error::system("opening a netlink socket"))?;
        socket.bind_auto().map_err(Error::system("binding a netlink socket"))?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(Error::system("connecting a netlink socket"))?;
        Ok(Netlink { socket, sequence: 0, answer: Vec::with_capacity(ANSWER) })
    }

    pub(crate) fn send<M>(&mut self, message: M, flags: u16) -> io::Result<()>
    where
        M: NetlinkSerializable + Into<NetlinkPayload<M>>,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags | NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, message.into());
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// The next answer to the last request.
    pub(crate) fn receive<M: NetlinkDeserializable>(&mut self) -> io::Result<NetlinkPayload<M>> {
        loop {
            self.answer.clear();
            self.socket.recv(&mut self.answer, 0)?;
            let message = NetlinkMessage::<M>::deserialize(&self.answer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if message.header.sequence_number == self.sequence {
                return Ok(message.payload);
            }
        }
    }
}
