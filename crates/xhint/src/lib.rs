//! One XDP program, any NIC metadata.
//!
//! - [`Linker`] links a compiled program for the layouts of NICs, on the running kernel's BTF or another base. What comes
//!   out is an ordinary object, for any loader. [`Linker::layouts`] says where each [`Field`] of a [`Layout`] lies.
//! - [`Attached`] is a program on a device, put there by [`Link::attach`] in this process or by `xhint attach` in
//!   another. It outlives both.
//! - [`Layouts`] are those it reads: they come and go while packets flow. [`Attached::follow`] keeps up with files and
//!   firmware.
//!
//! All calls are synchronous. Every error says what is wrong, where, and what to do; whatever it says, what was attached
//! before is attached still.
//!
//! ```no_run
//! # fn main() -> xhint::Result<()> {
//! let linker = xhint::Linker::new()?;
//! let attached = linker.program("prog.o")?.nic("fw1.btf")?.attach("eth0")?;
//! attached.layouts().add(&linker, "fw2.btf")?;
//! for layout in attached.status()?.counters.unwrap_or_default().layouts {
//!     println!("{}: {} packets", layout.name, layout.count.packets);
//! }
//! attached.detach()
//! # }
//! ```
//!
//! ```no_run
//! # fn main() -> xhint::Result<()> {
//! for layout in xhint::Linker::new()?.layouts("fw1.btf")? {
//!     println!("{} has id {} and {} bytes", layout.name, layout.id, layout.size);
//!     for field in &layout.fields {
//!         println!("  {} bits at bit {}: {}", field.bits, field.bit_offset, field.path);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Below these stand the crates that do the work, for whoever needs more: [`btf`] reads and writes BTF, [`object`] reads
//! and writes eBPF objects, [`link`] links them for a [`universe`] of BTFs, [`runtime`] puts them on devices.
#![forbid(unsafe_code)]

mod attached;
pub mod layout;
mod linker;

pub use xhint_btf as btf;
pub use xhint_fill as fill;
pub use xhint_link as link;
pub use xhint_object as object;
pub use xhint_runtime as runtime;
pub use xhint_runtime::btf_files as read;
pub use xhint_universe as universe;

pub use attached::{Attached, Layouts};
pub use layout::{ByteOrder, Field, Hint, Layout, LayoutId, LayoutRef};
pub use linker::{Link, Linker};
pub use xhint_fill::{Fill, Prefer, Provider};
pub use xhint_link::{Dispatch, Linked, Report};
pub use xhint_runtime::follow::{Event, EventKind, Follow};
pub use xhint_runtime::layouts::{Changed, LiveLayout};
pub use xhint_runtime::status::Status;
pub use xhint_runtime::{Device, Error, LayoutState, Mode, Netns, Result};
