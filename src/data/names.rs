//! Names of classes that differ but look alike, such as the two Unicode normal forms of `é`.

use unicode_normalization::UnicodeNormalization;

use crate::text::{is_unprintable, printable};

/// What identifies a name to a reader: two names that share a key look alike. One key is the
/// printed form, the other what remains without invisible characters and with single spaces; both
/// in the normal form NFC.
pub(super) fn look_alike_keys(name: &str) -> [String; 2] {
    let words: Vec<&str> = name.split_whitespace().collect();
    let is_joiner = |c: &char| matches!(c, '\u{200c}' | '\u{200d}');
    let visible = words.join(" ");
    let visible = visible
        .chars()
        .filter(|c| !is_unprintable(*c) && !is_joiner(c));
    [printable(name).nfc().collect(), visible.nfc().collect()]
}

/// Two different names for one message: as [`printable`] or, if they look alike, with all that is
/// not plain ASCII escaped, so that the difference shows.
///
/// ```
/// use pyr_wgpu::data::spell_apart;
///
/// assert_eq!(spell_apart("cat", "dog"), ["cat", "dog"]);
/// assert_eq!(spell_apart("caf\u{e9}", "cafe\u{301}"), [r"caf\u{e9}", r"cafe\u{301}"]);
/// ```
pub fn spell_apart(first: &str, second: &str) -> [String; 2] {
    let keys = look_alike_keys(second);
    let alike = look_alike_keys(first).iter().any(|key| keys.contains(key));
    [first, second].map(|name| match alike {
        true => name.escape_default().to_string(),
        false => printable(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_share_a_key() {
        let alike = |a: &str, b: &str| {
            let keys = look_alike_keys(b);
            look_alike_keys(a).iter().any(|key| keys.contains(key))
        };
        for (a, b) in [
            ("é", "e\u{301}"),
            ("cat", "cat "),
            ("cat", "cat\u{200b}"),
            ("cat", "c\u{200d}at"),
            ("a b", "a\u{a0}b"),
            // The escape of a line break, and the same characters in a name.
            ("a\nb", r"a\nb"),
        ] {
            assert!(alike(a, b), "{a:?} {b:?}");
        }
        for (a, b) in [("cat", "Cat"), ("e", "é"), ("ab", "a b"), ("1", "01")] {
            assert!(!alike(a, b), "{a:?} {b:?}");
        }
    }
}
