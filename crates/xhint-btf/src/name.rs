//! Essential names.

/// The name without its flavour: `nic_meta` of `nic_meta___v2`.
///
/// libbpf's rule (`bpf_core_essential_name_len`): cut at the last `___` whose neighbours on both sides are not
/// underscores, so neither `___x` nor `x____y` has a flavour.
///
/// ```
/// use xhint_btf::essential;
/// assert_eq!(essential("nic_meta___v2"), "nic_meta");
/// assert_eq!(essential("a___b___c"), "a___b");
/// assert_eq!(essential("a____b"), "a____b");
/// assert_eq!(essential("___b"), "___b");
/// assert_eq!(essential("a___"), "a___");
/// ```
pub fn essential(name: &str) -> &str {
    let bytes = name.as_bytes();
    // Three underscores in a row hold every third byte counted from anywhere, and most names have none there.
    let [_, inner @ .., _] = bytes else { return name };
    for at in (1..=inner.len()).rev().step_by(3) {
        if bytes.get(at) == Some(&b'_')
            && let Some(end) = flavour_near(bytes, at)
            && let Some(essential) = name.get(..end)
        {
            return essential;
        }
    }
    name
}

/// Where the essential name ends, if one of the three underscores that start a flavour is at `at`.
fn flavour_near(bytes: &[u8], at: usize) -> Option<usize> {
    let starts = |end: &usize| {
        let around = end.checked_sub(1).and_then(|before| bytes.get(before..)?.first_chunk());
        matches!(around, Some([a, b'_', b'_', b'_', b]) if *a != b'_' && *b != b'_')
    };
    let ends = [Some(at), at.checked_sub(1), at.checked_sub(2)];
    ends.into_iter().flatten().find(starts)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::essential;

    #[test]
    fn only_three_underscores_between_others_cut() {
        for (name, want) in [("", ""), ("a", "a"), ("a__b", "a__b"), ("x___y", "x"), ("x_____y", "x_____y")] {
            assert_eq!(essential(name), want);
        }
        // The last one that counts, though a later one does not.
        assert_eq!(essential("a___b____c"), "a");
    }

    #[test]
    fn every_short_name_is_cut_as_the_rule_says() {
        // All names of up to 12 letters, of which only the underscores matter.
        for len in 0..=12 {
            for mask in 0..1u32 << len {
                let name: String = (0..len).map(|n| if mask >> n & 1 == 1 { '_' } else { 'x' }).collect();
                let b = name.as_bytes();
                let cuts = |i: &usize| b[*i] != b'_' && &b[i + 1..i + 4] == b"___" && b[i + 4] != b'_';
                let end = (0..(len as usize).saturating_sub(4)).rev().find(cuts).map_or(name.len(), |i| i + 1);
                assert_eq!(essential(&name), &name[..end], "{name}");
            }
        }
    }
}
