//! The few calls into libbpf that the rest of the crate builds on, with its log kept per thread.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Once;
use std::{io, ptr};

use libbpf_sys as sys;

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" {
    fn vsnprintf(buffer: *mut c_char, size: usize, format: *const c_char, arguments: *mut sys::__va_list_tag) -> c_int;
}

unsafe extern "C" fn keep(
    _level: sys::libbpf_print_level,
    format: *const c_char,
    arguments: *mut sys::__va_list_tag,
) -> c_int {
    let mut line = [0u8; 4096];
    // SAFETY: libbpf hands a printf format with its arguments; vsnprintf writes at most `len` bytes, NUL included.
    let wanted = unsafe { vsnprintf(line.as_mut_ptr().cast(), line.len(), format, arguments) };
    let length = usize::try_from(wanted).unwrap_or(0).min(line.len() - 1);
    LOG.with_borrow_mut(|log| log.extend_from_slice(&line[..length]));
    0
}

static HOOK: Once = Once::new();

/// Drops all that libbpf will say in this process, unless a log was started before.
pub fn silence() {
    // SAFETY: no callback is what libbpf takes for silence.
    HOOK.call_once(|| unsafe {
        sys::libbpf_set_print(None);
    });
}

/// Starts an empty log for this thread. libbpf's messages, debug ones too, go to the log of the thread that calls it.
pub fn start_log() {
    HOOK.call_once(|| {
        // SAFETY: `keep` has the signature libbpf asks for and lives as long as the process.
        unsafe { sys::libbpf_set_print(Some(keep)) };
    });
    LOG.with_borrow_mut(Vec::clear);
}

/// What libbpf said on this thread since [`start_log`].
pub fn take_log() -> String {
    LOG.with_borrow_mut(|log| String::from_utf8_lossy(&std::mem::take(log)).into_owned())
}

/// Whether the kernel lets this process create a map at all.
pub fn probe_map_create() -> io::Result<()> {
    // SAFETY: no name, no options; the descriptor is closed right after.
    unsafe {
        let fd = sys::bpf_map_create(sys::BPF_MAP_TYPE_ARRAY, ptr::null(), 4, 4, 1, ptr::null());
        if fd < 0 {
            return Err(io::Error::from_raw_os_error(-fd));
        }
        libc::close(fd);
    }
    Ok(())
}

/// An owned `struct btf`, maybe split.
pub struct Btf(*mut sys::btf);

impl Btf {
    /// `btf__new` or, with a base, `btf__new_split`. The base must outlive the result.
    pub fn new(bytes: &[u8], base: Option<&Btf>) -> Result<Btf, String> {
        start_log();
        let length = u32::try_from(bytes.len()).map_err(|e| e.to_string())?;
        let base = base.map_or(ptr::null_mut(), |base| base.0);
        // SAFETY: libbpf copies `length` bytes; `base` is null or a live btf.
        let btf = unsafe { sys::btf__new_split(bytes.as_ptr().cast(), length, base) };
        Btf::owned(btf)
    }

    /// `btf__parse`: raw or in an ELF file.
    pub fn parse(path: &Path) -> Result<Btf, String> {
        start_log();
        let path = c_path(path);
        // SAFETY: the path lives through the call.
        Btf::owned(unsafe { sys::btf__parse(path.as_ptr(), ptr::null_mut()) })
    }

    /// `btf__new_empty` or, with a base, `btf__new_empty_split`. The base must outlive the result.
    pub fn empty(base: Option<&Btf>) -> Result<Btf, String> {
        start_log();
        // SAFETY: the base, where there is one, is a live btf.
        let btf = unsafe {
            match base {
                Some(base) => sys::btf__new_empty_split(base.0),
                None => sys::btf__new_empty(),
            }
        };
        Btf::owned(btf)
    }

