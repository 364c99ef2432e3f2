//! Names of pins, and pinning.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libbpf_sys as sys;

use crate::call::{done, owned};

/// The name of a map, program or device as a file name in a BPF file system, which takes no dots (`bpf_lookup` in
/// `kernel/bpf/inode.c`).
pub fn to_pin(name: &str) -> String {
    name.replace('%', "%25").replace('.', "%2e").replace('/', "%2f")
}

/// The name that [`to_pin`] was given.
pub fn of_pin(pin: &str) -> String {
    pin.replace("%2f", "/").replace("%2e", ".").replace("%25", "%")
}

/// Pins what `fd` stands for at `path` in a BPF file system.
///
/// # Errors
/// As the kernel says it.
pub fn put(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the descriptor is open while borrowed; the path is a C string that outlives the call.
    done(unsafe { sys::bpf_obj_pin(fd.as_raw_fd(), path.as_ptr()) })
}

/// Opens what is pinned at `path`.
///
/// # Errors
/// As the kernel says it.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that outlives the call.
    owned(unsafe { sys::bpf_obj_get(path.as_ptr()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_have_no_dots_and_tell_their_name() {
        for name in ["eth0", "eth0.100", "a%2eb", "%", "a.%25.b", "a/b%2f"] {
            let pin = to_pin(name);
            assert!(!pin.contains(['.', '/']), "{pin}");
            assert_eq!(of_pin(&pin), name);
        }
    }
}
