//! `xhint explain`

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use xhint_link::RelocKind;
use xhint_link::{Link, Object, RelocationReport, Report, ResultReport};

use super::link::Choice;
use crate::print::{Stdout, line};
use crate::sources::Sources;
use crate::{files, flags, print};

/// Explain each CO-RE relocation of a program: where it stands, what it asks, what it becomes for each layout.
///
/// Exit code 1 if the program would run into something that a layout lacks.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint explain prog.o --nic fw1.btf --nic fw2.btf")]
pub struct Args {
    /// The program, compiled with `clang -target bpf -O2 -g -c`
    program: PathBuf,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    choice: Choice,
    /// Print JSON, as docs/explain-json.md describes it
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let name = || format!("{}", self.program.display());
        let object = Object::parse(files::read(&self.program)?).with_context(name)?;
        let universe = self.choice.universe(&self.sources)?;
        let report = object.explain(&universe, &self.choice.options()).map_err(flags::of_link).with_context(name)?;
        report.warnings.iter().for_each(|w| print::warning(w));
        flags::offer_bind(report.unbound.as_ref());
        if self.json {
            print::json(&report)?;
        } else {
            let mut out = print::stdout();
            text(&mut out, &report)?;
            out.flush()?;
        }
        match failing(&report) {
            Some(first) => Err(anyhow!(first)).with_context(name),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// What the program would run into, in one line: the first, and how many there are.
fn failing(report: &Report) -> Option<String> {
    let failing = |r: &RelocationReport| (0..r.results.len()).filter(|n| r.fails(*n)).count();
    let all = report.relocations.iter().map(failing).fold(0, usize::saturating_add);
    let first = report.relocations.iter().find(|r| failing(r) > 0)?;
    let layout = (0..first.results.len()).find(|n| first.fails(*n))?;
    let place = match &first.place {
        Some(place) => format!("{}:{}:{}", place.file, place.line, place.column),
        None => format!("{}, instruction {}", first.function, first.instruction),
    };
    let why = first.results.get(layout)?.why.clone().unwrap_or_default();
    let layout =
        report.layouts.get(layout).map_or_else(|| "for no layout".to_owned(), |l| format!("layout {}", l.words()));
    let more = if all > 1 { format!(", and {} more", all.saturating_sub(1)) } else { String::new() };
    Some(format!("{place}: {} fails: {why} ({layout}){more}", first.access))
}

fn text(out: &mut Stdout, report: &Report) -> io::Result<()> {
    let (bold, dim) = (print::BOLD, print::DIM);
    for layout in &report.layouts {
        let (name, id) = (&layout.name, layout.id);
        line!(out, "{bold}layout {name}{bold:#}  id {id:#x}, {} bytes, {}", layout.size, layout.source)?;
    }
    let mut last = None;
    for relocation in &report.relocations {
        let place = relocation.place.as_ref().map(|p| (p.file.as_str(), p.line, p.text.as_str()));
        if place != last || place.is_none() {
            line!(out)?;
            match place {
                Some((file, line, text)) => line!(out, "{bold}{file}:{line}{bold:#}  {dim}{text}{dim:#}")?,
                None => line!(out, "{bold}{}{bold:#}, instruction {}", relocation.function, relocation.instruction)?,
            }
        }
        last = place;
        one(out, report, relocation)?;
    }
    summary(out, report)
}

fn one(out: &mut Stdout, report: &Report, relocation: &RelocationReport) -> io::Result<()> {
    let column = relocation.place.as_ref().map_or(0, |p| p.column);
    line!(
        out,
        "  {}  {} ({}, instruction {}, column {column})",
        question(relocation.kind),
        relocation.access,
        relocation.function,
        relocation.instruction
    )?;
    // What all layouts have in common is said once.
    let first = relocation.results.first();
    let same = |r: &ResultReport| first.is_some_and(|f| (f.value, &f.why, f.reached) == (r.value, &r.why, r.reached));
    if relocation.results.len() > 1
        && relocation.results.iter().all(same)
        && relocation.results.iter().all(|r| first.is_some_and(|f| f.target == r.target))
    {
        return result(out, "all", relocation, 0);
    }
    for n in 0..relocation.results.len() {
        let layout = report.layouts.get(n);
        let twice = report.layouts.iter().filter(|l| layout.is_some_and(|own| own.name == l.name)).count() > 1;
        let name = match layout {
            Some(l) if twice => format!("{} {:#x}", l.name, l.id),
            Some(l) => l.name.clone(),
            None => "no layout".to_owned(),
        };
        result(out, &name, relocation, n)?;
    }
    Ok(())
}

fn result(out: &mut Stdout, name: &str, relocation: &RelocationReport, n: usize) -> io::Result<()> {
    let Some(result) = relocation.results.get(n) else { return Ok(()) };
    let (green, red, yellow) = (print::GREEN, print::RED, print::YELLOW);
    let why = result.why.as_deref().unwrap_or_default();
    match (result.value, &result.target) {
        (Some(value), Some(target)) => {
            line!(out, "    {name}: {green}{}{green:#}  {target}", answer(relocation.kind, result.was, value))
        }
        (Some(value), None) if why.is_empty() => {
            line!(out, "    {name}: {green}{}{green:#}", answer(relocation.kind, result.was, value))
        }
        (Some(value), None) => {
            line!(out, "    {name}: {yellow}{}{yellow:#}  {why}", answer(relocation.kind, result.was, value))
        }
        (None, _) if result.reached => line!(out, "    {name}: {red}fails{red:#}  {why}"),
        (None, _) => line!(out, "    {name}: {yellow}never run{yellow:#}  {why}"),
    }
}

/// What is asked, in words.
fn question(kind: RelocKind) -> &'static str {
    match kind {
        RelocKind::FieldByteOffset => "offset of",
        RelocKind::FieldByteSize | RelocKind::TypeSize => "size of",
        RelocKind::FieldExists | RelocKind::EnumeratorExists => "is there",
        RelocKind::FieldSigned => "is signed",
        RelocKind::FieldLeftShift => "left shift for",
        RelocKind::FieldRightShift => "right shift for",
        RelocKind::TypeIdLocal => "local id of",
        RelocKind::TypeIdTarget => "id of",
        RelocKind::TypeExists => "is there a",
        RelocKind::EnumeratorValue => "value of",
        RelocKind::TypeMatches => "does it match",
    }
}

fn answer(kind: RelocKind, was: u64, value: u64) -> String {
    match kind {
        RelocKind::FieldExists
        | RelocKind::TypeExists
        | RelocKind::EnumeratorExists
        | RelocKind::TypeMatches
        | RelocKind::FieldSigned => if value == 0 { "no" } else { "yes" }.to_owned(),
        RelocKind::TypeIdTarget | RelocKind::TypeIdLocal => format!("{value:#x}"),
        _ if was == value => value.to_string(),
        _ => format!("{was} becomes {value}"),
    }
}

fn summary(out: &mut Stdout, report: &Report) -> io::Result<()> {
    let (red, green) = (print::RED, print::GREEN);
    line!(out)?;
    let count = report.relocations.len();
    for (n, layout) in report.layouts.iter().enumerate() {
        let failing = report.relocations.iter().filter(|r| r.fails(n)).count();
        match failing {
            0 => line!(out, "{green}{}{green:#}: all {count} relocations do", layout.words())?,
            _ => line!(out, "{red}{}{red:#}: {failing} of {count} relocations fail", layout.words())?,
        }
    }
    Ok(())
}
