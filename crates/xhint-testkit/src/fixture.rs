//! Committed data, and C sources compiled to BPF objects and NIC BTFs.
//!
//! Compiled files go to `fixtures/` in cargo's target directory, named after the hash of all that went into them, so
//! that a test compiles once and a changed source is never missed.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs, process};

/// Where the committed fixtures lie: `programs/`, `nics/`, `corpus/`, `include/`.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// A file of the committed kernel BTF, `vmlinux.btf` or a module's split BTF on it.
///
/// # Panics
/// When there is none of that name.
#[must_use]
pub fn corpus(name: &str) -> Vec<u8> {
    let path = corpus_path(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where a file of the committed kernel BTF lies.
#[must_use]
pub fn corpus_path(name: &str) -> PathBuf {
    directory().join("corpus").join(name)
}

/// The raw BTF of a NIC described in C, `fixtures/nics/NAME`.
#[must_use]
pub fn nic(name: &str) -> Vec<u8> {
    let object = Compile::new(&directory().join("nics").join(name)).object();
    let bytes = fs::read(&object).expect("a compiled NIC");
    section(&bytes, ".BTF").unwrap_or_else(|| panic!("{name} has no .BTF")).to_vec()
}

/// A program of `fixtures/programs`, to be compiled.
#[must_use]
pub fn program(name: &str) -> Compile {
    Compile::new(&directory().join("programs").join(name))
}

/// A program or NIC of the workspace's `examples/`, to be compiled. NICs are as the running kernel lets their metadata
/// through: where that is little, with short layouts.
#[must_use]
pub fn example(name: &str) -> Compile {
    let example = Compile::new(&workspace().join("examples").join(name));
    if name.starts_with("nics/") { example.for_room(48) } else { example }
}

/// The workspace's top.
fn workspace() -> &'static Path {
    static TOP: LazyLock<PathBuf> = LazyLock::new(|| {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        top.canonicalize().expect("the workspace")
    });
    &TOP
}

/// The clang compilers on this machine, oldest first. Debian's `clang` is the first that is always there.
#[must_use]
pub fn clangs() -> &'static [&'static str] {
    static FOUND: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let known = ["clang-14", "clang-16", "clang-19"];
        let there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
        let mut found: Vec<_> = known.into_iter().filter(there).collect();
        if found.is_empty() {
            found.push("clang");
        }
        found
    });
    &FOUND
}

/// How a program can be compiled: each clang with each `-mcpu` that changes what relocations meet.
#[must_use]
pub fn variants() -> Vec<Variant> {
    let each = |clang: &&'static str| {
        // v4, whose loads extend signs and whose stores take constants, came with clang 18.
        let cpus: &[_] = match *clang {
            "clang-19" => &["v2", "v3", "v4"],
            _ => &["v2", "v3"],
        };
        let clang = *clang;
        cpus.iter().map(move |cpu| Variant { clang, cpu })
    };
    clangs().iter().flat_map(each).collect()
}

/// A compiler and its `-mcpu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The command.
    pub clang: &'static str,
    /// The instruction set.
    pub cpu: &'static str,
}

impl Variant {
    /// Whether the fixture `source` leaves nothing out when compiled so: clang 14 has no 64-bit enumerators (they came
    /// with 15) and no `TYPE_MATCHES` (16).
    #[must_use]
    pub fn compiles_all_of(&self, source: &str) -> bool {
        self.clang != "clang-14" || !["enums.bpf.c", "matches.bpf.c"].contains(&source)
    }
}

