//! Names of classes and files as text for people.
//!
//! A folder may have any name, and a checkpoint from a stranger any class. A line break would add
//! a line to a table or to `classes.txt`, and an escape sequence would control the terminal, so
//! every name passes [`printable`] before it is printed or written to a file of lines. JSON keeps
//! names as they are, since it has escapes of its own.
//!
//! Names that differ but look alike, such as the two Unicode normal forms of `é`, are detected
//! natively only: the browser opens no folders.

#[cfg(not(target_arch = "wasm32"))]
use std::ffi::OsStr;
use std::path::Path;

#[cfg(not(target_arch = "wasm32"))]
use unicode_normalization::UnicodeNormalization;

/// A name for a message, a table or a line of a file: control characters, characters that change
/// the direction of text, and invisible ones are escaped.
///
/// ```
/// use pyr_wgpu::data::printable;
///
/// assert_eq!(printable("grey wolf, Löwe"), "grey wolf, Löwe");
/// assert_eq!(printable("a\nb\u{1b}[2J"), r"a\nb\u{1b}[2J");
/// ```
pub fn printable(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match is_unprintable(c) {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
    }
    text
}

/// A path for a message; bytes that are not UTF-8 become `\xFF`.
pub(super) fn printable_path(path: &Path) -> String {
    printable(&text(path.as_os_str().as_encoded_bytes()))
}

/// The text of a file name; bytes that are not UTF-8 become `\xFF`, so that different names stay
/// different.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn name_of(file: &OsStr) -> String {
    text(file.as_encoded_bytes())
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

/// Control characters, line separators, and characters that are invisible or reorder the text.
/// Joiners are not among them: scripts and emoji need them.
fn is_unprintable(c: char) -> bool {
    let format = matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    c.is_control() || format
}

/// What identifies a name to a reader: two names that share a key look alike. One key is the
/// printed form, the other what remains without invisible characters and with single spaces; both
/// in the normal form NFC.
#[cfg(not(target_arch = "wasm32"))]
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
#[cfg(not(target_arch = "wasm32"))]
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
    fn only_what_cannot_be_shown_is_escaped() {
        for (name, printed) in [
            ("cat", "cat"),
            ("Hauskatze (männlich)", "Hauskatze (männlich)"),
            ("e\u{301}", "e\u{301}"),
            // A family of three persons is one glyph through joiners.
            ("👨\u{200d}👩\u{200d}👧", "👨\u{200d}👩\u{200d}👧"),
            ("a\tb\r\n", r"a\tb\r\n"),
            ("\u{1b}[31mred", r"\u{1b}[31mred"),
            ("txt\u{202e}gpj", r"txt\u{202e}gpj"),
            ("cat\u{200b}", r"cat\u{200b}"),
            ("a\u{85}b", r"a\u{85}b"),
        ] {
            assert_eq!(printable(name), printed);
        }
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf8_stay_different() {
        use std::os::unix::ffi::OsStrExt;
        let names = [b"caf\xe9", b"caf\xe8"].map(|bytes| name_of(OsStr::from_bytes(bytes)));
        assert_eq!(names, [r"caf\xE9", r"caf\xE8"]);
    }

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
