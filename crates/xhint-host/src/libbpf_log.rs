//! What libbpf and the kernel's verifier say of an object that is refused, made short enough for a line.
//!
//! libbpf repeats the load with the kernel's log and prints that between marks. Of the verifier's log the end tells most:
//!
//! ```text
//! ; return m->a; @ x.c:3                                        the line of source
//! 5: (61) r0 = *(u32 *)(r1 +0)          ; R0_w=scalar()         the instruction that was looked at last
//! invalid access to packet, off=0 size=4, R1(id=0,off=0,r=0)    why it is refused
//! R1 offset is outside of the packet
//! processed 6 insns (limit 1000000) …                           statistics
//! ```

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use libbpf_rs::{PrintLevel, get_print, set_print};

thread_local! {
    /// What libbpf has said on this thread since it was asked to be heard.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `work` and returns what libbpf said meanwhile, rather than let it print.
pub fn captured<T>(work: impl FnOnce() -> T) -> (T, String) {
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

/// Why it is refused, with the instruction and its source where there are such; `None` if the log says nothing.
pub fn reason(log: &str) -> Option<String> {
    let verdict = block(log, "-- BEGIN PROG LOAD LOG --", "-- END PROG LOAD LOG --").and_then(|l| verdict(&l));
    let types = block(log, "-- BEGIN BTF LOAD LOG ---", "-- END BTF LOAD LOG --");
    let types = types.and_then(|lines| lines.iter().rev().find(|l| !l.is_empty()).map(|l| (*l).to_owned()));
    let verdict = verdict.map(|words| if takes_perfmon(&words) { words + "; that takes CAP_PERFMON" } else { words });
    match (verdict.or_else(|| told(log)), types) {
        (Some(reason), Some(types)) => Some(format!("{reason}; and the kernel refuses its BTF: {types}")),
        (None, Some(types)) => Some(format!("its BTF: {types}")),
        (reason, None) => reason,
    }
}

/// Whether the verifier refuses what it takes of those who have the capability (`allow_ptr_leaks`, `bypass_spec_v1`).
fn takes_perfmon(words: &str) -> bool {
    const SAYS: [&str; 4] =
        ["pointer comparison prohibited", "pointer -= pointer prohibited", "prohibited for !root", " leaks addr "];
    SAYS.iter().any(|says| words.contains(says))
}

/// The trimmed lines of the last block between two marks.
fn block<'a>(log: &'a str, begin: &str, end: &str) -> Option<Vec<&'a str>> {
    let start = log.rfind(begin)?.checked_add(begin.len())?;
    let inside = log.get(start..)?;
    let inside = inside.split(end).next().unwrap_or(inside);
    Some(inside.lines().map(str::trim).collect())
}

/// The verifier's last words, and what they are about.
fn verdict(lines: &[&str]) -> Option<String> {
    let end = lines.iter().rposition(|l| l.starts_with("processed ") && l.contains(" insns")).unwrap_or(lines.len());
    let said: Vec<&str> = lines.iter().take(end).copied().filter(|l| !l.is_empty()).collect();
    let after = said.iter().rposition(|l| is_trace(l)).map_or(0, |n| n.saturating_add(1));
    let (before, words) = said.split_at_checked(after)?;
    let words = words.iter().copied().filter(|l| !l.starts_with("cur state:") && !l.starts_with("old state:"));
    let words = words.collect::<Vec<_>>();
    // All of it trace: its last line is what there is.
    let words = if words.is_empty() { said.last()?.to_string() } else { words.join("; ") };
    let insn = before.iter().rev().find(|l| instruction(l).is_some());
    let source = before.iter().rev().find_map(|l| l.strip_prefix("; "));
    let mut place = Vec::new();
    place.extend(insn.map(|l| format!("at instruction {}", l.split(" ;").next().unwrap_or(l).trim())));
    place.extend(source.map(|l| match l.rsplit_once(" @ ") {
        Some((text, place)) => format!("of `{text}`, {place}"),
        None => format!("of `{l}`"),
    }));
    Some(if place.is_empty() { words } else { format!("{words} ({})", place.join(", ")) })
}

/// A line of the verifier's walk rather than of its verdict.
fn is_trace(line: &str) -> bool {
    const STARTS: [&str; 10] =
        ["; ", "from ", "mark_precise:", "frame", "caller:", "callee:", "last_idx", "regs=", "func#", "Func#"];
    STARTS.iter().any(|s| line.starts_with(s)) || instruction(line).is_some() || state(line)
}

