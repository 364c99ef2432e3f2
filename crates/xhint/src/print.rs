//! What every verb prints with: buffered standard output, JSON, and the one line of an error.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

/// Bold, for headings; `anstream` drops it where the output is no terminal or `NO_COLOR` is set.
pub const BOLD: anstyle::Style = anstyle::Style::new().bold();
/// What is at fault.
pub const RED: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
/// What will do.
pub const GREEN: anstyle::Style = anstyle::AnsiColor::Green.on_default();
/// What is worth a look.
pub const YELLOW: anstyle::Style = anstyle::AnsiColor::Yellow.on_default();
/// What matters less.
pub const DIM: anstyle::Style = anstyle::Style::new().dimmed();

/// Standard output, with styles where it is a terminal. Flush it at the end, so that a full disk shows.
pub fn stdout() -> impl Write {
    BufWriter::with_capacity(1 << 16, anstream::stdout().lock())
}

/// Prints `value` as indented JSON and a newline.
///
/// # Errors
/// What writing to standard output gives.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Prints a line.
///
/// # Errors
/// What writing to standard output gives.
pub fn line(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// One line on standard error: what, where, what to do.
pub fn error(error: &anyhow::Error) {
    say(RED, "error", &format!("{error:#}"));
}

/// One line on standard error about something that does not stop the work.
pub fn warning(text: &str) {
    say(YELLOW, "warning", text);
}

/// One line on standard error that tells what was chosen.
pub fn note(text: &str) {
    say(DIM, "note", text);
}

fn say(style: anstyle::Style, word: &str, text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(anstream::stderr(), "{style}{word}{style:#}: {text}");
}
