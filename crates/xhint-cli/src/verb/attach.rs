//! `xhint attach`

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use xhint::layout::LayoutId;
use xhint::link::{Fallback, FieldBind};
use xhint::runtime::attach::{Done, kernel_takes};
use xhint::runtime::{Anew, Home, Job, TooLong, follow};
use xhint::{Attached, Device, Error, Event, EventKind, Fill, Link, Linker};

use crate::arguments::btf::MaybeNics;
use crate::arguments::choice::{Bind, Choice};
use crate::arguments::device::On;
use crate::print::{Stdout, line};
use crate::{files, flags, print, service_manager, shape};

/// Link a program for a NIC's layouts, and attach it to a device or replace what is attached there.
///
/// What xhint attached before keeps running until the new program is verified; then the new one takes its place in one step,
/// and keeps its maps. It stays attached when xhint ends, because it is pinned under /sys/fs/bpf/xhint. For new firmware, attach
/// again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint attach prog.o --dev eth0 --nic fw1.btf\n         \
                        xhint attach prog.o --dev eth0 --nic fw2.btf     (relinks, swaps, keeps the maps)\n         \
                        xhint attach prog.o --dev eth0 --nic fw1.btf --set sample=0x100 --set mode=FAST\n         \
                        xhint attach prog.o --dev eth0                   (fields from the driver and the packet)")]
