//! A program loaded by libbpf and run on one packet, with metadata in front of it.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use libbpf_sys as sys;

use crate::cases::Case;
use crate::libbpf::{Object, text};

/// What a run left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the program returned, for example `XDP_PASS`.
    pub returned: u32,
    /// Metadata and packet as the program left them.
    pub data: Vec<u8>,
}

/// The most bytes of metadata that this kernel takes in front of a packet that it runs a program on.
///
/// # Panics
/// When the kernel cannot be asked.
#[must_use]
pub fn room() -> usize {
    let room = xhint_host::room().unwrap_or_else(|error| panic!("asking how much metadata fits: {error}"));
    room.found.map_or(0, |bytes| bytes as usize)
}

/// An object whose programs and maps are in the kernel.
pub struct Loaded(Object);

impl Loaded {
    /// Opens and loads the object at `path`, with `btf` as in [`crate::oracle::relocate`].
    ///
    /// # Errors
    /// libbpf's refusal with its log, which has the verifier's.
    pub fn load(path: &Path, btf: Option<&Path>) -> Result<Loaded, String> {
        let mut object = Object::open(path, btf)?;
        object.load()?;
        Ok(Loaded(object))
    }

    /// The same, with the programs that libbpf loads only if it is asked to (`SEC("?xdp")`).
    ///
    /// # Errors
    /// libbpf's refusal with its log, which has the verifier's.
    pub fn load_all(path: &Path, btf: Option<&Path>) -> Result<Loaded, String> {
        Loaded::load_some(path, btf, |_| true)
    }

    /// The same, of all programs in the object only `name`.
    ///
    /// # Errors
    /// libbpf's refusal with its log, which has the verifier's.
    pub fn load_one(path: &Path, btf: Option<&Path>, name: &str) -> Result<Loaded, String> {
        Loaded::load_some(path, btf, |own| own == name)
    }

    fn load_some(path: &Path, btf: Option<&Path>, wanted: impl Fn(&str) -> bool) -> Result<Loaded, String> {
        let mut object = Object::open(path, btf)?;
        for program in object.programs() {
            // SAFETY: the pointer came from the live object, which is not loaded yet.
            unsafe {
                let wanted = wanted(&text(sys::bpf_program__name(program)));
                sys::bpf_program__set_autoload(program, wanted);
            }
        }
        object.load()?;
        Ok(Loaded(object))
    }

    /// Runs a case's program on a packet with the case's metadata, and returns as many numbers as the case expects.
    ///
    /// # Panics
    /// When the run fails or does not end in `XDP_PASS`.
    #[must_use]
    pub fn read(&self, case: &Case) -> Vec<u64> {
        let outcome = self.run(case.program, &case.metadata(), &[0; 64]);
        let outcome = outcome.unwrap_or_else(|error| panic!("{case:?}: {error}"));
        assert_eq!(outcome.returned, sys::XDP_PASS, "{case:?}");
        let out = self.global(".bss");
        let words = out.chunks_exact(8).take(case.out.len());
        words.map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
    }

    /// Runs the XDP program `name` once on `packet` with `metadata` in front (`BPF_PROG_TEST_RUN`; the context's
    /// `data_meta` is 0 and its `data` the metadata's length, which is a multiple of 4 and at most 252).
    ///
    /// # Errors
    /// The kernel's refusal.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn run(&self, name: &str, metadata: &[u8], packet: &[u8]) -> io::Result<Outcome> {
        let program = self.program(name);
        let mut input = [metadata, packet].concat();
        let mut output = vec![0u8; input.len() + 256];
        let mut context = sys::xdp_md {
            data_meta: 0,
            data: u32::try_from(metadata.len()).unwrap(),
            data_end: u32::try_from(input.len()).unwrap(),
            ..Default::default()
        };
        let mut options = sys::bpf_test_run_opts {
            sz: size_of::<sys::bpf_test_run_opts>() as sys::size_t,
            data_in: input.as_mut_ptr().cast(),
            data_size_in: u32::try_from(input.len()).unwrap(),
            data_out: output.as_mut_ptr().cast(),
            data_size_out: u32::try_from(output.len()).unwrap(),
            ctx_in: (&raw mut context).cast(),
            ctx_size_in: size_of::<sys::xdp_md>() as u32,
            repeat: 1,
            ..Default::default()
        };
        // SAFETY: the program's descriptor is live, and all buffers outlive the call with the sizes given.
        let status = unsafe { sys::bpf_prog_test_run_opts(sys::bpf_program__fd(program), &raw mut options) };
        if status != 0 {
            return Err(io::Error::from_raw_os_error(-status));
        }
        output.truncate(options.data_size_out as usize);
        Ok(Outcome { returned: options.retval, data: output })
    }

    /// How many instructions the kernel was given for the program `name`, and how many it made of them.
    ///
    /// # Panics
    /// When there is no such program or the kernel does not tell.
    #[must_use]
    pub fn lengths(&self, name: &str) -> (usize, usize) {
        let program = self.program(name);
        // SAFETY: the pointer came from the live object, which keeps the program's descriptor open.
        let (given, fd) =
            unsafe { (sys::bpf_program__insn_cnt(program), BorrowedFd::borrow_raw(sys::bpf_program__fd(program))) };
        (usize::try_from(given).unwrap(), xhint_host::bound::length(fd).unwrap())
    }

    fn program(&self, name: &str) -> *mut sys::bpf_program {
        let programs = self.0.programs();
        let named = |program: &&*mut sys::bpf_program| {
            // SAFETY: the pointer came from the live object.
            unsafe { text(sys::bpf_program__name(**program)) == name }
        };
        *programs.iter().find(named).unwrap_or_else(|| panic!("no program {name}"))
    }

    /// The bytes of the global data section `name` (`.bss`, `.data`, `.rodata`), or of element 0 of an array map.
    ///
    /// # Panics
    /// When there is no such map or it cannot be read.
    #[must_use]
    pub fn global(&self, name: &str) -> Vec<u8> {
        let maps = self.0.maps();
        let named = |map: &&*mut sys::bpf_map| {
            // SAFETY: the pointer came from the live object.
            let full = unsafe { text(sys::bpf_map__name(**map)) };
            full == name || (name.starts_with('.') && full.ends_with(name))
        };
        let map = *maps.iter().find(named).unwrap_or_else(|| panic!("no map {name}"));
        // SAFETY: a map of the live object.
        let size = unsafe { sys::bpf_map__value_size(map) } as usize;
        let mut value = vec![0u8; size];
        let key = 0u32;
        // SAFETY: key and value have the sizes given, and the kernel writes at most the map's value size.
        let status = unsafe {
            sys::bpf_map__lookup_elem(
                map,
                (&raw const key).cast(),
                size_of_val(&key) as sys::size_t,
                value.as_mut_ptr().cast(),
                size as sys::size_t,
                0,
            )
        };
        assert_eq!(status, 0, "lookup in {name}");
        value
    }
}
