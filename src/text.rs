//! Untrusted text in messages: names of files, classes and tensors, and strings in files.
//!
//! A file may have any name, and a checkpoint any class. A line break would add a
//! line to a table or to `classes.txt`, and an escape sequence would control the terminal, so
//! every name passes [`printable`] or [`printable_path`] before it is printed or written to a file
//! of lines. The command line escapes once more whatever it prints, except line breaks
//! ([`printable_lines`]).

use std::ffi::OsStr;
use std::path::Path;

/// A name for a message, a table or a line of a file: control characters, characters that change
/// the direction of text, and invisible ones are escaped. What is escaped already stays the same.
///
/// ```
/// use pyr_wgpu::text::printable;
///
/// assert_eq!(printable("grey wolf, Löwe"), "grey wolf, Löwe");
/// assert_eq!(printable("a\nb\u{1b}[2J"), r"a\nb\u{1b}[2J");
/// ```
pub fn printable(name: &str) -> String {
    escaped(name, |c, text| text.extend(c.escape_default()))
}

/// A path for a message; bytes that are not UTF-8 become `\xFF`.
pub fn printable_path(path: &Path) -> String {
    printable(&name_of(path.as_os_str()))
}

/// As [`printable`], but keeps line breaks.
pub fn printable_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// A JSON document with the escapes of JSON for what [`printable`] escapes: JSON itself requires
/// them for the control characters of ASCII only.
pub fn printable_json(document: &str) -> String {
    escaped(document, |c, text| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unprintable(c) {
            true => escape(c, &mut result),
            false => result.push(c),
        }
    }
    result
}

/// The text of a file name, not yet printable; bytes that are not UTF-8 become `\xFF`, so that
/// different names stay different.
pub fn name_of(file: &OsStr) -> String {
    let bytes = file.as_encoded_bytes();
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        push_bytes(&mut text, chunk.invalid());
    }
    text
}

fn push_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02X}"));
    }
}

/// A path as an argument of a command that the user can paste into a shell.
pub fn quoted(path: &Path) -> String {
    let mut text = printable_path(path);
    let is_escaped = path.to_str() != Some(&text);
    if text.starts_with('-') {
        // Not a flag.
        text.insert_str(0, "./");
    }
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%~".contains(c);
    match !text.is_empty() && !text.starts_with('~') && text.chars().all(plain) {
        true => text,
        false if cfg!(windows) => format!("\"{text}\""),
        false if is_escaped => format!("$'{}'", shell_escaped(path)),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The contents of the shell's `$'…'`, in which escapes stand for bytes.
fn shell_escaped(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let mut text = String::from(if bytes.starts_with(b"-") { "./" } else { "" });
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '\\' => text.extend(['\\', c]),
                _ if is_unprintable(c) => push_bytes(&mut text, c.to_string().as_bytes()),
                _ => text.push(c),
            }
        }
        push_bytes(&mut text, chunk.invalid());
    }
    text
}

/// The first few of `count` names, and how many more there are: `a, b and 3 more`.
///
/// ```
/// use pyr_wgpu::text::first_few;
///
/// let named = ["a".to_owned(), "b".to_owned()];
/// assert_eq!(first_few(&named, 2), "a, b");
/// assert_eq!(first_few(&named, 5), "a, b and 3 more");
/// ```
pub fn first_few(named: &[String], count: usize) -> String {
    let list = named.join(", ");
    match count - named.len() {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}

/// Control characters, line separators, and characters that are invisible or reorder the text.
/// Joiners are not among them: scripts and emoji need them.
pub fn is_unprintable(c: char) -> bool {
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
            assert_eq!(printable(printed), printed);
        }
        assert_eq!(printable_lines("a\n\u{1b}b\n"), "a\n\\u{1b}b\n");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = serde_json::json!({"a\u{9b}31m": "\u{1b}\n\u{202e}\u{e0041}é"});
        let text = printable_json(&value.to_string());
        assert!(!text.chars().any(is_unprintable), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, value);
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf8_stay_different() {
        use std::os::unix::ffi::OsStrExt;
        let names = [b"caf\xe9", b"caf\xe8"].map(|bytes| name_of(OsStr::from_bytes(bytes)));
        assert_eq!(names, [r"caf\xE9", r"caf\xE8"]);
    }

    #[cfg(unix)]
    #[test]
    fn paths_are_quoted_for_the_shell() {
        use std::os::unix::ffi::OsStrExt;
        for (path, expected) in [
            (&b"runs/demo-1"[..], "runs/demo-1"),
            (b"my runs/a", "'my runs/a'"),
            (b"it's; rm -rf $HOME", r"'it'\''s; rm -rf $HOME'"),
            ("bücher".as_bytes(), "bücher"),
            (b"", "''"),
            (b"-dash", "./-dash"),
            (b"~home", "'~home'"),
            (b"a\x1b[2J\n", r"$'a\x1B[2J\x0A'"),
            (b"-it's\xff \\", r"$'./-it\'s\xFF \\'"),
            ("txt\u{202e}gpj".as_bytes(), r"$'txt\xE2\x80\xAEgpj'"),
        ] {
            let path = Path::new(OsStr::from_bytes(path));
            assert_eq!(quoted(path), expected);
        }
    }

    /// A shell that knows `$'…'` reads the name back.
    #[cfg(unix)]
    #[test]
    fn the_shell_reads_quoted_paths_back() {
        use std::os::unix::ffi::OsStrExt;
        let name = b"it's\x1b[31m\n\xff \\x41 \xe2\x80\xae";
        let path = Path::new(OsStr::from_bytes(name));
        let script = format!("printf %s {}", quoted(path));
        let Ok(output) = std::process::Command::new("bash")
            .args(["-c", &script])
            .output()
        else {
            println!("there is no bash here");
            return;
        };
        assert_eq!(output.stdout, name);
    }
}
