//! Paths into drivers' structures: files of them, and BTF of modules that they are looked for in.

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use xhint_btf::Btf;
use xhint_fill::driver::{DriverPaths, Fetch, PathFile, routes};
use xhint_testkit::fixture::corpus;

use crate::linking::BASE;
use crate::seeds::Seeds;

static SHIPPED: LazyLock<DriverPaths> = LazyLock::new(|| DriverPaths::shipped().expect("those that come with xhint"));
static MODULE: LazyLock<Btf> =
    LazyLock::new(|| Btf::parse_split(corpus("mlx5_core.btf"), Arc::clone(&BASE)).expect("the corpus"));

/// A path file.
pub fn file(bytes: &[u8]) {
    let file = PathFile { name: "file".to_owned(), text: String::from_utf8_lossy(bytes).into_owned() };
    match DriverPaths::with(&[file]) {
        Ok(paths) => look(&paths, &MODULE),
        Err(error) => assert!(error.line > 0 && !error.what.is_empty(), "{error}"),
    }
}

/// A driver's BTF.
pub fn module(bytes: &[u8]) {
    if let Ok(btf) = Btf::parse_split(bytes.to_vec(), Arc::clone(&BASE)) {
        look(&SHIPPED, &btf);
    }
}

fn look(paths: &DriverPaths, btf: &Btf) {
    for (hint, route) in routes(paths.all().map(|(_, path)| path), btf, Fetch::Cast) {
        assert!(route.map_or_else(|why| !why.is_empty(), |route| route.hint == hint));
    }
}

/// Those that come with xhint.
pub fn files() -> Seeds {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/xhint-fill/drivers");
    let files = fs::read_dir(folder).expect("a folder of path files").flatten();
    let mut files: Seeds = files
        .map(|file| (file.file_name().to_string_lossy().into_owned(), fs::read(file.path()).expect("a path file")))
        .collect();
    files.sort();
    files
}