/// The names of the files in a folder of the fixtures, sorted, so that no list of them is kept by hand.
#[must_use]
pub fn names(folder: &str, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(directory().join(folder)).expect("a folder of fixtures");
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

/// A C file and how to compile it for BPF.
#[derive(Debug, Clone, Hash)]
pub struct Compile {
    source: PathBuf,
    variant: Variant,
    big_endian: bool,
    arguments: Vec<String>,
}

impl Compile {
    /// Little endian, `-mcpu=v3`, `-O2 -g`, with the newest clang.
    #[must_use]
    pub fn new(source: &Path) -> Compile {
        Compile {
            source: source.to_owned(),
            variant: Variant { clang: clangs().last().expect("a clang"), cpu: "v3" },
            big_endian: false,
            arguments: Vec::new(),
        }
    }

    /// Another compiler and instruction set.
    #[must_use]
    pub fn variant(mut self, variant: Variant) -> Compile {
        self.variant = variant;
        self
    }

    /// `-target bpfeb`.
    #[must_use]
    pub fn big_endian(mut self) -> Compile {
        self.big_endian = true;
        self
    }

    /// One more argument, `-DNAME=VALUE` for example.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Compile {
        self.arguments.push(argument.into());
        self
    }

    /// `-DMETA_ROOM=32` where the running kernel does not let `full` bytes of metadata through (Linux 6.1), so that
    /// layouts are short there.
    #[must_use]
    pub fn for_room(self, full: u32) -> Compile {
        match xhint_host::room() {
            Ok(room) if room.written < full => self.argument("-DMETA_ROOM=32"),
            _ => self,
        }
    }

    /// Compiles, unless that was done before, and says where the object is.
    ///
    /// # Panics
    /// When clang fails, with what it said.
    #[must_use]
    pub fn object(&self) -> PathBuf {
        let target = cache().join(format!("{}-{:016x}.o", self.stem(), self.digest()));
        if target.exists() {
            return target;
        }
        // Tests run at once: each writes a file of its own, and renaming is atomic.
        let id = std::thread::current().id();
        let partial = target.with_extension(format!("{}-{id:?}.tmp", process::id()));
        let output = Command::new(self.variant.clang)
            .args(["-O2", "-g", "-c", "-Wall", "-Werror", "-target"])
            .arg(if self.big_endian { "bpfeb" } else { "bpf" })
            .arg(format!("-mcpu={}", self.variant.cpu))
            .arg("-I")
            .arg(directory().join("include"))
            .arg("-I")
            .arg(libbpf_headers())
            .arg("-I")
            .arg(workspace().join("include"))
            // Where Debian keeps <asm/types.h>.
            .arg(format!("-I/usr/include/{}-linux-gnu", env::consts::ARCH))
            // So that the paths in line info are the same everywhere.
            .arg(format!("-ffile-prefix-map={}=fixtures", directory().display()))
            .args(&self.arguments)
            .arg(&self.source)
            .arg("-o")
            .arg(&partial)
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}; run make setup", self.variant.clang));
        assert!(output.status.success(), "{self:?}:\n{}", String::from_utf8_lossy(&output.stderr));
        fs::rename(&partial, &target).expect("renaming a compiled object");
        target
    }

    fn stem(&self) -> String {
        let stem = self.source.file_stem().expect("a file name");
        stem.to_string_lossy().into_owned()
    }

    /// Of the source, every header beside it, and how it is compiled.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        let source = fs::read(&self.source);
        source.unwrap_or_else(|error| panic!("{}: {error}", self.source.display())).hash(&mut hasher);
        for folder in [directory().join("include"), workspace().join("include"), self.source.with_file_name("")] {
            for header in headers(&folder) {
                fs::read(&header).expect("a header").hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

fn headers(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut headers: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "h"))
        .collect();
    headers.sort();
    headers
}

/// A directory for whatever a test makes: `fixtures/` in cargo's target directory.
#[must_use]
pub fn cache() -> PathBuf {
    static CACHE: LazyLock<PathBuf> = LazyLock::new(|| {
        let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let cache = target.unwrap_or_else(|| workspace().join("target"));
        let cache = cache.join("fixtures");
        fs::create_dir_all(&cache).expect("a directory for fixtures");
        cache.canonicalize().expect("a directory for fixtures")
    });
    CACHE.clone()
}

/// Keeps `bytes` in the [`cache`] under a name made of `stem`, their hash and `extension`, and says where.
///
/// # Panics
/// When it cannot be written.
#[must_use]
pub fn keep(stem: &str, extension: &str, bytes: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let path = cache().join(format!("{stem}-{:016x}.{extension}", hasher.finish()));
    if !path.exists() {
        let id = std::thread::current().id();
        let partial = path.with_extension(format!("{}-{id:?}.tmp", process::id()));
        fs::write(&partial, bytes).expect("writing to the fixture cache");
        fs::rename(&partial, &path).expect("renaming in the fixture cache");
    }
    path
}

/// The headers of the libbpf that the tests are linked with, as `bpf/*.h` in the directory returned.
fn libbpf_headers() -> PathBuf {
    static HEADERS: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = cache().join(format!("libbpf-{}", crate::oracle::version()));
        let ready = folder.join("bpf");
        if !ready.exists() {
            let partial = folder.with_extension(format!("{}.tmp", process::id()));
            fs::create_dir_all(partial.join("bpf")).expect("a directory for headers");
            for (name, contents) in libbpf_sys::API_HEADERS {
                fs::write(partial.join("bpf").join(name), contents).expect("writing a header");
            }
            // Where another test process was faster, its copy is as good.
            let _ = fs::rename(&partial, &folder);
        }
        assert!(ready.exists(), "{} was not made", ready.display());
        folder
    });
    HEADERS.clone()
}

/// The bytes of the section `name` of a 64-bit ELF file, in either byte order.
#[must_use]
pub fn section<'a>(elf: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let elf = crate::damage::Elf::read(elf)?;
    let section = elf.sections().into_iter().find(|s| s.name == name)?;
    elf.bytes.get(section.offset..section.offset + section.size)
}
