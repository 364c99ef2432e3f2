//! Every program with every universe of BTFs, through libbpf and through a linker of ours.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::{fs, panic, thread};

use crate::fixture::{self, Compile, Variant};
use crate::flat::{Nic, big_endian, merge};
use crate::oracle::{self, Relocated};

/// A base and NIC BTFs, and the same as one flat file.
#[derive(Debug)]
pub struct World {
    /// What it is made of, for messages.
    pub name: String,
    /// The base BTF.
    pub base: Vec<u8>,
    /// Split BTFs on the base, by file name.
    pub splits: Vec<(String, Vec<u8>)>,
    /// Standalone BTFs, by file name.
    pub nics: Vec<(String, Vec<u8>)>,
    /// All of it merged by libbpf.
    pub flat: PathBuf,
}

impl World {
    /// The splits come before the standalone ones, so that with one split its ids are those of the flat BTF.
    fn new(base: &str, splits: &[&str], nics: &[&str]) -> World {
        let bytes = match base {
            "running" => fs::read("/sys/kernel/btf/vmlinux").expect("the running kernel's BTF"),
            _ => fixture::corpus(base),
        };
        let named = |names: &[&str], read: fn(&str) -> Vec<u8>| -> Vec<(String, Vec<u8>)> {
            names.iter().map(|name| ((*name).to_owned(), read(name))).collect()
        };
        let (splits, nics) = (named(splits, fixture::corpus), named(nics, fixture::nic));
        let parts: Vec<_> = splits.iter().map(|(_, bytes)| Nic::Split(bytes)).collect();
        let parts: Vec<_> = parts.into_iter().chain(nics.iter().map(|(_, bytes)| Nic::Standalone(bytes))).collect();
        let flat = fixture::keep("flat", "btf", &merge(&bytes, &parts));
        let names: Vec<_> = splits.iter().chain(&nics).map(|(name, _)| name.as_str()).collect();
        World { name: format!("{base} + {names:?}"), base: bytes, splits, nics, flat }
    }
}

impl World {
    /// The cut-down kernel and one NIC, both as a big-endian machine would have them.
    #[must_use]
    pub fn big_endian(nic: &str) -> World {
        let base = big_endian(&fixture::corpus(KERNEL));
        let object = Compile::new(&fixture::directory().join("nics").join(nic)).big_endian().object();
        let elf = fs::read(object).expect("a compiled NIC");
        let bytes = fixture::section(&elf, ".BTF").expect(".BTF").to_vec();
        let flat = fixture::keep("flat-big", "btf", &merge(&base, &[Nic::Standalone(&bytes)]));
        World { name: format!("big-endian {nic}"), base, splits: Vec::new(), nics: vec![(nic.to_owned(), bytes)], flat }
    }
}

/// The cut-down kernel alone, with each NIC, with each module's split BTF, with all of them; the running kernel with some.
pub static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| {
    let nics = fixture::names("nics", ".c");
    let splits: Vec<_> = fixture::names("corpus", ".btf").into_iter().filter(|name| name != KERNEL).collect();
    let splits: Vec<&str> = splits.iter().map(String::as_str).collect();
    let mut worlds = vec![World::new(KERNEL, &[], &[])];
    worlds.extend(nics.iter().map(|nic| World::new(KERNEL, &[], &[nic])));
    worlds.extend(splits.iter().map(|split| World::new(KERNEL, &[split], &[])));
    worlds.push(World::new(KERNEL, &splits, &["mlx_rx.c"]));
    worlds.extend(RUNNING.map(|nic| World::new("running", &[], &[nic])));
    worlds
});

const KERNEL: &str = "vmlinux.btf";
/// NICs that are tried on the running kernel, whose BTF is large: one for each thing a NIC can be.
const RUNNING: [&str; 5] = ["plain.c", "bits.c", "nested.c", "enums.c", "pointers.c"];

/// A program, compiled.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The source file and how it was compiled.
    pub name: String,
    /// The object.
    pub object: PathBuf,
}

