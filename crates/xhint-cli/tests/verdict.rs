//! `scripts/vm/verdict` says "all is well" only of what was tried and passed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// What it says of a kernel `6.1` with these logs, and its exit code.
fn verdict(logs: &[&str]) -> (String, Option<i32>) {
    let dir = tempfile::tempdir().unwrap();
    for (n, log) in logs.iter().enumerate() {
        fs::create_dir_all(dir.path().join("6.1")).unwrap();
        fs::write(dir.path().join(format!("6.1/{n}.log")), log).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/vm/verdict");
    let output = Command::new(script).arg(dir.path()).args(["demo tests", "6.1"]).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn only_what_was_tried_is_well() {
    let (demo, tests) =
        ("## demo 6.1\nok a\n## end of demo: 1 s up\n", "## tests 6.1\nok b\n## end of tests: 2 s up\n");
    let (said, code) = verdict(&[demo, tests]);
    assert!(said.contains("all is well on 6.1") && code == Some(0), "{said}");
    let skipped = "## tests 6.1\nSKIPPED b: no room\n## end of tests: 2 s up\n";
    let cut = "## tests 6.1\nok b\n";
    let failed = "## tests 6.1\nok b\nFAIL c: exit 1\n## end of tests: 2 s up\n";
    let cases: [(&[&str], &str); 5] = [
        (&[], "6.1  FAIL demo: no check passed"),
        (&[demo], "6.1  FAIL tests: did not come to its end"),
        (&[demo, skipped], "6.1  FAIL tests: no check passed"),
        (&[demo, cut], "6.1  FAIL tests: did not come to its end"),
        (&[demo, failed], "6.1  FAIL c: exit 1"),
    ];
    for (logs, line) in cases {
        let (said, code) = verdict(logs);
        assert!(said.lines().any(|l| l == line) && code == Some(1), "{logs:?}: {said}");
    }
}
