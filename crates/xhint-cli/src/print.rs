//! All that a verb says goes through here: lines on standard output, JSON, and the one line of an error.
//!
//! Names come from BTF, ELF, file systems and the kernel, and nobody vouches for them. So a verb hands over lines, and
//! whatever in them could make a terminal do anything but show it is escaped on the way out ([`escape`]), a newline
//! too: one line stays one line. What may pass are our own styles, which are told from a name's bytes by where they
//! stand in memory. `clippy.toml` keeps every other way out shut.
#![allow(clippy::disallowed_methods)]

pub mod escape;
pub mod fields;
mod json;
mod standard;
mod style;

use std::fmt::{self, Display, Write as _};
use std::io::{self, BufWriter, IsTerminal, StderrLock, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use standard::Standard;

pub use style::{BOLD, DIM, GREEN, PLAIN, RED, Style, YELLOW};

/// Writes a line, as `writeln!` would: `line!(out, "{name}: {size} bytes")?`.
macro_rules! line {
    ($out:expr) => { $out.line(format_args!("")) };
    ($out:expr, $($text:tt)*) => { $out.line(format_args!($($text)*)) };
}
pub(crate) use line;

/// Lines of text on their way out.
pub struct Out<W: Write> {
    to: W,
    /// The line that is being written.
    line: String,
    styled: bool,
}

/// Standard output, a buffer in front.
pub type Stdout = Out<BufWriter<Standard>>;

/// Standard output, with styles where it is a terminal. Flush it at the end, so that a full disk shows.
pub fn stdout() -> Stdout {
    let out = io::stdout();
    let styled = styled(&out);
    Out { to: BufWriter::with_capacity(1 << 16, Standard::lock()), line: String::new(), styled }
}

fn stderr() -> Out<StderrLock<'static>> {
    let err = io::stderr();
    let styled = styled(&err);
    Out { to: err.lock(), line: String::new(), styled }
}

/// Whether the user and the terminal want styles: `NO_COLOR`, `CLICOLOR_FORCE` and the like count.
fn styled(stream: &impl anstream::stream::RawStream) -> bool {
    anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never
}

impl<W: Write> Out<W> {
    /// One line.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn line(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.put("", text, "\n")
    }

    /// One line with a tab in front.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn item(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.put("\t", text, "\n")
    }

    fn put(&mut self, before: &'static str, text: fmt::Arguments<'_>, after: &'static str) -> io::Result<()> {
        self.line.clear();
        self.line.push_str(before);
        Shown { to: &mut self.line, styled: self.styled }.write_fmt(text).map_err(io::Error::other)?;
        self.line.push_str(after);
        self.to.write_all(self.line.as_bytes())
    }

    /// Sends what is still in the buffer.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Stdout {
    /// Starts anew at the top of the screen, where there is one.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn clear(&mut self) -> io::Result<()> {
        if io::stdout().is_terminal() { self.to.write_all(b"\x1b[H\x1b[J") } else { Ok(()) }
    }
}

/// Lets text pass as far as it can only be seen, and our own styles.
struct Shown<'a> {
    to: &'a mut String,
    styled: bool,
}

impl fmt::Write for Shown<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if style::is_code(text) {
            if self.styled {
                self.to.push_str(text);
            }
        } else {
            escape::onto(self.to, text);
        }
        Ok(())
    }
}

/// `text`, and blanks up to so many columns of a terminal, however wide its characters are and whatever becomes of them.
pub fn column(text: &str, columns: usize) -> impl Display {
    Column { text, columns }
}

struct Column<'a> {
    text: &'a str,
    columns: usize,
}

impl Display for Column<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)?;
        (escape::width(self.text)..self.columns).try_for_each(|_| f.write_str(" "))
    }
}

/// How many columns these names need: the widest's, but at least `least`, and at most 48: a name that is longer than that
/// stands out by itself and does not push the others away.
pub fn columns<'a>(names: impl IntoIterator<Item = &'a str>, least: usize) -> usize {
    names.into_iter().map(escape::width).filter(|w| *w <= 48).fold(least, usize::max)
}

/// Prints `value` as indented JSON and a newline.
///
/// # Errors
/// What writing to standard output gives.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    put_json(|out| serde_json::to_writer_pretty(out, value))
}

/// Prints `value` as JSON on one line.
///
/// # Errors
/// What writing to standard output gives.
pub fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    put_json(|out| serde_json::to_writer(out, value))
}

