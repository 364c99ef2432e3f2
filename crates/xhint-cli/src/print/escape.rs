//! What of a text a terminal shows, and what stands for the rest.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

/// `text` as it can be shown: control characters, and others that show nothing or turn the order of what does (by
/// Unicode's general categories), as Rust writes them: `\n`, `\x1b`, `\u{202e}`. All else is as it was.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    onto(&mut out, text);
    Cow::Owned(out)
}

/// Appends `text` to `out` as it can be shown.
pub fn onto(out: &mut String, text: &str) {
    if is_plain(text) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            _ if shows(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // A string takes all that is written to it.
            c if c.is_ascii() => _ = write!(out, "\\x{:02x}", u32::from(c)),
            c => out.extend(c.escape_unicode()),
        }
    }
}

/// Columns that it takes on a terminal, once escaped.
pub fn width(text: &str) -> usize {
    escaped(text).width()
}

/// Whether the character is shown as itself.
pub fn shows(c: char) -> bool {
    match c {
        ' '..='~' => true,
        c if c.is_ascii() => false,
        // The library knows what can be printed. Alone it would escape an accent too, for want of a letter to put it on.
        c => ['x', c].iter().collect::<String>().escape_debug().nth(1) == Some(c),
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_shown_passes() {
        for plain in ["nic_meta___v2", "a \\n 'b' \"c\"", "prog–é網卡.o", "e\u{301}"] {
            assert_eq!(escaped(plain), plain);
        }
        for (text, want) in [
            ("a\nforged", "a\\nforged"),
            ("\x1b[2J\x07\x7f\r\t", "\\x1b[2J\\x07\\x7f\\r\\t"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{202e}dlrow\u{2066}\u{200b}\u{2028}", "\\u{202e}dlrow\\u{2066}\\u{200b}\\u{2028}"),
        ] {
            assert_eq!(escaped(text), want);
        }
    }

    #[test]
    fn no_character_at_all_controls_a_terminal() {
        // Controls, formats (bidirectional ones among them), separators of lines: Unicode's Cc, Cf, Zl, Zp.
        let harm = (0..=0x1f).chain(0x7f..=0x9f).chain([0x061c, 0x180e]).chain(0x200b..=0x200f).chain(0x2028..=0x202e);
        let harm = harm.chain(0x2060..=0x206f).chain([0xfeff]).chain(0xfff9..=0xfffb).chain(0xe0001..=0xe007f);
        for c in harm.filter_map(char::from_u32) {
            assert!(!shows(c), "{:x}", u32::from(c));
            let text = escaped(&c.to_string()).into_owned();
            assert!(text.chars().all(|c| matches!(c, ' '..='~')), "{text:?}");
        }
    }
}
