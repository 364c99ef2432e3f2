//! The Toeplitz hash, as NICs spread packets over queues by it.
//!
//! Each bit of the input that is 1 adds (by exclusive or) the 32 bits of the key that start at that
//! bit's place. So each byte of the input adds what a table by place and byte says; the wire program
//! works from those tables.

/// The key of Microsoft's RSS documents ("Verifying the RSS hash calculation").
pub const MICROSOFT_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];

/// Bytes of the longest input: two IPv6 addresses and two ports.
pub const MAX_INPUT: usize = 36;

/// The hash of `input` under `key`. Input beyond 36 bytes, two IPv6 addresses and two ports, is not looked at.
pub fn toeplitz(key: &[u8; 40], input: &[u8]) -> u32 {
    let places = 0..MAX_INPUT;
    places.zip(input).fold(0, |hash, (place, byte)| hash ^ share(key, place, *byte))
}

/// What the byte `byte` at `place` adds to the hash.
fn share(key: &[u8; 40], place: usize, byte: u8) -> u32 {
    let window = key.iter().skip(place).take(5).fold(0u64, |window, byte| window.wrapping_shl(8) | u64::from(*byte));
    let bits = (0..8u32).filter(|bit| byte.wrapping_shl(*bit) & 0x80 != 0);
    // The low 32 bits of what is cut off are those that start at that bit.
    bits.fold(0, |sum, bit| {
        sum ^ u32::try_from(window.wrapping_shr(8u32.saturating_sub(bit)) & 0xffff_ffff).unwrap_or(0)
    })
}

/// The wire program's table: native-endian words, by place, then by byte.
pub(crate) fn table(key: &[u8; 40]) -> Vec<u8> {
    (0..MAX_INPUT)
        .flat_map(|place| (0..=u8::MAX).map(move |byte| share(key, place, byte)))
        .flat_map(u32::to_ne_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn input(src: &str, src_port: u16, dst: &str, dst_port: u16, ports: bool) -> Vec<u8> {
        let bytes = |a: &str| match a.parse().unwrap() {
            IpAddr::V4(a) => a.octets().to_vec(),
            IpAddr::V6(a) => a.octets().to_vec(),
        };
        let mut input = [bytes(src), bytes(dst)].concat();
        if ports {
            input.extend(src_port.to_be_bytes());
            input.extend(dst_port.to_be_bytes());
        }
        input
    }

    /// The table of "Verifying the RSS hash calculation" (Microsoft, NDIS documentation).
    #[test]
    fn microsofts_vectors() {
        let cases = [
            ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e8fc2, 0x51ccc178),
            ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718262a, 0xc626b0ea),
            ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0a5de, 0x5c2b394a),
            ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xafc7327f),
            ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d1809c5, 0x10e828a2),
            ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc18cd5, 0x40207d3d),
            ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c461c, 0xdde51bbf),
            ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4b61e985, 0x02d1feef),
        ];
        for (src, sp, dst, dp, without, with) in cases {
            assert_eq!(toeplitz(&MICROSOFT_KEY, &input(src, sp, dst, dp, false)), without, "{src}");
            assert_eq!(toeplitz(&MICROSOFT_KEY, &input(src, sp, dst, dp, true)), with, "{src}");
        }
    }
}
