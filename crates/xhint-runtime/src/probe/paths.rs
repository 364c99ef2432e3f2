//! What can be read of a driver's own structures, and by what.

use std::path::Path;
use std::sync::Arc;

use xhint_fill::driver::{DriverPaths, Fetch, Route, routes};
use xhint_host::{Facts, KernelReads, Right, kernel_reads};
use xhint_layout::Hint;

use crate::btf_files::{KERNEL_BTF, btf};
use crate::error::Result;

/// For each hint that `known` has a path to in the device's driver, where that leads; else why nowhere, in words.
pub(super) fn paths(facts: &Facts, known: &DriverPaths) -> Result<Vec<(Hint, std::result::Result<Route, String>)>> {
    let of = || facts.driver_name().into_iter().flat_map(|driver| known.of(driver));
    if of().next().is_none() {
        return Ok(Vec::new());
    }
    let refused = |why: String| {
        let mut all = Vec::<(Hint, _)>::new();
        for path in of() {
            if all.iter().all(|(hint, _)| *hint != path.hint) {
                all.push((path.hint, Err(why.clone())));
            }
        }
        all
    };
    // Kernels differ in whether they ask for it.
    if !Right::Perfmon.is_granted() {
        return Ok(refused(format!("reading the kernel's memory takes {}", Right::Perfmon)));
    }
    let fetch = match super::allowed(kernel_reads())? {
        None => return Ok(refused("asking how takes CAP_BPF and CAP_NET_ADMIN".to_owned())),
        Some(Err(why)) => return Ok(refused(why)),
        Some(Ok(KernelReads::ByCast)) => Fetch::Cast,
        Some(Ok(KernelReads::ByHelper)) => Fetch::Helper,
    };
    let Some(path) = facts.module.as_ref().and_then(|module| module.btf.as_deref()) else {
        return Ok(refused("the kernel shows no BTF of the driver".to_owned()));
    };
    let types = btf(Path::new(KERNEL_BTF), None).and_then(|base| match path == Path::new(KERNEL_BTF) {
        true => Ok(base),
        false => btf(path, Some(Arc::new(base))),
    });
    Ok(match types {
        Ok(types) => routes(of(), &types, fetch),
        Err(error) => refused(error.to_string()),
    })
}
