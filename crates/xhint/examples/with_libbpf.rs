//! An application that links with xhint and does everything else as it always did, with libbpf-rs.
//!
//! ```text
//! cargo run --example with_libbpf -- eth0 hints.o fw1.btf fw2.btf
//! ```
//! Reads packets for ten seconds and says how many were read, without metadata, or unknown.

use std::error::Error;
use std::{env, thread, time::Duration};

use libbpf_rs::{MapCore, MapFlags, ObjectBuilder};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [ifname, program, nics @ ..] = arguments.as_slice() else {
        return Err("usage: with_libbpf IFNAME PROG.o NIC.btf...".into());
    };

    // The only lines that have to do with xhint.
    let linker = xhint::Linker::new()?;
    let mut link = linker.program(program)?;
    for nic in nics {
        link = link.nic(nic)?;
    }
    let linked = link.link()?;

    let object = ObjectBuilder::default().open_memory(&linked.bytes)?.load()?;
    let ifindex = xhint::runtime::Device::find(ifname, xhint::runtime::Netns::current()?)?.ifindex();
    let program = object.progs_mut().find(|p| p.name() == "hints").ok_or("no program hints")?;
    let _attached = program.attach_xdp(i32::try_from(ifindex)?)?;

    thread::sleep(Duration::from_secs(10));
    let outcomes = object.maps().find(|m| m.name() == "outcomes").ok_or("no map outcomes")?;
    for (outcome, words) in (0u32..).zip(["read", "without metadata", "unknown", "no room"]) {
        let all = outcomes.lookup_percpu(&outcome.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
        let packets: u64 = all.iter().filter_map(|v| Some(u64::from_ne_bytes(*v.first_chunk()?))).sum();
        println!("{packets} {words}");
    }
    Ok(())
}
