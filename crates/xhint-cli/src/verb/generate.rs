//! `xhint generate`: manual pages and completions, from the same definitions that the arguments are read by.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::files;

/// Write manual pages or a shell's completions, as `make install` and packages need them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: xhint generate man /usr/local/share/man/man1\n         xhint generate bash /usr/local/share/bash-completion/completions"
)]
pub struct Args {
    /// What to write
    what: What,
    /// The directory to write it to
    dir: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// A page for each verb
    Man,
    /// The file xhint
    Bash,
    /// The file _xhint
    Zsh,
    /// The file xhint.fish
    Fish,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        for (name, bytes) in self.what.files(crate::Cli::command())? {
            files::write(&self.dir.join(name), &bytes)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl What {
    /// Names and contents.
    fn files(self, mut cli: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
        let (shell, file) = match self {
            What::Man => return pages(cli),
            What::Bash => (Shell::Bash, "xhint"),
            What::Zsh => (Shell::Zsh, "_xhint"),
            What::Fish => (Shell::Fish, "xhint.fish"),
        };
        let mut bytes = Vec::new();
        clap_complete::generate(shell, &mut cli, "xhint", &mut bytes);
        Ok(vec![(file.to_owned(), bytes)])
    }
}

/// A manual page for `cli` and for each verb of it that is shown.
fn pages(cli: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut cli = cli.disable_help_subcommand(true);
    // Tells each verb its whole name.
    cli.build();
    let mut pages = Vec::new();
    let mut verbs = vec![cli];
    while let Some(verb) = verbs.pop() {
        verbs.extend(verb.get_subcommands().filter(|v| !v.is_hide_set()).cloned());
        pages.push(page(verb)?);
    }
    Ok(pages)
}

fn page(verb: Command) -> io::Result<(String, Vec<u8>)> {
    let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has = |n: usize| n > 0;
    let (options, verbs) = (has(verb.get_arguments().count()), has(verb.get_subcommands().count()));
    let man = Man::new(verb);
    let file = man.get_filename();
    let name = file.trim_end_matches(".1");
    let mut out = Vec::new();
    // `Man` leaves an empty date out, and what comes behind it moves up. Pages have none, so that the same source always
    // makes the same.
    writeln!(out, ".TH {} 1 \"\" \"xhint {}\" \"xhint\"", name.to_uppercase(), env!("CARGO_PKG_VERSION"))?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if options {
        man.render_options_section(&mut out)?;
    }
    if verbs {
        man.render_subcommands_section(&mut out)?;
    }
    ending(&after, name == "xhint").to_writer(&mut out)?;
    Ok((file, out))
}

/// What stands behind the arguments in `--help`: the examples, and perhaps what else is to say of the exit code.
fn ending(after: &str, whole: bool) -> Roff {
    let (examples, more) = after.split_once("\n\n").unwrap_or((after, ""));
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]).control("nf", []);
    for example in examples.lines() {
        roff.text([roman(example.trim_start_matches("Example:").trim())]);
    }
    roff.control("fi", []).control("SH", ["EXIT STATUS"]);
    roff.text([roman("0: done. 1: the input or the system is at fault; standard error says how. 2: wrong usage.")]);
    if !more.is_empty() {
        roff.text([roman(more)]);
    }
    let see = if whole { "bpftool(8), ip-link(8), ethtool(8)" } else { "xhint(1)" };
    roff.control("SH", ["SEE ALSO"]).text([roman(see)]);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each verb that is shown: the name of its page, and how its help begins its examples.
    fn shown(verb: &Command, name: &str, all: &mut Vec<(String, String)>) {
        all.push((format!("{}.1", name.replace(' ', "-")), verb.get_after_help().unwrap().to_string()));
        for own in verb.get_subcommands().filter(|v| !v.is_hide_set()) {
            shown(own, &format!("{name} {}", own.get_name()), all);
        }
    }

    #[test]
    fn each_verb_has_a_page_with_its_examples() {
        let pages = pages(crate::Cli::command()).unwrap();
        let mut verbs = Vec::new();
        shown(&crate::Cli::command(), "xhint", &mut verbs);
        assert_eq!(pages.len(), verbs.len());
        assert!(verbs.iter().any(|v| v.0 == "xhint-btf-dump.1"), "{verbs:?}");
        for (file, examples) in verbs {
            let (_, page) = pages.iter().find(|p| p.0 == file).unwrap_or_else(|| panic!("no {file}"));
            // roff escapes hyphens.
            let page = String::from_utf8(page.clone()).unwrap().replace("\\-", "-");
            let example = examples.lines().next().unwrap().trim_start_matches("Example: ");
            assert!(page.contains(&format!("\n{example}\n")), "{file} lacks '{example}':\n{page}");
            let title = file.trim_end_matches(".1").to_uppercase();
            assert!(page.starts_with(&format!(".TH {title} 1 \"\" \"xhint ")), "{page}");
            assert_eq!(page.contains("bpftool(8)"), file == "xhint.1", "{page}");
        }
    }

    #[test]
    fn completions_know_each_verb_and_its_options() {
        for what in [What::Bash, What::Zsh, What::Fish] {
            let [(_, bytes)] = what.files(crate::Cli::command()).unwrap().try_into().unwrap();
            let text = String::from_utf8(bytes).unwrap();
            for word in ["stitch", "layouts", "follow", "fallback"] {
                assert!(text.contains(word), "{what:?} lacks {word}");
            }
        }
    }
}
