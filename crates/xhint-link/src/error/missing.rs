//! A read of what is not there, in the terms of the source.

use xhint_relo::{Miss, RelocKind};

/// A read, without a guard, of what is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Number of the relocation.
    pub number: usize,
    /// `file:line:column`.
    pub place: String,
    /// The text of the line.
    pub text: String,
    /// The access in C words, `nic_meta.seq`.
    pub access: String,
    /// Why it leads nowhere, and what there is instead.
    pub why: String,
    /// The same as data, if the access leads nowhere.
    pub miss: Option<Miss>,
    /// What is asked of it.
    pub kind: Option<RelocKind>,
    /// Whether it is there, in a form that this access cannot read, so that no guard keeps the program from it.
    pub exists: bool,
    /// The layouts that it was linked for, with their files.
    pub layouts: Vec<String>,
    /// If it is reached only as far as is known: the call that may write what it is guarded by.
    pub lost: Option<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Missing { place, access, why, layouts, lost, .. } = self;
        write!(f, "{place}: {access}: {why}")?;
        if !layouts.is_empty() {
            write!(f, " (layout {})", layouts.join(", "))?;
        }
        if let Some(call) = lost {
            write!(f, "; whether this is ever reached is not known, since {call}, may write what it is guarded by")?;
        }
        Ok(())
    }
}
