//! The command line: arguments and printing only.

#[allow(dead_code)] // verbs that use the rest are on their way
mod files;
mod layouts;
#[allow(dead_code)] // verbs that use the rest are on their way
mod print;
mod sources;
mod verb;
mod way;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// One XDP program, any NIC metadata: describe, link, attach, read.
#[derive(Debug, Parser)]
#[command(name = "xhint", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// One variant a verb; its arguments and work are in the file of that name under `verb/`.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Link a compiled program for NICs' metadata layouts, into an object that any loader loads.
    #[command(after_help = "Example: xhint link prog.o --nic mynic.o -o out.o")]
    Link(verb::link::Args),
    /// Explain each CO-RE relocation of a program, for each layout.
    #[command(after_help = "Example: xhint explain prog.o --nic fw1.btf --nic fw2.btf")]
    Explain(verb::explain::Args),
    /// Look into and write BTF.
    #[command(subcommand)]
    Btf(verb::btf::Verb),
    /// Look at the metadata layouts a NIC describes.
    #[command(subcommand)]
    Layout(verb::layout::Verb),
    Attach(verb::attach::Args),
    Status(verb::status::Args),
    Detach(verb::detach::Args),
    /// Add and remove layouts while a program runs.
    #[command(subcommand)]
    Layouts(verb::layouts::Verb),
    Demo(verb::demo::Args),
    /// A NIC in software, to try things on.
    #[command(subcommand)]
    Nic(verb::nic::Verb),
}

impl Verb {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Link(args) => args.run(),
            Verb::Explain(args) => args.run(),
            Verb::Btf(verb) => verb.run(),
            Verb::Layout(verb) => verb.run(),
            Verb::Attach(args) => args.run(),
            Verb::Status(args) => args.run(),
            Verb::Detach(args) => args.run(),
            Verb::Layouts(verb) => verb.run(),
            Verb::Demo(args) => args.run(),
            Verb::Nic(verb) => verb.run(),
        }
    }
}

fn main() -> ExitCode {
    match Cli::parse().verb.run() {
        Ok(code) => code,
        // Whoever reads our output has had enough: nothing went wrong.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|e| e.downcast_ref::<io::Error>());
    causes.any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_sound() {
        super::Cli::command().debug_assert();
    }
}
