//! Linking, as a library.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xhint_btf::Btf;
use xhint_fill::Fill;
use xhint_link::{Dispatch, Fallback, FieldBind, FieldName, LinkOptions, Linked, Report};
use xhint_runtime::attach::{Done, attach, running};
use xhint_runtime::{Device, Error, ForFile, Home, Job, LinkedAs, Mode, Result, Source, State, absolute, read_nics};
use xhint_universe::Universe;

use crate::layout::{Layout, layouts};
use crate::{Attached, read};

/// Links programs for NICs' layouts, against a base BTF: the running kernel's, if not said. That is read once and what was
/// found in it is kept, so keep the linker for the next link.
#[derive(Debug, Clone)]
pub struct Linker {
    inner: xhint_runtime::Linker,
}

/// A program about to be linked.
///
/// ```no_run
/// # fn main() -> xhint::Result<()> {
/// let linker = xhint::Linker::new()?;
/// let linked = linker.program("prog.o")?.nic("a.btf")?.nic("b.btf")?.dispatch(xhint::Dispatch::Static).link()?;
/// std::fs::write("out.o", &linked.bytes).unwrap(); // or straight into a loader
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Link<'l> {
    linker: &'l Linker,
    object: Source,
    nics: Vec<Source>,
    options: LinkedAs,
    mode: Mode,
    count: Option<bool>,
    replace: bool,
    prune: bool,
    relocations: bool,
}

/// Times that a program is linked anew because another call changed what runs meanwhile.
const TRIES: usize = 10;

impl Linker {
    /// On the running kernel's BTF. Where the kernel has none, that is an error for who asks for one of its types, and for
    /// nobody else; so it is where NIC BTFs stand alone and are of the other byte order.
    ///
    /// # Errors
    /// None in practice.
    pub fn new() -> Result<Linker> {
        Ok(Linker { inner: xhint_runtime::Linker::new()? })
    }

    /// On this BTF.
    pub fn on(base: Arc<Btf>) -> Linker {
        Linker { inner: xhint_runtime::Linker::on(base) }
    }

    /// On the BTF in these files, each split on the one before, as a module's is on vmlinux: to link for another kernel than
    /// the one that runs. Without any, as [`Linker::new`].
    ///
    /// # Errors
    /// [`Error::Host`] and [`Error::Source`].
    pub fn with_base(files: &[PathBuf]) -> Result<Linker> {
        read::chain(files)?.map_or_else(Linker::new, |base| Ok(Linker::on(base)))
    }

    /// The base and the NIC BTFs at `paths`: raw (alone or split on the base), or in ELF objects; of directories all files that
    /// describe layouts.
    ///
    /// # Errors
    /// [`Error::Host`], [`Error::Source`], [`Error::NoBase`], and [`Error::Layout`] for what cannot be a layout.
    pub fn universe(&self, paths: &[PathBuf]) -> Result<Universe> {
        self.inner.universe(&read_nics(&self.inner, paths)?)
    }

    /// The same for what is called in [`xhint_runtime`] itself.
    pub fn runtime(&self) -> &xhint_runtime::Linker {
        &self.inner
    }

    /// The layouts that the NIC BTF at `path` describes: where each field lies, and what it means.
    ///
    /// # Errors
    /// As [`Linker::universe`].
    pub fn layouts(&self, path: impl Into<PathBuf>) -> Result<Vec<Layout>> {
        layouts(&self.universe(&[path.into()])?)
    }

    /// Begins with the compiled program at `path`.
    ///
    /// # Errors
    /// [`Error::Host`] if it cannot be read.
    pub fn program(&self, path: impl Into<PathBuf>) -> Result<Link<'_>> {
        Ok(self.object(Source::read(path)?))
    }

    /// Begins with a compiled program in memory; `name` is for messages.
    pub fn program_bytes(&self, name: &str, bytes: impl Into<Vec<u8>>) -> Link<'_> {
        self.object(Source::new(name, bytes))
    }

    fn object(&self, object: Source) -> Link<'_> {
        Link {
            linker: self,
            object,
            nics: vec![],
            options: LinkedAs::default(),
            mode: Mode::Native,
            count: None,
            replace: false,
            prune: false,
            relocations: false,
        }
    }
}

