//! Every verb's help has an example, and what reports does so as JSON too.

#![allow(clippy::unwrap_used)]

use std::process::Command;

/// What a verb's `--help` says.
fn help(verb: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xhint")).args(verb).arg("--help").output().unwrap();
    assert!(output.status.success(), "{verb:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs of a group, by its help.
fn verbs(help: &str) -> Vec<String> {
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What the description goes on with stands further in.
    let names = below.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_verb_has_an_example_and_json() {
    let (mut groups, mut told) = (vec![Vec::new()], 0);
    while let Some(group) = groups.pop() {
        let text = help(&group.iter().map(String::as_str).collect::<Vec<_>>());
        let example = text.split_once("\nExample: xhint ");
        assert!(example.is_some(), "{group:?}: {text}");
        let (before, example) = example.unwrap();
        let below = verbs(&text);
        match below.is_empty() {
            true => assert!(before.contains("--json"), "{group:?}"),
            // A group shows some of what it has.
            false => {
                assert!(below.iter().filter(|v| example.contains(v.as_str())).count() > below.len() / 3, "{group:?}")
            }
        }
        told += 1;
        groups.extend(below.into_iter().map(|verb| [group.clone(), vec![verb]].concat()));
    }
    assert!(told > 15, "{told}");
}
