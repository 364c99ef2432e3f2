//! One XDP program, any NIC metadata.
//!
//! - [`Linker`] links a compiled program for the layouts of NICs. What comes out is an ordinary object, for any loader.
//! - [`Attached`] is a program on a device, put there by [`Link::attach`] in this process or by `xhint attach` in
//!   another. It outlives both.
//! - [`Layouts`] are those it reads: they come and go while packets flow.
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
//! Below these stand the crates behind the command: [`btf`] reads and writes BTF, [`object`] reads, links and writes
//! eBPF objects, [`runtime`] puts them on devices.
#![forbid(unsafe_code)]

mod attached;
mod linker;

pub use xhint_btf as btf;
pub use xhint_link as link;
pub use xhint_object as object;
pub use xhint_runtime as runtime;

pub use attached::{Attached, Layouts};
pub use linker::{Link, Linked, Linker};
pub use xhint_link::Dispatch;
pub use xhint_runtime::layouts::{Changed, LiveLayout};
pub use xhint_runtime::status::Status;
pub use xhint_runtime::{Error, LayoutState, Result};
