//! JSON that a terminal can be shown: the same values, other letters.

use std::io::{self, Write};

use super::escape::shows;

/// Writes JSON with `\u…` for what [`shows`] does not let pass; JSON itself escapes no more than the lowest controls. Such
/// characters stand in strings only, and the newlines between values are our own.
pub struct Shown<W: Write>(pub W);

impl<W: Write> Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().all(|b| *b < 0x7f) {
            return self.0.write(bytes);
        }
        // Strings come in whole characters.
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        for c in text.chars() {
            if c == '\n' || shows(c) {
                self.0.write_all(c.encode_utf8(&mut [0; 4]).as_bytes())?;
            } else {
                c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(self.0, "\\u{unit:04x}"))?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_stay() {
        let value = serde_json::json!({"a\u{9b}": ["\x1b", "\u{7f}\u{202e}é網", "\u{e0001}", 7]});
        for pretty in [false, true] {
            let mut out = Shown(Vec::new());
            let done = if pretty {
                serde_json::to_writer_pretty(&mut out, &value)
            } else {
                serde_json::to_writer(&mut out, &value)
            };
            done.unwrap();
            let text = String::from_utf8(out.0).unwrap();
            assert!(text.chars().all(|c| shows(c) || c == '\n'), "{text:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
    }
}
