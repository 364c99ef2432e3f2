//! The processes this one comes from.

use std::fs;

/// More than any tree of processes is deep.
const DEPTH: usize = 64;

/// This process, and those it comes from, the nearest first, up to the first of all that can be seen.
pub fn ancestors() -> Vec<u32> {
    let mut all = vec![std::process::id()];
    while let Some(parent) = all.last().and_then(|pid| parent(*pid)).filter(|_| all.len() < DEPTH) {
        all.push(parent);
    }
    all
}

/// Of `pid (name) state ppid …` (proc(5)), where the name may have anything in it.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    (parent != 0).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_this_one_up() {
        let all = ancestors();
        assert_eq!(all.first().copied(), Some(std::process::id()));
        assert_eq!(all.get(1).copied(), Some(std::os::unix::process::parent_id()));
        assert_eq!(parent(all.last().copied().unwrap_or(1)), None, "{all:?}");
    }
}