    fn owned(btf: *mut sys::btf) -> Result<Btf, String> {
        if btf.is_null() {
            return Err(format!("{}: {}", io::Error::last_os_error(), take_log()));
        }
        Ok(Btf(btf))
    }

    /// Number of types, void and those of the base included: one past the last id.
    pub fn end_id(&self) -> u32 {
        // SAFETY: a live btf.
        unsafe { sys::btf__type_cnt(self.0) }
    }

    /// `BTF_KIND_*` and name of the type `id`; 0 and nothing if there is none.
    pub fn kind_and_name(&self, id: u32) -> (u32, String) {
        // SAFETY: a live btf; the type, if there is one, and its name live as long.
        unsafe {
            let ty = sys::btf__type_by_id(self.0, id);
            if ty.is_null() {
                return (0, String::new());
            }
            ((*ty).info >> 24 & 0x1f, text(sys::btf__name_by_offset(self.0, (*ty).name_off)))
        }
    }

    /// `btf__add_btf`: appends all types of `other`, ids and strings remapped.
    pub fn append(&mut self, other: &Btf) -> Result<(), String> {
        // SAFETY: two distinct live btfs.
        let id = unsafe { sys::btf__add_btf(self.0, other.0) };
        if id < 0 {
            return Err(io::Error::from_raw_os_error(-id).to_string());
        }
        Ok(())
    }

    /// `btf__add_type`: appends the type `id` of `other` with its strings; the ids it refers to stay as they are.
    pub fn append_type(&mut self, other: &Btf, id: u32) -> Result<u32, String> {
        // SAFETY: two live btfs; a null type is refused below before it is used.
        let new = unsafe {
            let ty = sys::btf__type_by_id(other.0, id);
            if ty.is_null() {
                return Err(format!("no type {id}"));
            }
            sys::btf__add_type(self.0, other.0, ty)
        };
        u32::try_from(new).map_err(|_| io::Error::from_raw_os_error(-new).to_string())
    }

    /// `btf__distill_base`: the distilled base, and what is split on it. The base must outlive the other.
    pub fn distill(&self) -> Result<(Btf, Btf), String> {
        let (mut base, mut split) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a live btf; libbpf gives two new ones, which are owned from here on.
        let status = unsafe { sys::btf__distill_base(self.0, &mut base, &mut split) };
        if status != 0 {
            return Err(format!("{}: {}", io::Error::from_raw_os_error(-status), take_log()));
        }
        Ok((Btf::owned(base)?, Btf::owned(split)?))
    }

    /// `btf__relocate`: from the distilled base to `base`, which must then outlive it.
    pub fn relocate(&mut self, base: &Btf) -> Result<(), String> {
        start_log();
        // SAFETY: two live btfs.
        match unsafe { sys::btf__relocate(self.0, base.0) } {
            0 => Ok(()),
            status => Err(format!("{}: {}", io::Error::from_raw_os_error(-status), take_log())),
        }
    }

    /// Makes [`Btf::bytes`] big endian.
    pub fn set_big_endian(&mut self) {
        // SAFETY: a live btf.
        let status = unsafe { sys::btf__set_endianness(self.0, sys::BTF_BIG_ENDIAN) };
        assert_eq!(status, 0, "btf__set_endianness failed");
    }

    /// The bytes as libbpf would write them to a file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut size = 0;
        // SAFETY: libbpf returns `size` bytes that live until the btf is changed or freed; they are copied here.
        unsafe {
            let data = sys::btf__raw_data(self.0, &mut size);
            assert!(!data.is_null(), "btf__raw_data failed");
            std::slice::from_raw_parts(data.cast::<u8>(), size as usize).to_vec()
        }
    }
}

impl Drop for Btf {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once.
        unsafe { sys::btf__free(self.0) };
    }
}

/// An owned `struct bpf_object`.
pub struct Object {
    object: *mut sys::bpf_object,
}

