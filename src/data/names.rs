//! Names of classes that differ but look alike, such as the two Unicode normal forms of `é`.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

use crate::text::{is_unprintable, printable};

/// What identifies a name to a reader: two names that share a key look alike. One key is the
/// printed form, the other what remains without invisible characters and with single spaces; both
/// in the normal form NFC.
pub(super) fn look_alike_keys(name: &str) -> [String; 2] {
    let visible = name
        .chars()
        .filter(|c| c.is_whitespace() || !is_ignorable(*c));
    let visible: String = visible.nfc().collect();
    let words: Vec<&str> = visible.split_whitespace().collect();
    [printable(name).nfc().collect(), words.join(" ")]
}

/// Whether a character shows nothing by itself: those that are never printed, and the others of
/// Unicode's `Default_Ignorable_Code_Point`, such as joiners and variation selectors.
fn is_ignorable(c: char) -> bool {
    let ignorable = matches!(
        c,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200c}'..='\u{200d}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0080}'..='\u{e0fff}'
    );
    ignorable || is_unprintable(c)
}

/// The first name that looks like an earlier one, after that one, for one message.
///
/// ```
/// use pyr_wgpu::data::find_alike;
///
/// assert_eq!(find_alike(["cat", "dog"]), None);
/// let found = find_alike(["cat", "dog", "ca\u{ad}t"]);
/// assert_eq!(found, Some(["cat".to_owned(), r"ca\u{ad}t".to_owned()]));
/// ```
pub fn find_alike<Name: AsRef<str>>(names: impl IntoIterator<Item = Name>) -> Option<[String; 2]> {
    let mut earlier: Vec<Name> = Vec::new();
    let mut known = HashMap::new();
    for name in names {
        for key in look_alike_keys(name.as_ref()) {
            let twin = *known.entry(key).or_insert(earlier.len());
            if let Some(twin) = earlier.get(twin) {
                return Some(spell_apart(twin.as_ref(), name.as_ref()));
            }
        }
        earlier.push(name);
    }
    None
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
            ("cat", "c\u{ad}at"),
            ("cat", "\u{feff}cat"),
            ("cat", "cat\u{200e}"),
            ("☃", "☃\u{fe0f}"),
            ("é", "e\u{34f}\u{301}"),
            ("a b", "a\u{a0}b"),
            ("a b", "a \u{200b} b"),
            ("a b", "a\u{2028}b"),
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
