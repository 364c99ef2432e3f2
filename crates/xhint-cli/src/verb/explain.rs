//! `xhint explain`

use std::io;
use std::process::ExitCode;

use xhint::Dispatch;
use xhint::layout::LayoutId;
use xhint::link::{RelocKind, RelocationReport, Report, ResultReport};

use super::link;
use crate::arguments::choice::ToFile;
use crate::print::{Stdout, line};
use crate::{flags, print};

/// Show what `link` would do with the same options: what each CO-RE relocation asks for, what it becomes for each layout
/// and in the fallback, and whether the program links.
///
/// The exit code is 1 if `link` would refuse the program; the last line then says why, as `link` would.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint explain prog.o --nic fw1.btf --nic fw2.btf")]
pub struct Args {
    #[command(flatten)]
    what: ToFile,
    /// Print JSON, as docs/explain-json.md describes it
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (report, refused) = self.what.read(true)?.explain();
        report.warnings.iter().for_each(|w| print::warning(w));
        flags::offer_bind(report.unbound.as_ref());
        if self.json {
            print::json(&report)?;
        } else {
            let mut out = print::stdout();
            text(&mut out, &report)?;
            out.flush()?;
            link::tell_dispatch(&report.dispatch);
        }
        match refused {
            Some(error) => Err(flags::Of::Link.runtime(error)),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

fn text(out: &mut Stdout, report: &Report) -> io::Result<()> {
    let (bold, dim) = (print::BOLD, print::DIM);
    for layout in &report.layouts {
        let (name, id) = (&layout.name, LayoutId(layout.id));
        line!(out, "{bold}layout {name}{bold:#}  id {id}, {} bytes, {}", layout.size, layout.source)?;
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
    let column = match relocation.place.as_ref().map_or(0, |p| p.column) {
        0 => String::new(),
        column => format!(", column {column}"),
    };
    let (question, number) = (question(relocation.kind), relocation.instruction);
    line!(out, "  {question}  {} ({}, instruction {number}{column})", relocation.access, relocation.function)?;
    // What all layouts have in common is said once.
    let first = relocation.results.first();
    let same = |r: &ResultReport| first.is_some_and(|f| (f.value, &f.why, f.reached) == (r.value, &r.why, r.reached));
    if relocation.results.len() > 1
        && relocation.results.iter().all(same)
        && relocation.results.iter().all(|r| first.is_some_and(|f| (&f.target, &f.by) == (&r.target, &r.by)))
    {
        return result(out, "all", relocation, 0);
    }
    for (n, own) in relocation.results.iter().enumerate() {
        let name = match (&own.layout, report.layouts.get(n)) {
            (None, _) => "no layout".to_owned(),
            (Some(name), Some(l)) if report.layouts.iter().filter(|l| l.name == *name).count() > 1 => {
                format!("{name} {}", LayoutId(l.id))
            }
            (Some(name), _) => name.clone(),
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
            let by = result.by.as_ref().map_or_else(String::new, |by| format!(", by {by}"));
            line!(out, "    {name}: {green}{}{green:#}  {target}{by}", answer(relocation.kind, result.was, value))
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
        RelocKind::TypeIdTarget | RelocKind::TypeIdLocal => match u32::try_from(value) {
            Ok(id) => LayoutId(id).to_string(),
            Err(_) => format!("{value:#x}"),
        },
        _ if was == value => value.to_string(),
        _ => format!("{was} becomes {value}"),
    }
}

/// What becomes of each layout, and of packets of none.
fn summary(out: &mut Stdout, report: &Report) -> io::Result<()> {
    let (red, green, yellow) = (print::RED, print::GREEN, print::YELLOW);
    line!(out)?;
    for layout in &report.layouts {
        let label = layout.label();
        match (&layout.refused, &report.refused) {
            // What is said below is not said twice.
            (Some(why), all) if Some(why) == all.as_ref() => line!(out, "{red}{label}{red:#}: refused, see below")?,
            (Some(why), _) => line!(out, "{red}{label}{red:#}: refused: {why}")?,
            (None, _) if layout.fallback => {
                line!(out, "{yellow}{label}{yellow:#}: packets of this layout go to the fallback: {}", layout.lacks)?
            }
            (None, Some(_)) if !layout.lacks.is_empty() => {
                line!(out, "{yellow}{label}{yellow:#}: lacks what the program reads: {}", layout.lacks)?
            }
            (None, Some(_)) => line!(out, "{yellow}{label}{yellow:#}: nothing is missing in it")?,
            (None, None) => line!(out, "{green}{label}{green:#}: links")?,
        }
    }
    match (&report.fallback_refused, &report.refused) {
        (Some(_), _) => line!(out, "{red}no layout{red:#}: refused, see below"),
        (None, None) if report.layouts.is_empty() || report.dispatch.kind != Some(Dispatch::None) => {
            line!(out, "{green}no layout{green:#}: links")
        }
        _ => Ok(()),
    }
}
