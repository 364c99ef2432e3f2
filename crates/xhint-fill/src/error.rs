//! Why nothing can be filled in.

use crate::Provider;

/// A fault of what is asked for. Where a field has no provider that is no fault: it is absent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A provider was chosen for a field that the program does not ask for.
    #[error("no field '{field}' is asked for; the program asks for {}", listed(.have))]
    NoField {
        /// The name that was given.
        field: String,
        /// What the program asks for.
        have: Vec<String>,
    },
    /// A provider was chosen that does not have the value.
    #[error("field '{field}' cannot come from '{provider}': {why}")]
    NotThere {
        /// The field.
        field: String,
        /// The provider.
        provider: Provider,
        /// Why not.
        why: String,
    },
    /// A struct of the program that is no metadata.
    #[error("struct {name}")]
    Struct {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: xhint_layout::WalkFault,
    },
    /// The layout cannot be written.
    #[error("cannot write the filler's layout")]
    Layout(#[from] xhint_btf::Error),
    /// Paths that lead through too many pointers.
    #[error(
        "the paths into the driver's structures lead through more than {most} pointers; ask for fewer fields from 'driver'"
    )]
    ManyPointers {
        /// For so many there is room.
        most: usize,
    },
    /// A value that no path can lead to.
    #[error("no path into the driver's structures gives {hint}")]
    NotDriven {
        /// What was asked for.
        hint: xhint_layout::Hint,
    },
    /// The filler's own code lacks what it calls, which is a fault of this library.
    #[error("the filler does not name {name}")]
    NoCall {
        /// What it is to call.
        name: &'static str,
    },
    /// The filler cannot be put beside the program.
    #[error("cannot put the filler in front of the program")]
    Join(#[from] xhint_object::Error),
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
