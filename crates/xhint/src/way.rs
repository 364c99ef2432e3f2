//! How packets of several layouts come to their copy, as said on the command line.

use clap::ValueEnum;
use xhint_link::Dispatch;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Way {
    /// None while one layout answers to each name, else what fits
    Auto,
    /// One layout alone
    None,
    /// An entry that tests length and id and jumps to the copy for that layout
    Static,
    /// An entry that tail-calls the copy; layouts can be added while it runs
    Tail,
    /// One copy for all layouts that are alike, which looks up where fields lie; takes CAP_PERFMON
    Table,
}

impl From<Way> for Dispatch {
    fn from(way: Way) -> Dispatch {
        match way {
            Way::Auto => Dispatch::Auto,
            Way::None => Dispatch::None,
            Way::Static => Dispatch::Static,
            Way::Tail => Dispatch::Tail,
            Way::Table => Dispatch::Table,
        }
    }
}
