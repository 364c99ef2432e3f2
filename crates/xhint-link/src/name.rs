//! Names for what linking makes: such as the kernel takes in BTF, and its BPF file system for pins.
//!
//! Layouts and programs may be called anything: a C++ or Rust compiler puts generics into names, and lets them grow to
//! hundreds of characters.

/// Characters of a name: `KSYM_NAME_LEN` of include/linux/kallsyms.h less one, as it was before Linux 6.1 made it 512.
const MOST: usize = 127;
/// Characters of either half of a name that would be longer.
const HALF: usize = 58;

/// `front` and `back` as one name of letters, digits and underscores, not too long. Where that is not just the two, a
/// hash of them ends it, so that different names stay different. The same ones always give the same.
pub fn c_name(front: &str, back: &str) -> String {
    let whole = format!("{front}{back}");
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let first = front.chars().next().is_some_and(|c| c.is_ascii_digit());
    if !first && whole.len() <= MOST && whole.chars().map(clean).eq(whole.chars()) {
        return whole;
    }
    let cut = |half: &str| half.chars().map(clean).take(HALF).collect::<String>();
    let digit = if first { "_" } else { "" };
    format!("{digit}{}{}_{:08x}", cut(front), cut(back), hash(&whole))
}

/// FNV-1a of 32 bits.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_c_stay() {
        assert_eq!(c_name("prog", "__mlx_rx_v3"), "prog__mlx_rx_v3");
        let long = "x".repeat(MOST - 4);
        assert_eq!(c_name("prog", &long), format!("prog{long}"));
    }

    #[test]
    fn others_are_made_such_and_stay_different() {
        let long = |end: &str| format!("__{}{end}", "x".repeat(600));
        let all = ["__Meta<u32, 3>", "__Meta<u64, 3>", "__a.b", "__a/b", "__a-b", "__ä", "__\n", &long(""), &long("y")];
        let own = ["prog", "_ZN4core3ops8function6FnOnce9call_once17h0123456789abcdefE", "9p", &"p".repeat(300)];
        let mut made: Vec<_> = all.iter().flat_map(|b| own.iter().map(|f| c_name(f, b))).collect();
        for name in &made {
            assert!(name.len() <= MOST, "{name}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
            assert!(!name.starts_with(|c: char| c.is_ascii_digit()), "{name}");
        }
        let count = made.len();
        made.sort();
        made.dedup();
        assert_eq!(made.len(), count);
    }
}
