//! Tests that need the kernel's BPF ask [`privileged`] first.

use std::io::Write;
use std::{fs, io, thread};

/// `capabilities(7)`: the number of each capability that the tests need, with its name.
const NEEDED: [(u32, &str); 4] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

/// Whether this process may load BPF programs and make network namespaces.
///
/// If not, a line that names the running test and the reason goes to standard error, past the test harness's capture,
/// so that a skipped test is never taken for a passed one.
#[must_use]
pub fn privileged() -> bool {
    match why_not() {
        None => true,
        Some(why) => {
            skipped(&why);
            false
        }
    }
}

/// Says on standard error, past the test harness's capture, that the running test is skipped, and why.
pub fn skipped(why: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("SKIPPED: {test}: {why}\n");
    // Not eprintln!, which the harness captures.
    #[allow(clippy::disallowed_methods, reason = "what a test says is its own")]
    let _ = io::stderr().write_all(line.as_bytes());
}

fn why_not() -> Option<String> {
    let status = match fs::read_to_string("/proc/self/status") {
        Ok(status) => status,
        Err(error) => return Some(format!("/proc/self/status: {error}")),
    };
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let missing: Vec<_> =
        NEEDED.iter().filter(|(number, _)| effective & (1 << number) == 0).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        return Some(format!("not privileged: {} missing", missing.join(", ")));
    }
    // Capabilities are not enough where a container's seccomp filter refuses bpf(2).
    crate::libbpf::probe_map_create().err().map(|error| format!("bpf(2) is refused: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_given_exactly_when_not_privileged() {
        assert_eq!(privileged(), why_not().is_none());
    }
}