impl Object {
    /// Opens an object file; its CO-RE relocations will be resolved against `btf`, a file with flat BTF, if given.
    pub fn open(path: &Path, btf: Option<&Path>) -> Result<Object, String> {
        start_log();
        let path = c_path(path);
        let btf = btf.map(c_path);
        let options = sys::bpf_object_open_opts {
            sz: size_of::<sys::bpf_object_open_opts>() as sys::size_t,
            btf_custom_path: btf.as_ref().map_or(ptr::null(), |path| path.as_ptr()),
            ..Default::default()
        };
        // SAFETY: path and options live through the call; libbpf keeps copies.
        let object = unsafe { sys::bpf_object__open_file(path.as_ptr(), &options) };
        if object.is_null() {
            return Err(format!("{}\n{}", io::Error::last_os_error(), take_log()));
        }
        Ok(Object { object })
    }

    /// `bpf_object__prepare`: all that loading does short of handing programs to the verifier.
    pub fn prepare(&mut self) -> Result<(), String> {
        // SAFETY: a live object.
        self.check(unsafe { sys::bpf_object__prepare(self.object) })
    }

    /// `bpf_object__load`.
    pub fn load(&mut self) -> Result<(), String> {
        // SAFETY: a live object.
        self.check(unsafe { sys::bpf_object__load(self.object) })
    }

    fn check(&self, status: c_int) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        let error = io::Error::from_raw_os_error(-status);
        Err(format!("{error}\n{}", take_log()))
    }

    /// Calls `visit` with each program, in libbpf's order.
    pub fn programs(&self) -> Vec<*mut sys::bpf_program> {
        let mut all = Vec::new();
        let mut program = ptr::null_mut();
        loop {
            // SAFETY: null starts the walk, and each next pointer came from libbpf.
            program = unsafe { sys::bpf_object__next_program(self.object, program) };
            if program.is_null() {
                return all;
            }
            all.push(program);
        }
    }

    /// The maps, in libbpf's order.
    pub fn maps(&self) -> Vec<*mut sys::bpf_map> {
        let mut all = Vec::new();
        let mut map = ptr::null_mut();
        loop {
            // SAFETY: null starts the walk, and each next pointer came from libbpf.
            map = unsafe { sys::bpf_object__next_map(self.object, map) };
            if map.is_null() {
                return all;
            }
            all.push(map);
        }
    }

    /// A string of the object's own BTF.
    pub fn string(&self, offset: u32) -> String {
        // SAFETY: the btf, where there is one, belongs to the live object.
        unsafe {
            let btf = sys::bpf_object__btf(self.object);
            if btf.is_null() {
                return String::new();
            }
            text(sys::btf__str_by_offset(btf, offset))
        }
    }

    /// The name of a type of the object's own BTF.
    pub fn type_name(&self, id: u32) -> String {
        // SAFETY: the btf, where there is one, belongs to the live object.
        unsafe {
            let btf = sys::bpf_object__btf(self.object);
            if btf.is_null() {
                return String::new();
            }
            let ty = sys::btf__type_by_id(btf, id);
            if ty.is_null() {
                return String::new();
            }
            text(sys::btf__name_by_offset(btf, (*ty).name_off))
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: owned, and closed once.
        unsafe { sys::bpf_object__close(self.object) };
    }
}

/// A C string of libbpf's as an owned one; empty for null.
///
/// # Safety
/// `string` is null or points to a NUL-ended string.
pub unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not null, and NUL-ended by this function's contract.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
}

/// `slice::from_raw_parts` that takes null for nothing, as libbpf returns it.
///
/// # Safety
/// `data` is null or points to `count` values that nobody writes while they are copied.
pub unsafe fn copied<T: Copy>(data: *const c_void, count: usize) -> Vec<T> {
    if data.is_null() || count == 0 {
        return Vec::new();
    }
    // SAFETY: by this function's contract.
    unsafe { std::slice::from_raw_parts(data.cast::<T>(), count) }.to_vec()
}
