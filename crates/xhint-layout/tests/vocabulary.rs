//! `docs/hints.md` has the vocabulary.

use xhint_layout::vocabulary::{Kfunc, WORDS};

#[test]
fn the_document_has_the_vocabulary() {
    let document = include_str!("../../../docs/hints.md");
    for w in WORDS {
        let name = if w.name == "const" { "const=N" } else { w.name };
        let class = w.class.map(|c| c.to_string()).unwrap_or_default();
        let bits = if w.least == w.bits { w.bits.to_string() } else { format!("{}, at least {}", w.bits, w.least) };
        let mut from: Vec<_> = w.kfunc.iter().map(|kfunc| format!("`{}`", kfunc.name())).collect();
        from.extend(w.descriptors.iter().map(|driver| driver.to_string()));
        from.extend(w.in_packet.then(|| "packet".to_owned()));
        let (unit, from) = (w.unit.name(), from.join(", "));
        let row = format!("| `{name}` | {} | {bits} | {unit} | {class} | {} | {from} |", w.bit, w.about);
        assert!(document.contains(&row), "docs/hints.md lacks the row {row}");
    }
    assert_eq!(document.lines().filter(|l| l.matches('|').count() == 8).count(), WORDS.len().saturating_add(2));
    for kfunc in [Kfunc::RxTimestamp, Kfunc::RxHash, Kfunc::RxVlanTag] {
        let row = format!("| `{}` | {} |", kfunc.name(), kfunc.drivers().join(", "));
        assert!(document.contains(&row), "docs/hints.md lacks the row {row}");
    }
}
