//! Standard output, which whoever starts us may have closed: then what we would say is lost, and that is an error.

use std::io::{self, IsTerminal, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it was closed when the program began.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// What looks, before Rust's runtime opens /dev/null in the place of a standard stream that is closed, which nobody can
/// tell from one that was wanted.
// SAFETY: an array of functions that are called once, before `main`, by a single thread (ELF gABI, "Initialization and
// Termination Functions").
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    // SAFETY: a syscall on a number, which touches no memory.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    CLOSED.store(flags == -1, Ordering::Relaxed);
}

/// Standard output, or why there is none.
pub struct Standard(StdoutLock<'static>);

impl Standard {
    pub fn lock() -> Standard {
        Standard(io::stdout().lock())
    }

    pub fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }
}

/// That there is a standard output.
///
/// # Errors
/// What writing to a closed file gives.
pub fn open() -> io::Result<()> {
    match CLOSED.load(Ordering::Relaxed) {
        true => Err(io::Error::from_raw_os_error(libc::EBADF)),
        false => Ok(()),
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        open()?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
