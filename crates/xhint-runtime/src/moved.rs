//! What is another between two layouts, in words.

use std::collections::BTreeMap;

use xhint_btf::Btf;
use xhint_universe::content;

/// A field's place: bits from the first byte of the metadata, bits wide, and what it is.
type Place<'a> = (u64, u64, &'a str);

/// What of the layout `old` moved, changed, went or came in `new`: a phrase each, in the order of the old layout's
/// fields. A layout is its BTF and the struct's type id.
pub fn moved(old: (&Btf, u32), new: (&Btf, u32)) -> Vec<String> {
    let text = |(btf, id): (&Btf, u32)| content(btf, "", id).unwrap_or_default();
    let (old, new) = (text(old), text(new));
    let (before, after) = (fields(&old), fields(&new));
    let by_path: BTreeMap<&str, Place<'_>> = after.iter().copied().collect();
    let mut out = Vec::new();
    for (path, was) in &before {
        match by_path.get(path) {
            Some(is) if is == was => {}
            Some(is) => out.push(format!("{path} {}", change(*was, *is))),
            None => out.push(format!("{path} is gone from {}", place(*was))),
        }
    }
    for (path, is) in &after {
        if before.iter().all(|(p, _)| p != path) {
            out.push(format!("{path} is new at {}", place(*is)));
        }
    }
    out
}

/// Paths and places, from lines as docs/layout-abi.md has them: `path offset bits kind`.
fn fields(text: &str) -> Vec<(&str, Place<'_>)> {
    let field = |line: &'_ str| -> Option<(usize, u64, u64, usize)> {
        let mut words = line.splitn(4, ' ');
        let path = words.next()?.len();
        let (offset, bits) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((path, offset, bits, words.next()?.len()))
    };
    let lines = text.lines().skip(1).filter(|l| !l.ends_with(" array"));
    lines
        .filter_map(|line| {
            let (path, offset, bits, kind) = field(line)?;
            Some((line.get(..path)?, (offset, bits, line.get(line.len().checked_sub(kind)?..)?)))
        })
        .collect()
}

fn change(was: Place<'_>, is: Place<'_>) -> String {
    let mut parts = Vec::new();
    if was.0 != is.0 {
        parts.push(format!("moved from {} to {}", place(was), place(is)));
    }
    if was.1 != is.1 {
        parts.push(format!("had {} bits and has {}", was.1, is.1));
    }
    if was.2 != is.2 {
        parts.push(format!("was {} and is {}", was.2, is.2));
    }
    parts.join(", ")
}

fn place((offset, bits, _): Place<'_>) -> String {
    if offset.is_multiple_of(8) && bits.is_multiple_of(8) {
        format!("byte {}", offset / 8)
    } else {
        format!("bit {offset}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_apart() {
        let text = "layout m 16\na 0 32 uint\nb.c 35 3 uint be\nlist[2] 64 8 array\nlist[2] 64 8 uint\n";
        assert_eq!(fields(text), [("a", (0, 32, "uint")), ("b.c", (35, 3, "uint be")), ("list[2]", (64, 8, "uint"))]);
        assert_eq!(
            change((0, 32, "uint"), (96, 16, "uint be")),
            "moved from byte 0 to byte 12, had 32 bits and has 16, was uint and is uint be"
        );
        assert_eq!(place((35, 3, "uint")), "bit 35");
    }
}