impl Link<'_> {
    /// Adds a NIC's BTF: raw (alone or split on the base), or an ELF object; with its distilled base, if it has one in
    /// `.BTF.base` or, raw, in a file `PATH.base` beside it. Of a directory, all files that describe layouts.
    ///
    /// # Errors
    /// [`Error::Host`] if it cannot be read.
    pub fn nic(mut self, path: impl Into<PathBuf>) -> Result<Self> {
        // What is attached is named so that it is found from any directory.
        for nic in read_nics(&self.linker.inner, &[absolute(&path.into())])? {
            // One that is given again, by whatever path, is there already.
            if !self.nics.contains(&nic) {
                self.nics.push(nic);
            }
        }
        Ok(self)
    }

    /// Adds a NIC's BTF in memory; `name` is for messages.
    pub fn nic_bytes(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.nics.push(Source::new(name, bytes));
        self
    }

    /// Takes only the layouts that are called so, by name, by id or by a name that they answer to.
    pub fn layout(mut self, name: &str) -> Self {
        self.options.layouts.push(name.to_owned());
        self
    }

    /// Binds the program's struct `local` to what the NIC calls `target`.
    pub fn bind(mut self, local: &str, target: &str) -> Self {
        self.options.bind.push((local.to_owned(), target.to_owned()));
        self
    }

    /// Binds the field `local`, of a struct of the program and by its path there, to the field `target` of a layout, whatever
    /// that is called: `(("nic_meta", "rx_hash"), ("mlx_rx", "rss.result"))`.
    pub fn bind_field(mut self, local: (&str, &str), target: (&str, &str)) -> Self {
        let name = |(of, path): (&str, &str)| FieldName { of: of.to_owned(), path: path.to_owned() };
        self.options.bind_fields.push(FieldBind { local: name(local), target: name(target) });
        self
    }

    /// Gives a constant of the program, declared `const volatile`, a value: an integer (`0x` for hexadecimal), `true` or
    /// `false`, the name of an enumerator, or text for an array of char. It stays when the program is linked anew.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.options.set.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Names the program, if the object has several for XDP.
    pub fn entry(mut self, name: &str) -> Self {
        self.options.program = Some(name.to_owned());
        self
    }

    /// How packets of several layouts come to the right copy; [`Dispatch::Auto`] if not said.
    pub fn dispatch(mut self, dispatch: Dispatch) -> Self {
        self.options.asked = dispatch;
        self
    }

    /// Whether pointers in metadata may be followed, which takes CAP_PERFMON where the program is loaded; if not said,
    /// yes. What is attached follows them only if this process has that right, too.
    pub fn walk(mut self, walk: bool) -> Self {
        self.options.walk = walk;
        self
    }

    /// In the driver, where metadata is, or behind it; [`Mode::Native`] if not said.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Of layouts that a packet can pass for several of, has this one (called as for [`Link::layout`]) tried before those that
    /// are not named so, and after those that were named before. Without it such layouts are refused.
    pub fn first(mut self, layout: &str) -> Self {
        self.options.first.push(layout.to_owned());
        self
    }

    /// Whether packets are counted by layout. If not said: when attached by us, yes; else no.
    pub fn count(mut self, count: bool) -> Self {
        self.count = Some(count);
        self
    }

    /// Gives packets that no layout is for this XDP action, such as 2 for `XDP_PASS`, rather than run the program,
    /// linked for no layout, on them.
    pub fn fallback(mut self, action: u32) -> Self {
        self.options.fallback = Fallback::Action(action);
        self
    }

    /// Whether reads of what a layout lacks are left to the verifier, rather than refused, because the program never comes
    /// to them; if not said, no.
    pub fn allow_missing(mut self, allow: bool) -> Self {
        self.options.allow_missing = allow;
        self
    }

    /// From where fields are filled in, in what [`Link::attach`] puts on a device, for packets that carry no metadata; if not
    /// said, from wherever the device has them if there is no NIC BTF, else from nowhere.
    pub fn fill(mut self, fill: Fill) -> Self {
        self.options.fill = fill;
        self
    }

    /// Reads a file that says where drivers keep what they know of a packet, to count before what comes with xhint; may be
    /// repeated, and the first counts most.
    ///
    /// # Errors
    /// [`Error::Host`] if it cannot be read, [`Error::Paths`] with the line that is wrong.
    pub fn drivers(mut self, path: impl AsRef<Path>) -> Result<Self> {
        self.options.drivers.push(xhint_runtime::path_file(path.as_ref())?);
        Ok(self)
    }

    /// Whether what is filled in stays in front of packets that the program passes on to the kernel's stack, for a program
    /// that runs there. If not said, no: it would keep packets of one flow from being put together.
    pub fn keep_metadata(mut self, keep: bool) -> Self {
        self.options.keep_metadata = keep;
        self
    }

    /// Takes the place of a program that xhint did not attach.
    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }

    /// Whether what cannot be reached for a layout is removed from the linked object; if not said, no. Before Linux 6.18, programs
    /// that are loaded without CAP_PERFMON need it. What is attached is pruned where it must be, whatever is said here.
    pub fn prune(mut self, prune: bool) -> Self {
        self.prune = prune;
        self
    }

    /// Whether the report of [`Link::link`] tells of every relocation; if not said, no.
    pub fn relocations(mut self, told: bool) -> Self {
        self.relocations = told;
        self
    }

    /// Links, for a loader of your own. Nothing is asked of this machine: the object is the same wherever it is linked.
    ///
    /// # Errors
    /// [`Error::Link`] in the terms of the source, [`Error::Source`] for a bad NIC BTF.
    pub fn link(&self) -> Result<Linked> {
        self.for_file()?.link()
    }

    /// What [`Link::link`] would do, with every relocation, and why it would refuse, if so.
    ///
    /// # Errors
    /// For an input that cannot be used at all.
    pub fn explain(&self) -> Result<(Report, Option<Error>)> {
        Ok(self.for_file()?.explain())
    }

    fn for_file(&self) -> Result<ForFile> {
        let (prune, explain, count) = (self.prune, self.relocations, self.count.unwrap_or(false));
        let options = LinkOptions { prune, explain, count, ..self.options.options() };
        self.linker.inner.for_file(self.object.clone(), &self.options.set, &self.nics, options)
    }

    /// Links, and puts the program on the device `ifname`; one of ours that is there gives way in one step, and leaves
    /// its maps.
    ///
    /// # Errors
    /// Any; what ran before runs still.
    pub fn attach(&self, ifname: &str) -> Result<Attached> {
        self.attach_in(None, ifname)
    }

    /// The same in the network namespace `netns`, by its name for `ip netns` or a path.
    ///
    /// # Errors
    /// As [`Link::attach`].
    pub fn attach_in(&self, netns: Option<&str>, ifname: &str) -> Result<Attached> {
        let (home, device) = (Home::system()?, crate::attached::device(ifname, netns)?);
        let (job, done) = self.put(&home, &device)?;
        let too_long = done.too_long.iter().map(ToString::to_string);
        Ok(Attached::at(home, device, job.warnings.into_iter().chain(too_long).collect()))
    }

    /// The same with all that can be told of it: what was linked, and what came of it.
    ///
    /// # Errors
    /// As [`Link::attach`].
    pub fn put(&self, home: &Home, device: &Device) -> Result<(Job, Done)> {
        let once = || {
            let job = self.job(home, device)?;
            attach(home, device, &job).map(|done| (job, done))
        };
        // What another call changed meanwhile is gone on from.
        (0..TRIES).map(|_| once()).find(|put| !matches!(put, Err(Error::Changed(_)))).unwrap_or_else(once)
    }

    /// What [`Link::put`] would put on `device`.
    ///
    /// # Errors
    /// As [`Link::attach`].
    pub fn job(&self, home: &Home, device: &Device) -> Result<Job> {
        let options = LinkedAs { count: self.count.unwrap_or(true), ..self.options.clone() };
        let before = running(home, device)?;
        let (object, nics) = (self.object.clone(), self.nics.clone());
        let linker = self.linker.inner.for_device(device);
        let job = linker.link_after(before.as_ref(), object, nics, options, self.mode)?;
        Ok(Job { replace: self.replace, after: Some(State::mark_of(before.as_ref())), ..job })
    }
}
