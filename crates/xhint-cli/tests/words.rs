//! Libraries speak of options: who has them by flags is the command line, which adds its own words (`src/flags.rs`).

#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below `folder`, tests aside.
fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            sources(&path, out);
        } else if name.ends_with(".rs") && !name.contains("tests") {
            out.push(path);
        }
    }
}

/// The lines of code that have a flag in them, such as `--layout`.
fn with_flags(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines();
    let has_flag = |line: &&str| {
        let code = line.split("// ").next().unwrap_or_default();
        code.split("--").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    code.filter(|line| !line.trim_start().starts_with("//")).filter(has_flag).collect()
}

#[test]
fn no_library_names_a_flag() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for entry in fs::read_dir(crates).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The command line itself, and what no user ever links.
        if name.starts_with("xhint") && !["xhint-testkit", "xhint-bench", "xhint-cli"].contains(&name.as_str()) {
            sources(&entry.path().join("src"), &mut files);
        }
    }
    assert!(files.len() > 100, "{} files", files.len());
    let mut named = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        named.extend(with_flags(&text).into_iter().map(|line| format!("{}: {}", file.display(), line.trim())));
    }
    assert_eq!(named, [""; 0], "a flag is the command line's word");
}

#[test]
fn a_flag_is_seen() {
    assert_eq!(with_flags("#[error(\"no; use --base\")]\n"), ["#[error(\"no; use --base\")]"]);
    assert_eq!(with_flags("/// As in `--bind a=b`.\nlet x = 1; // --no\nn -= 1; a--b\n"), ["n -= 1; a--b"]);
}
