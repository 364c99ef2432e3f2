//! Appending to a BTF, and flat merges. (In the making.)
