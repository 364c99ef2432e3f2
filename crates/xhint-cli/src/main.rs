//! The command line: arguments and printing only.
// Whatever is said goes through `print`; and `println!` panics where standard output is full or closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod files;
mod flags;
mod layouts;
mod print;
mod service_manager;
mod shape;
mod verb;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// One XDP program, any NIC metadata: describe, link, attach, read.
#[derive(Debug, Parser)]
#[command(name = "xhint", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Example: xhint demo\n         xhint layout show fw1.btf\n         \
                        xhint explain prog.o --nic fw1.btf\n         \
                        xhint attach prog.o --dev eth0 --nic fw1.btf\n         xhint status eth0\n         \
                        xhint attach --help")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// One variant a verb; its arguments and work are in the file of that name under `verb/`.
#[derive(Debug, Subcommand)]
enum Verb {
    Link(verb::link::Args),
    Explain(verb::explain::Args),
    /// Print BTF, and merge several BTFs into one.
    #[command(
        subcommand,
        after_help = "Example: xhint btf dump /sys/kernel/btf/vmlinux\n         xhint btf dump mynic.o --json\n         xhint btf stitch mynic.o -o flat.btf"
    )]
    Btf(verb::btf::Verb),
    /// Show the metadata layouts that a NIC's BTF describes.
    #[command(
        subcommand,
        after_help = "Example: xhint layout show mynic.o\n         xhint layout show mynic.btf --layout mynic_rx --json"
    )]
    Layout(verb::layout::Verb),
    Probe(verb::probe::Args),
    Attach(verb::attach::Args),
    Status(verb::status::Args),
    Detach(verb::detach::Args),
    /// Add, remove and list the layouts of an attached program, while packets flow.
    #[command(
        subcommand,
        after_help = "Example: xhint layouts add eth0 fw2.btf\n         xhint layouts list eth0\n         xhint layouts remove eth0 fw1.btf"
    )]
    Layouts(verb::layouts::Verb),
    Demo(verb::demo::Args),
    /// Make and use a soft NIC: a network device in software that puts metadata in front of packets.
    #[command(
        subcommand,
        after_help = "Example: xhint nic up mynic0 --layout fw1.o\n         xhint nic send mynic0 --count 1000\n         xhint nic status mynic0\n         xhint nic down mynic0"
    )]
    Nic(verb::nic::Verb),
    #[command(hide = true)]
    Generate(verb::generate::Args),
}

impl Verb {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Link(args) => args.run(),
            Verb::Explain(args) => args.run(),
            Verb::Btf(verb) => verb.run(),
            Verb::Layout(verb) => verb.run(),
            Verb::Probe(args) => args.run(),
            Verb::Attach(args) => args.run(),
            Verb::Status(args) => args.run(),
            Verb::Detach(args) => args.run(),
            Verb::Layouts(verb) => verb.run(),
            Verb::Demo(args) => args.run(),
            Verb::Nic(verb) => verb.run(),
            Verb::Generate(args) => args.run(),
        }
    }
}

fn main() -> ExitCode {
    // What libbpf has to say is in our one line.
    libbpf_rs::set_print(None);
    match Cli::try_parse().unwrap_or_else(|error| print::usage(error)).verb.run() {
        Ok(code) => code,
        // Whoever reads our output has had enough: nothing went wrong.
        Err(error) if print::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // What fails by itself, of no file, is our own output.
            let ours = error.is::<io::Error>() && error.chain().count() == 1;
            print::error(&if ours { error.context("cannot write to standard output") } else { error });
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_sound() {
        super::Cli::command().debug_assert();
    }
}