fn put_json(write: impl FnOnce(&mut json::Shown<BufWriter<Standard>>) -> serde_json::Result<()>) -> anyhow::Result<()> {
    let mut out = json::Shown(BufWriter::with_capacity(1 << 16, Standard::lock()));
    write(&mut out).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Prints a line.
///
/// # Errors
/// What writing to standard output gives.
pub fn text(text: &str) -> anyhow::Result<()> {
    let mut out = stdout();
    line!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Hands a file over, as it is, to whatever program standard output leads to.
///
/// # Errors
/// If that is a terminal; what writing gives.
pub fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = Standard::lock();
    if out.is_terminal() {
        anyhow::bail!("standard output is a terminal, which cannot show what would be written; name a file with -o");
    }
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// What came of telling that something was done: whoever does not come to read it must know at least that.
///
/// # Errors
/// Those of `told`, with what was `done`.
pub fn report<T>(done: &str, told: anyhow::Result<T>) -> anyhow::Result<T> {
    told.map_err(|error| match error.downcast_ref::<io::Error>() {
        Some(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            error.context(format!("{done}, but the report could not be written"))
        }
        _ => error,
    })
}

/// Whether an error came of a pipe that nobody reads.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|e| e.downcast_ref::<io::Error>());
    causes.any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// That somebody still reads standard output, if that is a pipe: whoever has nothing to say for long would not find out.
///
/// # Errors
/// What writing to it would give.
pub fn is_read() -> io::Result<()> {
    let out = io::stdout();
    let mut asked = [PollFd::new(out.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO)?;
    let broken = asked.iter().any(|out| out.revents().is_some_and(|events| events.contains(PollFlags::POLLERR)));
    if broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
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

fn say(style: Style, word: &str, text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = line!(stderr(), "{style}{word}{style:#}: {text}");
}

/// A line of progress, for a person who watches.
pub fn progress(text: &str) {
    let mut err = stderr();
    if io::stderr().is_terminal() {
        let _ = line!(err, "{DIM}{text}{DIM:#}");
    }
}

/// What somebody else has to say, on standard error, line by line: a verifier's log. It is set in, so that no name in it
/// begins a line that passes for ours.
///
/// # Errors
/// What writing to standard error gives.
pub fn log(text: &str) -> io::Result<()> {
    let mut err = stderr();
    // Tabs are how the kernel indents, and `lines` takes the newlines away.
    text.lines().try_for_each(|one| line!(err, "  {}", one.replace('\t', "    ")))
}

/// Asks on standard error; the answer is typed behind the question.
///
/// # Errors
/// What writing to standard error gives.
pub fn ask(question: &str) -> io::Result<()> {
    stderr().put("", format_args!("{question} "), "")
}

/// What is wrong with the arguments, and the exit code for it. Arguments are names as well: those of files, say.
pub fn usage(mut error: clap::Error) -> ! {
    use clap::error::ContextValue::{String as One, Strings as Many};
    let shown = |text: &String| escape::escaped(text).into_owned();
    let context: Vec<_> = error.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in context {
        let value = match value {
            One(text) => One(shown(&text)),
            Many(all) => Many(all.iter().map(shown).collect()),
            other => other,
        };
        error.insert(kind, value);
    }
    // By itself it would end well where nothing could be written.
    let printed = if error.use_stderr() { error.print() } else { standard::open().and_then(|()| error.print()) };
    match printed {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            self::error(&anyhow::Error::from(cause).context("cannot write to standard output"));
            std::process::exit(1)
        }
        _ => std::process::exit(error.exit_code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: fmt::Arguments<'_>, styled: bool) -> String {
        let mut out = Out { to: Vec::new(), line: String::new(), styled };
        out.line(text).unwrap();
        String::from_utf8(out.to).unwrap()
    }

    #[test]
    fn our_styles_pass_and_a_names_do_not() {
        let name = "\x1b[1mbold\x1b[0m\nforged";
        let told = shown(format_args!("{BOLD}{name}{BOLD:#}"), true);
        assert_eq!(told, "\x1b[1m\\x1b[1mbold\\x1b[0m\\nforged\x1b[0m\n");
        assert_eq!(shown(format_args!("{RED}x{RED:#}"), false), "x\n");
    }

    #[test]
    fn columns_are_those_of_the_terminal() {
        for (name, same) in [("abcd", "ab"), ("網卡", "ab"), ("\x1b", "ab"), ("e\u{301}", "ab")] {
            let line = |name: &str| shown(format_args!("{}|", column(name, 8)), false);
            let before = |line: &str| unicode_width::UnicodeWidthStr::width(line.split('|').next().unwrap());
            assert_eq!(before(&line(name)), before(&line(same)), "{}", line(name));
        }
        assert_eq!(columns(["網卡", "abc"], 2), 4);
    }
}
