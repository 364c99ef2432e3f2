//! An application that needs the library alone: it says where a NIC's fields lie, puts a program on a device, and keeps up
//! with the NIC until the program is taken off.
//!
//! ```text
//! cargo run --example application -- eth0 prog.o fw1.btf
//! ```

use std::error::Error;

use xhint::{Dispatch, Linker, Mode};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ifname, program, nic] = arguments.as_slice() else {
        return Err("usage: application IFNAME PROG.o NIC.btf".into());
    };

    // On the running kernel's BTF; `Linker::with_base` takes another.
    let linker = Linker::new()?;
    for layout in linker.layouts(nic)? {
        println!("{} has id {} and {} bytes", layout.name, layout.id, layout.size);
        for field in &layout.fields {
            let (byte, bits) = (field.bit_offset / 8, field.bits);
            let hint = field.hint.map_or_else(|| "no hint".to_owned(), |hint| hint.to_string());
            println!("  {} is {bits} bits at byte {byte}, order {:?}, {hint}", field.path, field.order);
        }
    }

    // Linked and verified first; then it takes its place in one step. `attach_in` names a network namespace.
    let link = linker.program(program)?.nic(nic)?.mode(Mode::Native).walk(false).dispatch(Dispatch::Auto);
    let attached = link.attach(ifname)?;
    attached.warnings().iter().for_each(|warning| println!("warning: {warning}"));

    // Comes back at each change, and at least once a second.
    let mut follow = attached.follow(&linker, [nic])?;
    loop {
        match follow.next() {
            Ok(events) => events.iter().for_each(|event| println!("{event}")),
            Err(xhint::Error::NotAttached(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for layout in attached.status()?.counters.unwrap_or_default().layouts {
            println!("{}: {} packets", layout.name, layout.count.packets);
        }
    }
}
