//! Holds a target to its limits of time and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

use peak_alloc::PeakAlloc;

use crate::Target;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most that one input may take. A machine that is busy may make of a hundredth of it a tenth, but not this.
pub const TIME: Duration = Duration::from_secs(10);

/// The most bytes that an input of `length` bytes may make a target allocate.
#[must_use]
pub fn memory_for(length: usize) -> usize {
    (4 << 20) + 100 * length
}

/// Runs a target on one input after the other, in one thread.
#[derive(Debug)]
pub struct Guard {
    target: Target,
    start: Instant,
    /// Milliseconds from `start` to that of the input under way; `IDLE` between inputs.
    under_way: Arc<AtomicU64>,
}

const IDLE: u64 = u64::MAX;

impl Guard {
    /// Watches over `target`: an input on which it hangs ends the process, since nothing else would.
    #[must_use]
    pub fn new(target: Target) -> Guard {
        let (start, under_way) = (Instant::now(), Arc::new(AtomicU64::new(IDLE)));
        let watched = Arc::clone(&under_way);
        thread::spawn(move || {
            loop {
                thread::sleep(TIME / 10);
                let began = watched.load(Ordering::Relaxed);
                let now = start.elapsed().as_millis() as u64;
                if began != IDLE && now.saturating_sub(began) > TIME.as_millis() as u64 {
                    eprintln!("target {} has hung for {TIME:?}", target.name);
                    process::abort();
                }
                if Arc::strong_count(&watched) == 1 {
                    return;
                }
            }
        });
        Guard { target, start, under_way }
    }

    /// Runs the target on `bytes`.
    ///
    /// # Panics
    /// When the target does, or takes too much memory; the input is then kept in a file that the message names.
    pub fn run(&self, how: &str, bytes: &[u8]) {
        let kept = Kept { name: self.target.name, how, bytes };
        let now = self.start.elapsed().as_millis() as u64;
        self.under_way.store(now, Ordering::Relaxed);
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        (self.target.run)(bytes);
        let peak = MEMORY.peak_usage().saturating_sub(before);
        self.under_way.store(IDLE, Ordering::Relaxed);
        let allowed = memory_for(bytes.len());
        assert!(peak <= allowed, "{} bytes of memory for {} of input, {allowed} allowed", peak, bytes.len());
        std::mem::forget(kept);
    }
}

/// The input under way: written to a file when it is dropped by a panic.
struct Kept<'a> {
    name: &'a str,
    how: &'a str,
    bytes: &'a [u8],
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let path = std::env::temp_dir().join(format!("xhint-fuzz-{}", self.name));
        let written = fs::write(&path, self.bytes);
        eprintln!("target {}: {}: input kept in {} ({written:?})", self.name, self.how, path.display());
    }
}
