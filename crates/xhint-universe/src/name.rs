//! Essential names.

/// The name without its flavour: `nic_meta` of `nic_meta___v2`.
///
/// libbpf's rule (`bpf_core_essential_name_len`): cut at the last `___` whose neighbours on both sides are not
/// underscores, so neither `___x` nor `x____y` has a flavour.
///
/// ```
/// use xhint_universe::name::essential;
/// assert_eq!(essential("nic_meta___v2"), "nic_meta");
/// assert_eq!(essential("a___b___c"), "a___b");
/// assert_eq!(essential("a____b"), "a____b");
/// assert_eq!(essential("___b"), "___b");
/// assert_eq!(essential("a___"), "a___");
/// ```
pub fn essential(name: &str) -> &str {
    let bytes = name.as_bytes();
    let separator = |w: &[u8]| matches!(w, [a, b'_', b'_', b'_', b] if *a != b'_' && *b != b'_');
    match bytes.windows(5).rposition(separator) {
        Some(at) => name.get(..at.saturating_add(1)).unwrap_or(name),
        None => name,
    }
}

#[cfg(test)]
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
}
