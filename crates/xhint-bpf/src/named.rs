//! What an instruction names.

use crate::FunctionId;

/// What an instruction names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Named {
    /// Nothing.
    #[default]
    Nothing,
    /// A function of the object.
    Function(FunctionId),
    /// What the loader finds in the kernel.
    Kernel,
    /// A map, a variable, or what makes no sense.
    Other,
}
