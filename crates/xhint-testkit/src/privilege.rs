//! Tests that need the kernel's BPF ask [`may_load`] first, and those that need devices as well [`privileged`].

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// `capabilities(7)`: the number of each capability that the tests need, with its name.
const NEEDED: [(u32, &str); 4] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

/// How long a kernel may take to make a network namespace.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether this process may load BPF programs and make network namespaces, on a kernel that makes them.
///
/// If not, a line that names the running test and the reason goes to standard error, past the test harness's capture,
/// so that a skipped test is never taken for a passed one.
#[must_use]
pub fn privileged() -> bool {
    static NETWORK: OnceLock<Option<String>> = OnceLock::new();
    told(may_not_load().or_else(|| NETWORK.get_or_init(no_network).clone()))
}

/// Whether this process may load BPF programs; what it says if not is as of [`privileged`].
#[must_use]
pub fn may_load() -> bool {
    told(may_not_load())
}

fn told(why_not: Option<String>) -> bool {
    why_not.iter().for_each(|why| skipped(why));
    why_not.is_none()
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

fn may_not_load() -> Option<String> {
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

/// Why there are no devices to be had, if so. A kernel that met a fault of its own while it held the lock that all changes of
/// devices take keeps that until it is booted: whoever asks for it from then on hangs or dies.
fn no_network() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // One test waits for such a kernel, and leaves word.
    let known = std::env::temp_dir().join(format!("xhint-test-no-network-{}", boot.trim()));
    if let Ok(why) = fs::read_to_string(&known) {
        return Some(why);
    }
    let why = format!("{}; to have it tried again remove {}", make_netns()?, known.display());
    _ = fs::write(known, &why);
    Some(why)
}

/// What becomes of making a network namespace, if it fails.
fn make_netns() -> Option<String> {
    // Two first `ip netns add` at a time get in each other's way as they make `/run/netns` a mount (iproute2 6.1), so whichever
    // test comes first makes it, and no other beside it.
    let name = format!("xhint-test-{}", std::process::id());
    let lock = std::env::temp_dir().join("xhint-test-netns.lock");
    let add = format!("ip netns add {name} && ip netns del {name}");
    let mut ask = Command::new("flock");
    ask.arg(lock).args(["sh", "-c", &add]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = match ask.spawn() {
        Ok(child) => child,
        Err(error) => return Some(format!("flock: {error}")),
    };
    let end = Instant::now() + PATIENCE;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return None,
            Ok(Some(status)) => break format!("ended with {status}"),
            Ok(None) if Instant::now() > end => break format!("is not at its end after {} s", PATIENCE.as_secs()),
            Ok(None) => thread::sleep(Duration::from_millis(10)),
            Err(error) => break error.to_string(),
        }
    };
    Some(format!("this kernel makes no network namespace (`ip netns add` {ended}); see `dmesg`, and boot it anew"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_given_exactly_when_not_privileged() {
        assert_eq!(may_load(), may_not_load().is_none());
    }
}
