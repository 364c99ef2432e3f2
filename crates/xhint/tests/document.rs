//! `docs/library.md` shows the example that is compiled.

#![allow(clippy::unwrap_used)]

#[test]
fn the_document_shows_the_example_as_it_is() {
    let document = include_str!("../../../docs/library.md");
    let example = include_str!("../examples/application.rs");
    let shown = document.split("```rust\n").nth(1).unwrap().split("```\n").next().unwrap();
    let is = example.split_once("\n\n").unwrap().1;
    assert_eq!(shown, is);
}
