//! Numbers of what code names, each kind a type of its own.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub usize);

        impl From<usize> for $name {
            fn from(number: usize) -> $name {
                $name(number)
            }
        }

        impl From<$name> for usize {
            fn from(id: $name) -> usize {
                id.0
            }
        }
    };
}

id! {
    /// A function of an object.
    FunctionId
}

id! {
    /// A symbol of an object.
    SymbolId
}
