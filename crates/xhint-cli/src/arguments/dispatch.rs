//! `--dispatch`: how packets of several layouts come to their copy of the program.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Dispatch {
    /// Whichever suits the program and its layouts; xhint says what it chose, and why
    Auto,
    /// No dispatch: the program itself, linked for one layout
    None,
    /// A copy of the program for each layout; code in front reads the packet's layout id and jumps to its copy
    Static,
    /// As static, but with tail calls, so that layouts can be added while the program runs
    Tail,
    /// One copy for all layouts, which looks up where the fields of each packet's layout lie; needs CAP_PERFMON
    Table,
}

impl From<Dispatch> for xhint::Dispatch {
    fn from(dispatch: Dispatch) -> Self {
        match dispatch {
            Dispatch::Auto => xhint::Dispatch::Auto,
            Dispatch::None => xhint::Dispatch::None,
            Dispatch::Static => xhint::Dispatch::Static,
            Dispatch::Tail => xhint::Dispatch::Tail,
            Dispatch::Table => xhint::Dispatch::Table,
        }
    }
}
