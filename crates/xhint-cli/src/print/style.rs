//! How text is set off.

use std::fmt::{self, Display};

/// A way to set text off: `{BOLD}name{BOLD:#}`.
#[derive(Debug, Clone, Copy)]
pub struct Style(usize);

/// For headings.
pub const BOLD: Style = Style(1);
/// What is at fault.
pub const RED: Style = Style(2);
/// What will do.
pub const GREEN: Style = Style(3);
/// What is worth a look.
pub const YELLOW: Style = Style(4);
/// What matters less.
pub const DIM: Style = Style(5);
/// As it is.
pub const PLAIN: Style = Style(6);

/// The end of all styles, and each style's start (ECMA-48, SGR).
static CODES: [&str; 6] = ["\x1b[0m", "\x1b[1m", "\x1b[1;31m", "\x1b[32m", "\x1b[33m", "\x1b[2m"];

impl Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = if f.alternate() && self.0 < CODES.len() { 0 } else { self.0 };
        CODES.get(code).map_or(Ok(()), |code| f.write_str(code))
    }
}

/// Whether `text` is one of our codes: this very one in memory, for anybody can write the same bytes into a name.
pub fn is_code(text: &str) -> bool {
    CODES.iter().any(|code| std::ptr::eq(*code, text))
}
