//! What a service manager is told: `sd_notify(3)`, which is one datagram to the socket that `NOTIFY_SOCKET` names.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::print;

/// Says that what was asked for is done and goes on, if there is a service manager that asked to be told.
pub fn ready() {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, b"READY=1") {
        print::warning(&format!("cannot tell the service manager at {}: {error}", socket.display()));
    }
}

fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    // The manager writes an abstract name's first byte, which is 0, as @.
    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(at: &UnixDatagram, socket: &OsStr) -> Vec<u8> {
        send(socket, b"READY=1").unwrap();
        let mut buffer = [0; 64];
        let length = at.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn both_kinds_of_sockets_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        assert_eq!(heard(&UnixDatagram::bind(&path).unwrap(), path.as_os_str()), b"READY=1");
        let name = format!("xhint-notify-{}", std::process::id());
        let at = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        assert_eq!(heard(&at, OsStr::new(&format!("@{name}"))), b"READY=1");
        assert!(send(OsStr::new("/nowhere/at/all"), b"").is_err());
    }
}
