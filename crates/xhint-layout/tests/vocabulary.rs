//! `docs/hints.md` has the vocabulary.

use xhint_layout::hint::WORDS;

#[test]
fn the_document_has_the_vocabulary() {
    let document = include_str!("../../../docs/hints.md");
    for w in WORDS {
        let name = if w.name == "const" { "const=N" } else { w.name };
        let class = w.class.map(|c| c.to_string()).unwrap_or_default();
        let row = format!("| `{name}` | {} | {class} | {} |", w.bits, w.about);
        assert!(document.contains(&row), "docs/hints.md lacks the row {row}");
    }
    assert_eq!(document.lines().filter(|l| l.matches('|').count() == 5).count(), WORDS.len() + 2);
}
