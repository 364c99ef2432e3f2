//! A NIC in software.
//!
//! [`SoftNic::up`] makes a network device whose packets arrive with metadata in front of them, as its
//! firmware's layouts say. Behind it, in a network namespace of its own, an XDP program plays the
//! hardware: it parses each packet off a wire, writes what the layout asks for, by [hints](xhint_layout::Hint),
//! where the layout wants it, and passes the packet on. The firmware is data: [`SoftNic::flash`]
//! replaces it while packets flow.
//!
//! The device outlives the process: its programs and maps are pinned under `/sys/fs/bpf/xhint/nic/NAME`,
//! its namespace is `xhint-NAME`. [`SoftNic::open`] picks it up again.
//!
//! Linux on little-endian machines, from 6.1 on, with BTF; CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW,
//! CAP_BPF and CAP_PERFMON.

mod abi;
mod error;
mod flash;
mod name;
mod netns;
mod nic;
mod pcap;
mod pins;
mod record;
mod rights;
mod send;
mod status;
mod toeplitz;
mod traffic;
mod truth;
mod wire;
mod work;

pub use abi::unwritten;
pub use error::{Error, Result};
pub use flash::{MAX_LAYOUTS, MAX_META, Spread, max_meta};
pub use netns::{add as add_netns, is_owned as owns_netns, remove as remove_netns};
pub use nic::{Config, SoftNic};
pub use send::{Credit, SendOptions, Sent};
pub use status::{Dropped, LayoutStatus, Status};
pub use toeplitz::{MICROSOFT_KEY, toeplitz};
pub use traffic::{KEY_PREFIX, MAX_FLOWS, Mix, Traffic};
pub use truth::{BATCH as TRUTH_BATCH, Truth, TruthLog};
pub use wire::Refused;