/// The number of the instruction that a line shows: `5: (61) r0 = …`.
fn instruction(line: &str) -> Option<u32> {
    let (number, rest) = line.split_once(": ")?;
    let code = rest.strip_prefix('(')?.split_once(')')?.0;
    (code.len() == 2 && code.bytes().all(|b| b.is_ascii_hexdigit())).then(|| number.parse().ok())?
}

/// Whether a line shows registers: `5: R0=1 R10=fp0`.
fn state(line: &str) -> bool {
    let rest = line.split_once(':').filter(|(n, _)| n.parse::<u32>().is_ok());
    let rest = rest.map_or("", |(_, rest)| rest.trim_start());
    rest.starts_with('R') || rest.starts_with("frame") || rest.starts_with("safe")
}

/// The first thing that libbpf said of its own which is more than that something failed.
fn told(log: &str) -> Option<String> {
    const NOTHING: [&str; 5] =
        ["failed to load object", "Error loading .BTF", "BTF loading error", "BTF is mandatory", "-- BEGIN"];
    let own = log.lines().filter_map(|l| l.trim().strip_prefix("libbpf: "));
    own.filter(|l| !NOTHING.iter().any(|n| l.starts_with(n))).map(str::to_owned).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_told_with_its_instruction_and_its_source() {
        let log = "libbpf: prog 'rx': BPF program load failed: Permission denied\nlibbpf: prog 'rx': -- BEGIN PROG \
                   LOAD LOG --\n0: R1=ctx() R10=fp0\n; return m->a; @ x.c:3\n5: (61) r0 = *(u32 *)(r1 +0) ; R0_w=1\n\
                   invalid access to packet, off=0 size=4, R1(id=0,off=0,r=0)\nR1 offset is outside of the packet\n\
                   processed 6 insns (limit 1000000) max_states_per_insn 0\n-- END PROG LOAD LOG --\nlibbpf: prog \
                   'rx': failed to load: -EACCES\nlibbpf: failed to load object 'xhint'\n";
        assert_eq!(program(log), Some("rx"));
        assert_eq!(
            reason(log).unwrap(),
            "invalid access to packet, off=0 size=4, R1(id=0,off=0,r=0); R1 offset is outside of the packet (at \
             instruction 5: (61) r0 = *(u32 *)(r1 +0), of `return m->a;`, x.c:3)"
        );
        let null = log
            .replace("invalid access to packet, off=0 size=4, R1(id=0,off=0,r=0)", "R2 pointer comparison prohibited");
        assert!(reason(&null).unwrap().ends_with("; that takes CAP_PERFMON"));
        // Without the verifier's statistics and without line info.
        let bare = "libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\n1: (95) exit\nR0 !read_ok\n-- END PROG LOAD LOG --\n";
        assert_eq!(reason(bare).unwrap(), "R0 !read_ok (at instruction 1: (95) exit)");
    }

    #[test]
    fn what_is_no_verdict_is_told_too() {
        let map = "libbpf: map 'm': failed to create: -EINVAL\nlibbpf: failed to load object 'xhint'\n";
        assert_eq!(reason(map).unwrap(), "map 'm': failed to create: -EINVAL");
        let types = "libbpf: BTF loading error: -EINVAL\nlibbpf: -- BEGIN BTF LOAD LOG ---\nmagic: 0xeb9f\n[3] STRUCT a<b> \
                     size=4 vlen=1 Invalid name\n\n-- END BTF LOAD LOG --\nlibbpf: BTF is mandatory, can't proceed.\n";
        assert_eq!(reason(types).unwrap(), "its BTF: [3] STRUCT a<b> size=4 vlen=1 Invalid name");
        let both = map.replacen("libbpf: failed", &format!("{types}libbpf: failed"), 1);
        assert_eq!(
            reason(&both).unwrap(),
            "map 'm': failed to create: -EINVAL; and the kernel refuses its BTF: [3] STRUCT a<b> size=4 vlen=1 Invalid name"
        );
        assert_eq!(reason("libbpf: extern 'f': not found\n").unwrap(), "extern 'f': not found");
        assert_eq!((program(""), reason("")), (None, None));
    }
}