pub struct Args {
    /// The compiled program, as clang makes it
    program_file: PathBuf,
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    nics: MaybeNics,
    #[command(flatten)]
    choice: Choice,
    /// The program to attach, if the object has several XDP programs
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
    /// Set the program's variable NAME, declared const volatile. VALUE is an integer (hexadecimal with 0x), true, false, the name
    /// of an enumerator, or the text of an array of char; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Where on the device the program runs
    #[arg(long, value_enum, default_value_t = Mode::Native)]
    mode: Mode,
    /// Where fields come from for packets that carry no metadata: `auto` (from whatever the device has), `none`, `kfunc` (its
    /// driver, by the kernel's functions), `driver` (its driver's structures), `software` (the packet, the program's context, the clock), or FIELD=PROVIDER for one
    /// field; may be repeated [default: auto if there is no --nic, else none]
    #[arg(long, value_name = "[FIELD=]PROVIDER", value_parser = filling)]
    fill: Vec<String>,
    /// A file that says where drivers keep what they know of a packet, beside those that come with xhint (docs/fill.md); may be
    /// repeated
    #[arg(long, value_name = "FILE")]
    drivers: Vec<PathBuf>,
    /// Leave what was filled in in front of packets that the program passes on, for programs behind it. TCP's packets are not put
    /// together then, if any of it differs between them
    #[arg(long)]
    keep_metadata: bool,
    /// Do not count the packets of each layout, which costs a packet about a nanosecond
    #[arg(long)]
    no_count: bool,
    /// Replace a program that xhint did not attach, or that comes from another object; asks first
    #[arg(long)]
    replace: bool,
    /// With --replace: do not ask
    #[arg(long, requires = "replace")]
    yes: bool,
    /// Keep running, and link and swap again when a --nic file or directory or the device's firmware changes. Ends when
    /// interrupted, or when the program is detached
    #[arg(long)]
    follow: bool,
    /// If the kernel refuses the program, print the verifier's whole log
    #[arg(long)]
    verbose: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// In the driver, where the NIC's metadata is
    Native,
    /// Behind the driver: on any device, but the NIC's metadata is gone by then
    Generic,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (home, device) = self.on.find()?;
        if self.follow {
            follow::check(&self.nics.files)?;
        }
        let linker = files::linker(&self.nics.base.files)?;
        let link = self.link(&linker)?;
        // Who is not to be asked need not be refused first.
        let link = if self.yes { link.replace() } else { link };
        let put = match link.put(&home, &device) {
            Err(foreign @ (Error::Foreign { .. } | Error::OtherObject { .. })) if self.replace => {
                self.may_replace(&foreign)?;
                link.clone().replace().put(&home, &device)
            }
            other => other,
        };
        let code = match put {
            Ok((job, done)) => {
                let what = format!("{}: {} (id {}) is attached", self.on.dev, done.entry, done.program);
                match print::report(&what, self.tell(&job, &done)) {
                    Err(unread) if self.follow => return self.ended(unread).map(|()| ExitCode::SUCCESS),
                    told => told?,
                }
            }
            Err(error) => return Err(self.refused(error, &link, &home, &device)?),
        };
        if self.follow
            && let Err(end) = self.follow(&linker, home, device)
        {
            self.ended(end)?;
        }
        Ok(code)
    }

    /// Why nothing was attached, with what would help.
    fn refused(&self, error: Error, link: &Link<'_>, home: &Home, device: &Device) -> anyhow::Result<anyhow::Error> {
        Ok(match error {
            Error::Load { .. } => {
                let uncounted = !self.no_count && self.goes_uncounted(link, home, device);
                let how = if uncounted { "; the kernel takes it without counters: --no-count" } else { "" };
                anyhow!("{}{how}", self.all_of(error)?)
            }
            Error::NoProgram { .. }
            | Error::ManyPrograms(_)
            | Error::ForMapEntry { .. }
            | Error::UnknownSection { .. } => {
                flags::Of::Attach.runtime(error).context(self.program_file.display().to_string())
            }
            other => flags::Of::Attach.runtime(other),
        })
    }

    /// Why following came to its end: as it should, or an error that says what becomes of the device.
    fn ended(&self, end: anyhow::Error) -> anyhow::Result<()> {
        let told = |text: String| self.tell_of(&Event { kind: EventKind::Ended, text });
        match end.downcast_ref() {
            Some(Error::NotAttached(_)) => told(format!("{}: detached; nothing left to follow", self.on.dev)),
            Some(Error::OtherAttached(_)) => told(format!("{end}; nothing left to follow")),
            Some(gone) if gone.is_gone() => {
                if self.json {
                    told(gone.to_string())?;
                }
                Err(end.context("nothing left to follow"))
            }
            _ if print::is_broken_pipe(&end) => {
                bail!(
                    "{}: nobody reads the reports any more, so xhint stops following; the attached program goes on",
                    self.on.dev
                )
            }
            _ => Err(end),
        }
    }

    /// The kernel's refusal, and all that the verifier says or how to come to it.
    fn all_of(&self, refused: Error) -> anyhow::Result<String> {
        let Error::Load { log, .. } = &refused else { return Ok(refused.to_string()) };
        if !self.verbose {
            return Ok(format!("{refused}; --verbose shows the verifier's whole log"));
        }
        print::log(log)?;
        Ok(refused.to_string())
    }

    /// Goes on until the program is taken off.
    fn follow(&self, linker: &Linker, home: Home, device: Device) -> anyhow::Result<()> {
        let attached = Attached::on(home, device)?;
        let mut follow = attached.follow(linker, &self.nics.files)?;
        service_manager::ready();
        loop {
            follow.next()?.iter().try_for_each(|event| self.tell_of(event))?;
            print::is_read()?;
        }
    }

    fn tell_of(&self, event: &Event) -> anyhow::Result<()> {
        match (self.json, event.kind) {
            (true, _) => print::json_line(&shape::event(event))?,
            (false, EventKind::Swapped | EventKind::Ended) => print::text(&event.text)?,
            (false, EventKind::Kept | EventKind::Note) => print::warning(&event.text),
        }
        Ok(())
    }

    /// Whether the kernel takes the program if packets are not counted: what the entry does for that is new to old ones.
    fn goes_uncounted(&self, link: &Link<'_>, home: &Home, device: &Device) -> bool {
        link.clone().count(false).job(home, device).is_ok_and(|job| kernel_takes(device, &job))
    }

    /// What is to be linked, and how.
    fn link<'l>(&self, linker: &'l Linker) -> anyhow::Result<Link<'l>> {
        let mut link = linker.program(&self.program_file)?;
        for nic in &self.nics.files {
            link = link.nic(nic)?;
        }
        let Choice { layouts, binds, first, dispatch, allow_missing, .. } = &self.choice;
        link = link.dispatch((*dispatch).into()).mode(self.mode.into());
        link = link.count(!self.no_count).allow_missing(*allow_missing);
        let mut fill = Fill::default();
        self.fill.iter().try_for_each(|text| fill.say(text)).map_err(|why| anyhow!(why))?;
        link = link.fill(fill).keep_metadata(self.keep_metadata);
        for file in &self.drivers {
            link = link.drivers(file)?;
        }
        link = layouts.iter().fold(link, |link, name| link.layout(name));
        link = binds.iter().fold(link, |link, bind| match bind {
            Bind::Struct(local, target) => link.bind(local, target),
            Bind::Field(FieldBind { local, target }) => {
                link.bind_field((&local.of, &local.path), (&target.of, &target.path))
            }
        });
        link = first.iter().fold(link, |link, name| link.first(name));
        link = self.set.iter().fold(link, |link, (name, value)| link.set(name, value));
        link = self.program.iter().fold(link, |link, name| link.entry(name));
        Ok(match self.choice.fallback() {
            Fallback::Program => link,
            Fallback::Action(action) => link.fallback(action),
        })
    }

    fn may_replace(&self, foreign: &Error) -> anyhow::Result<()> {
        let (device, program, question) = match foreign {
            Error::Foreign { device, program, .. } => (device, program.clone(), "which xhint did not put there"),
            Error::OtherObject { device, program, object } => {
                (device, format!("{program} of {object}"), "which is another object's")
            }
            _ => return Ok(()),
        };
        if !std::io::stdin().is_terminal() {
            bail!("{device}: has the XDP program {program} attached; add --yes to replace it without a question");
        }
        print::ask(&format!("{device} has the XDP program {program}, {question}. Replace it? [y/N]"))?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if answer.trim().eq_ignore_ascii_case("y") { Ok(()) } else { bail!("{device}: left as it was") }
    }

    fn tell(&self, job: &Job, done: &Done) -> anyhow::Result<ExitCode> {
        let warnings: Vec<String> =
            job.warnings.iter().cloned().chain(done.too_long.iter().map(TooLong::to_string)).collect();
        for warning in &warnings {
            print::warning(warning);
        }
        flags::offer_bind(job.unbound.as_ref());
        if self.json {
            print::json(&shape::attached(&self.on.dev, job, done, &warnings))?;
            return Ok(ExitCode::SUCCESS);
        }
        let how = match (done.before, &done.replaced) {
            (Some(before), _) => format!("swapped in for program {before}, {}", kept(&done.anew)),
            (None, Some(other)) => format!("attached in the place of program {other}"),
            (None, None) => "attached".to_owned(),
        };
        let mut out = print::stdout();
        line!(out, "{}: {} (id {}) {how}", self.on.dev, done.entry, done.program)?;
        tell_anew(&mut out, &done.anew)?;
        for layout in &job.state.layouts {
            let to = if layout.fallback { ": its packets go to the fallback, see above" } else { "" };
            line!(out, "  linked for {} (id {}, {} bytes){to}", layout.name, LayoutId(layout.id), layout.size)?;
            if !layout.selector {
                NO_SELECTOR.iter().try_for_each(|words| line!(out, "    {words}"))?;
            }
        }
        if let Some(filling) = &job.filling {
            print::fields::table(&mut out, filling)?;
        }
        let why = if done.why.is_empty() { String::new() } else { format!(": {}", done.why) };
        line!(out, "  dispatch {}{why}", done.dispatch)?;
        if !job.state.options.walk {
            line!(out, "  without CAP_PERFMON, so pointers in metadata count as missing fields")?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What [`Fill`] takes.
fn filling(text: &str) -> Result<String, String> {
    Fill::default().say(text).map(|()| text.to_owned())
}

/// `NAME=VALUE`; a value may be empty, and have a `=` in it.
fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give it as NAME=VALUE, such as sample=100".to_owned()),
    }
}

/// Which maps do not go on, and why.
pub fn tell_anew(out: &mut Stdout, anew: &[Anew]) -> std::io::Result<()> {
    anew.iter().try_for_each(|map| line!(out, "  map {} does not go on: {}", map.map, map.why))
}

/// What became of the maps.
pub fn kept(anew: &[Anew]) -> &'static str {
    if anew.is_empty() { "maps kept" } else { "maps kept but for those below" }
}

/// What it costs that packets carry no id.
const NO_SELECTOR: [&str; 3] = [
    "its packets carry no layout id, so every packet is taken for it: when the NIC changes to another layout, those",
    "that come between its change and the next `xhint attach` are read wrongly, whichever of the two goes first; stop",
    "the traffic for that moment, or let the NIC end its metadata with a u32 btf_id",
];

impl From<Mode> for xhint::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Native => xhint::Mode::Native,
            Mode::Generic => xhint::Mode::Generic,
        }
    }
}
