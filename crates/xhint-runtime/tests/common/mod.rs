//! What the tests of the runtime share: the examples, compiled, and network namespaces of their own.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod growing;
pub mod nic;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process};

use caps::{CapSet, Capability, CapsHashSet};
use xhint_runtime::Job;
use xhint_runtime::{Device, Home, LinkedAs, Mode, Netns, Source, State};
pub use xhint_testkit::fixture::example;
use xhint_testkit::fixture::{Compile, keep, section};

/// A file of `tests/bpf`; layouts are short where the kernel lets little metadata through.
pub fn own(name: &str) -> Compile {
    Compile::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bpf").join(name)).for_room(40)
}

/// The BTF of a NIC of `examples/nics`.
pub fn nic(name: &str) -> Vec<u8> {
    let object = fs::read(example(&format!("nics/{name}.c")).object()).unwrap();
    section(&object, ".BTF").unwrap().to_vec()
}

/// The BTF of a NIC described in C.
pub fn nic_of(text: &str) -> Source {
    let source = keep("nic", "c", text.as_bytes());
    let object = fs::read(Compile::new(&source).object()).unwrap();
    Source::new("/nic.btf", section(&object, ".BTF").unwrap())
}

/// Counts packets in a map and in .bss; ENTRIES and VERDICT vary.
pub const COUNTER: &str = r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#ifndef ENTRIES
#define ENTRIES 4
#endif
#ifndef VERDICT
#define VERDICT XDP_PASS
#endif
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");
__u64 seen;
#ifdef BARE /* what any hardware takes */
SEC("xdp") int bare(struct xdp_md *ctx) { return XDP_PASS; }
#else
SEC("xdp") int count(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *n = bpf_map_lookup_elem(&counts, &key);

	/* In this order, so that the variable is never ahead of the map. */
	if (n)
		__sync_fetch_and_add(n, 1);
	__sync_fetch_and_add(&seen, 1);
#ifdef BROKEN
	return *(int *)(long)ctx->data;
#endif
	return VERDICT;
}
#endif
#ifdef SECOND
SEC("xdp") int other(struct xdp_md *ctx) { return XDP_DROP; }
#endif
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"#;

/// A job for [`COUNTER`], compiled with these arguments.
pub fn counter(arguments: &[&str]) -> Job {
    let source = keep("counter", "bpf.c", COUNTER.as_bytes());
    plain(&arguments.iter().fold(Compile::new(&source), |c, a| c.argument(*a)))
}

/// A job for an object that needs no linking.
pub fn plain(compile: &Compile) -> Job {
    let object = compile.object();
    let bytes = fs::read(&object).unwrap();
    let state = State {
        entry: String::new(),
        mode: Mode::Native,
        since: 0,
        object: Source::new(object, bytes.clone()),
        nics: Vec::new(),
        layouts: Vec::new(),
        slots: Vec::new(),
        options: LinkedAs::default(),
        filling: None,
    };
    Job {
        linked: bytes.into(),
        state,
        warnings: Vec::new(),
        unbound: None,
        why: String::new(),
        otherwise: None,
        after: None,
        filling: None,
        bound: false,
        replace: false,
    }
}

/// Runs `work` on a thread that has no capabilities but `kept`.
pub fn with_only<T: Send>(kept: &[Capability], work: impl FnOnce() -> T + Send) -> T {
    let kept: CapsHashSet = kept.iter().copied().collect();
    std::thread::scope(|s| {
        let done = s.spawn(|| {
            for set in [CapSet::Effective, CapSet::Permitted] {
                caps::set(None, set, &kept).unwrap();
            }
            work()
        });
        done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A network namespace with a veth pair `near`, `far`, that goes away when dropped, and a place for pins and state.
pub struct World {
    pub name: String,
    pub home: Home,
    dir: PathBuf,
    pins: PathBuf,
}

impl World {
    pub fn new() -> World {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("xhrt-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let system = Home::system().expect("a BPF file system");
        drop(system);
        let (dir, pins) = (std::env::temp_dir().join(&name), Path::new("/sys/fs/bpf").join(&name));
        sh(&format!("ip netns add {name}"));
        // From here on dropping it tidies up.
        let world = World { home: Home::at(&pins, &dir), name, dir, pins };
        let name = &world.name;
        sh(&format!("ip -n {name} link add near type veth peer name far"));
        sh(&format!("ip -n {name} link set near up && ip -n {name} link set far up"));
        world
    }

    pub fn netns(&self) -> Netns {
        Netns::named(&self.name).unwrap()
    }

    /// Where the state of all devices is.
    pub fn state(&self) -> PathBuf {
        self.dir.join("dev")
    }

    /// Where the pins are of what was attached to a device.
    pub fn site(&self, device: &Device) -> PathBuf {
        self.pins.join("dev").join(format!("{}-{}", device.netns().cookie(), device.ifindex()))
    }

    /// Files, pins and directories that are left, but for those that all devices share.
    pub fn left(&self) -> Vec<PathBuf> {
        let mut left = files(&self.pins);
        left.extend(files(&self.dir));
        left.retain(|p| ![self.pins.join("dev"), self.dir.join("dev")].contains(p));
        left
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.pins);
        let _ = fs::remove_dir_all(&self.dir);
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let below = |p: &PathBuf| if p.is_dir() && !p.is_symlink() { files(p) } else { Vec::new() };
    entries.flat_map(|p| [below(&p), vec![p]].concat()).collect()
}

/// Runs a shell command that must work; returns what it printed.
pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
