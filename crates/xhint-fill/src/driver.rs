//! Values out of the driver's own structures: what the driver itself reads when it is asked, found by the names of members.
//!
//! 1. [`DriverPaths`]: files that say where drivers keep what (`drivers/*.toml`, and users' own). `docs/fill.md` says how to
//!    write one.
//! 2. [`Path`]: from `struct xdp_buff` to a value, by names.
//! 3. [`Route`]: the same by offsets, as the BTF of a kernel and a driver's module has them.
//! 4. `code`: what goes along routes, in the place of `xhint_drive` of `bpf/driver.h`.

mod code;
mod file;
mod path;
mod resolve;

pub(crate) use code::{Calls, code};
pub use file::{DRIVEN, DriverPath, DriverPaths, PathFault, PathFile, Says};
pub use path::Path;
pub use resolve::{Fetch, Route, routes};