/// Every program, compiled in each way.
#[must_use]
pub fn subjects(variants: &[Variant]) -> Vec<Subject> {
    let subject = |source: &String, variant: &Variant| Subject {
        name: format!("{source} {} {}", variant.clang, variant.cpu),
        object: Compile::variant(fixture::program(source), *variant).object(),
    };
    let sources = fixture::names("programs", ".bpf.c");
    let all = sources.iter().flat_map(|source| variants.iter().map(move |variant| subject(source, variant)));
    all.collect()
}

/// Every program for big-endian machines, less the two that read bitfields: there libbpf takes the order of the machine it
/// runs on for the program's (`LSHIFT_U64` in `bpf_core_calc_field_relo`), and is no oracle.
#[must_use]
pub fn big_endian_subjects() -> Vec<Subject> {
    let sources = fixture::names("programs", ".bpf.c").into_iter();
    let sources = sources.filter(|source| !["bitfields.bpf.c", "kernel.bpf.c"].contains(&source.as_str()));
    let subject = |source: String| Subject {
        object: fixture::program(&source).big_endian().object(),
        name: format!("big-endian {source}"),
    };
    sources.map(subject).collect()
}

/// Links each subject in each world by `link`, which yields an object without CO-RE relocations or says why not, and
/// compares what libbpf makes of that with what it makes of the subject and the flat BTF. Where libbpf refuses, `link`
/// must as well.
///
/// # Panics
/// When any pair differs, listing all that do.
pub fn compare(
    worlds: &[&World],
    subjects: &[Subject],
    link: impl Fn(&World, &Path) -> Result<Vec<u8>, String> + Sync,
) {
    let jobs: Vec<_> = worlds.iter().flat_map(|world| subjects.iter().map(move |subject| (*world, subject))).collect();
    let (next, failures, refused) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicUsize::new(0));
    // Where one pair differs, the rest is still looked at.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((world, subject)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = panic::catch_unwind(panic::AssertUnwindSafe(|| compare_one(world, subject, &link)));
                    match one {
                        Ok(Outcome::Same) => {}
                        Ok(Outcome::BothRefused) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(panic) => failures.lock().unwrap().push(message(&*panic)),
                    }
                }
            });
        }
    });
    panic::set_hook(hook);
    let failures = failures.into_inner().unwrap();
    let refused = refused.into_inner();
    assert!(failures.is_empty(), "{} of {} pairs differ:\n{}", failures.len(), jobs.len(), failures.join("\n"));
    println!("{} pairs the same, {refused} of them refused by both", jobs.len());
    assert!(refused * 4 < jobs.len(), "{refused} of {} pairs refused: what is compared?", jobs.len());
}

enum Outcome {
    Same,
    BothRefused,
}

fn compare_one(world: &World, subject: &Subject, link: &impl Fn(&World, &Path) -> Result<Vec<u8>, String>) -> Outcome {
    let what = format!("{} in {}", subject.name, world.name);
    let expected = oracle::relocate(&subject.object, Some(&world.flat));
    let linked = link(world, &subject.object);
    match (expected, linked) {
        (Ok(expected), Ok(linked)) => {
            let ours = relocate_linked(&what, &linked);
            oracle::assert_same(&what, &expected, &ours);
            Outcome::Same
        }
        (Err(_), Err(_)) => Outcome::BothRefused,
        (Err(error), Ok(_)) => panic!("{what}: linked, but libbpf refuses: {}", last_line(&error)),
        (Ok(_), Err(error)) => panic!("{what}: libbpf relocates, but: {error}"),
    }
}

/// What libbpf makes of an object that should need no more CO-RE.
fn relocate_linked(what: &str, linked: &[u8]) -> Relocated {
    let path = fixture::keep("linked", "o", linked);
    oracle::relocate(&path, None).unwrap_or_else(|error| panic!("{what}: libbpf refuses the linked object: {error}"))
}

fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| line.contains("ambig") || line.contains("failed")).unwrap_or(text)
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
