//! Names of soft NICs and what is named after them.

use crate::error::{Error, Result};

/// Longest name of a device, IFNAMSIZ less the terminator.
const MAX: usize = 15;

/// Checks that `name` can name a device and a file.
pub(crate) fn check(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX {
        "it is longer than 15 bytes"
    } else if name == "." || name == ".." || name == "all" || name == "default" {
        "it has a meaning of its own"
    } else if name.contains('%') {
        "the kernel would number it at a %"
    } else if name.bytes().any(|b| b == b'/' || b == b':' || !b.is_ascii_graphic()) {
        "letters, digits and other signs are allowed, but no / : or blanks"
    } else {
        return Ok(());
    };
    Err(Error::BadName { name: name.to_string(), why })
}

/// The inner namespace's name.
pub(crate) fn netns(name: &str) -> String {
    format!("xhint-{name}")
}

/// A MAC address that is the same each time: locally administered, told apart by `end`.
pub(crate) fn mac(name: &str, end: u8) -> [u8; 6] {
    // FNV-1a, 32 bits.
    let hash = name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    [0x06, a, b, c, d, end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names() {
        for good in ["mynic0", "a", "fifteen-bytes-x", "eth0.5"] {
            check(good).unwrap();
        }
        for bad in ["", "sixteen-bytes-xx", "a/b", "..", "a b", "a:1", "nic%d", "naïve", "a\n"] {
            assert!(matches!(check(bad), Err(Error::BadName { .. })), "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_local_and_unicast() {
        assert_eq!(mac("mynic0", 1)[0] & 3, 2);
        assert_ne!(mac("mynic0", 1), mac("mynic1", 1));
        assert_ne!(mac("mynic0", 1), mac("mynic0", 2));
    }
}
