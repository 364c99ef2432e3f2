//! What libbpf and the kernel's verifier say of an object that is refused.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use libbpf_rs::{PrintLevel, get_print, set_print};

thread_local! {
    /// What libbpf has said on this thread since it was asked to be heard.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `work` and returns what libbpf said meanwhile, rather than let it print.
pub fn heard<T>(work: impl FnOnce() -> T) -> (T, String) {
    // libbpf has one print function for the process, so one at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = get_print();
    SAID.take();
    set_print(Some((PrintLevel::Warn, |_, text| SAID.with_borrow_mut(|said| said.push_str(&text)))));
    let done = work();
    set_print(before);
    (done, SAID.take())
}

/// The program that a log is about.
pub fn program(log: &str) -> Option<&str> {
    log.lines().find_map(|l| l.strip_prefix("libbpf: prog '")?.split('\'').next())
}

/// The line of a log that tells most: the verifier's verdict, or else the first that libbpf says.
pub fn reason(log: &str) -> Option<String> {
    verdict(log).or_else(|| first_line(log))
}

/// The verifier's last word: the line before its statistics, with the instruction it is about.
fn verdict(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().map(str::trim).collect();
    let end = lines.iter().rposition(|l| l.starts_with("processed ") && l.contains(" insns"))?;
    let said = lines.get(..end)?;
    let last = said.iter().rev().find(|l| !l.is_empty())?;
    let source = said.iter().rev().find(|l| l.starts_with("; ")).map(|l| l.trim_start_matches("; "));
    Some(match source {
        Some(source) => format!("{last} (at: {source})"),
        None => (*last).to_owned(),
    })
}

fn first_line(log: &str) -> Option<String> {
    let line = log.lines().map(str::trim).find(|l| !l.is_empty())?;
    Some(line.trim_start_matches("libbpf: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_the_line_before_the_statistics() {
        let log = "libbpf: prog 'rx': BPF program load failed: Permission denied\nlibbpf: prog 'rx': -- BEGIN PROG \
                   LOAD LOG --\n; return m->a; @ x.c:3\n5: (61) r0 = *(u32 *)(r1 +0)\ninvalid access to packet, off=0 \
                   size=4, R1(id=0,off=0,r=0)\nR1 offset is outside of the packet\nprocessed 6 insns (limit 1000000) \
                   max_states_per_insn 0\n-- END PROG LOAD LOG --\n";
        assert_eq!(program(log), Some("rx"));
        assert_eq!(reason(log).unwrap(), "R1 offset is outside of the packet (at: return m->a; @ x.c:3)");
        assert_eq!(reason("libbpf: extern 'f': not found\n").unwrap(), "extern 'f': not found");
        assert_eq!((program(""), reason("")), (None, None));
    }
}
