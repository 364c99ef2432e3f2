//! From the files that the user has to an object for the kernel.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use xhint_btf::Btf;
use xhint_object::{Dispatch, LinkOptions, Linked, Object, nic_btf};
use xhint_universe::Universe;

use crate::attach::Job;
use crate::error::{Error, Result};
use crate::rights::Rights;
use crate::state::{LayoutState, LinkedAs, Mode, Source, State};

/// Where the running kernel's BTF is.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Links programs for NICs' layouts. Keeps the base BTF and what was found in it, so the second link is faster.
#[derive(Debug, Clone)]
pub struct Linker {
    base: Universe,
}

impl Linker {
    /// On the running kernel's BTF.
    ///
    /// # Errors
    /// [`Error::File`] if the kernel has none.
    pub fn new() -> Result<Linker> {
        let path = Path::new(KERNEL);
        let bytes = std::fs::read(path).map_err(Error::file(path))?;
        let btf = Btf::parse(bytes).map_err(|e| Error::Source { path: path.to_owned(), cause: e.to_string() })?;
        Ok(Linker::on(Arc::new(btf)))
    }

    /// On another base.
    pub fn on(base: Arc<Btf>) -> Linker {
        Linker { base: Universe::new(base) }
    }

    /// The base and these NIC BTFs: raw or in ELF objects, alone or split on the base.
    ///
    /// # Errors
    /// [`Error::Source`] names the file at fault.
    pub fn universe(&self, nics: &[Source]) -> Result<Universe> {
        let mut universe = self.base.clone();
        for nic in nics {
            let err = |cause: String| Error::Source { path: nic.path.clone(), cause };
            let bytes = Bytes::from(nic.bytes.clone());
            let btf = nic_btf(bytes, Arc::clone(universe.base())).map_err(|e| err(e.to_string()))?;
            let name = nic.path.display().to_string();
            universe.add(&name, Arc::new(btf)).map_err(|e| err(e.to_string()))?;
        }
        Ok(universe)
    }

    /// Links `object` for the layouts of `nics`, for a device: what [`crate::attach::attach`] takes. Without
    /// `CAP_PERFMON` pointers in metadata count as absent.
    ///
    /// # Errors
    /// [`Error::Source`] or [`Error::Link`].
    pub fn link(&self, object: Source, nics: Vec<Source>, options: LinkedAs, mode: Mode) -> Result<Job> {
        let universe = self.universe(&nics)?;
        let options = LinkedAs { walk: Rights::current().walk(), ..options };
        let linked = self.link_in(&universe, &object, &options)?;
        let report = &linked.report;
        let tail = report.dispatch.kind == "tail";
        let layout = |(n, l): (u32, &xhint_object::LayoutReport)| {
            let source = universe.layouts().iter().find(|u| u.id == l.id).map_or(0, |u| u.source.0);
            let nic = (source as usize).saturating_sub(1);
            LayoutState { name: l.name.clone(), id: l.id, size: l.size, nic, slot: tail.then_some(n), added: None }
        };
        let state = State {
            entry: options.program.clone().unwrap_or_else(|| only_program(&object)),
            mode,
            since: 0,
            layouts: (0..).zip(&report.layouts).map(layout).collect(),
            options: LinkedAs { dispatch: report.dispatch.kind.to_owned(), ..options },
            object,
            nics,
        };
        let (warnings, why) = (report.warnings.clone(), report.dispatch.why.clone());
        Ok(Job { linked: linked.bytes, state, warnings, why, replace: false })
    }

    fn link_in(&self, universe: &Universe, object: &Source, options: &LinkedAs) -> Result<Linked> {
        let err = |cause| Error::Link { path: object.path.clone(), cause: Box::new(cause) };
        let options = LinkOptions {
            layouts: options.layouts.clone(),
            rename: options.bind.clone(),
            walk: options.walk,
            dispatch: match options.asked.as_str() {
                "none" => Dispatch::None,
                "static" => Dispatch::Static,
                "tail" => Dispatch::Tail,
                _ => Dispatch::Auto,
            },
            ..LinkOptions::default()
        };
        let parsed = Object::parse(Bytes::from(object.bytes.clone())).map_err(err)?;
        parsed.link(universe, &options).map_err(err)
    }
}

/// The object's XDP program, if it has but one: a linked object may have more, one for each layout.
fn only_program(object: &Source) -> String {
    let Ok(object) = Object::parse(Bytes::from(object.bytes.clone())) else { return String::new() };
    match object.functions().iter().filter(|f| f.is_xdp()).collect::<Vec<_>>().as_slice() {
        [one] => one.name.clone(),
        _ => String::new(),
    }
}
