//! Reading Rust by text: code without comments and literals, and the paths that it names.
//!
//! A parser would be a dependency many times the size of these checks. They only need to tell
//! code from comments and literals, and to follow `use` trees one level down.

/// The code of a Rust file: comments and the insides of literals become spaces, lines stay.
pub(crate) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = literal_end(&chars, i);
        if end == i {
            out.push(chars[i]);
            i += 1;
        } else {
            let blank = |c: &char| if *c == '\n' { '\n' } else { ' ' };
            out.extend(chars[i..end].iter().map(blank));
            i = end;
        }
    }
    out
}

/// The end of the comment or literal that starts at `start`; `start` itself if none does.
fn literal_end(chars: &[char], start: usize) -> usize {
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let starts_word = start == 0 || !word_character(at(start - 1));
    match (at(start), at(start + 1)) {
        ('/', '/') => {
            let length = chars[start..].iter().position(|c| *c == '\n');
            length.map_or(chars.len(), |length| start + length)
        }
        ('/', '*') => block_comment_end(chars, start),
        ('"', _) => text_end(chars, start + 1),
        ('b', '"') if starts_word => text_end(chars, start + 2),
        ('r', '"' | '#') if starts_word => raw_text_end(chars, start, start + 1),
        ('b', 'r') if starts_word => raw_text_end(chars, start, start + 2),
        // A character, not a lifetime: it closes after one character or an escape.
        ('\'', '\\') => {
            let close = (start + 3..chars.len()).find(|i| at(*i) == '\'');
            close.map_or(chars.len(), |close| close + 1)
        }
        ('\'', _) if at(start + 2) == '\'' => start + 3,
        _ => start,
    }
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut i = start;
    while i < chars.len() {
        match chars[i..] {
            ['/', '*', ..] => depth += 1,
            ['*', '/', ..] => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn text_end(chars: &[char], inside: usize) -> usize {
    let mut i = inside;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn raw_text_end(chars: &[char], start: usize, fence: usize) -> usize {
    let hashes = chars[fence..].iter().take_while(|c| **c == '#').count();
    let inside = fence + hashes + 1;
    if chars.get(inside - 1) != Some(&'"') {
        return start; // `r#type` and words that start with br
    }
    let closes = |i: &usize| {
        chars[*i] == '"'
            && chars[i + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    };
    (inside..chars.len())
        .find(closes)
        .map_or(chars.len(), |i| i + 1 + hashes)
}

fn word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Positions of a word, not counting those inside longer words.
fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = code[..*at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            !before.is_some_and(word_character) && !after.is_some_and(word_character)
        })
}

/// The names that follow `root::` in the code, `use` braces opened: `crate::{a::B, c}` has
/// `a` and `c`.
pub(crate) fn names_below(code: &str, root: &str) -> Vec<String> {
    let mut names = Vec::new();
    for at in places(code, root) {
        let rest = code[at + root.len()..].trim_start();
        let Some(rest) = rest.strip_prefix("::") else {
            continue;
        };
        let rest = rest.trim_start();
        match rest.strip_prefix('{') {
            Some(tree) => names.extend(branches(tree)),
            None => names.extend(first_word(rest)),
        }
    }
    names
}

/// The first word of each branch of a `use` tree, up to its closing brace.
fn branches(tree: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 1;
    let mut branch_starts = true;
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => branch_starts = depth == 1,
            _ if branch_starts && word_character(c) => {
                names.extend(first_word(&tree[at..]));
                branch_starts = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| word_character(*c)).collect();
    (!word.is_empty()).then_some(word)
}

/// Whether the code names an external crate: `name::…` at the start of a path, `use name;` or
/// `use name as …`.
pub(crate) fn names_crate(code: &str, name: &str) -> bool {
    places(code, name).any(|at| {
        let before = code[..at].trim_end();
        let after = code[at + name.len()..].trim_start();
        let starts_path = !before.ends_with("::") || before.ends_with("use ::");
        let used = before.ends_with("use") && (after.starts_with(';') || after.starts_with("as "));
        starts_path && !before.ends_with('.') && (after.starts_with("::") || used)
    })
}

/// The largest number of consecutive `super`.
pub(crate) fn supers(code: &str) -> usize {
    let chain = |at: usize| {
        let mut rest = &code[at..];
        let mut count = 0;
        while let Some(after) = rest.strip_prefix("super") {
            count += 1;
            rest = after.trim_start();
            rest = rest.strip_prefix("::").unwrap_or(rest).trim_start();
        }
        count
    };
    places(code, "super").map(chain).max().unwrap_or(0)
}

#[test]
fn comments_and_literals_are_blanked() {
    let check = |text: &str, expected: &str| assert_eq!(code(text), expected, "{text}");
    check("a // gpu\nb", "a       \nb");
    check("a /* x /* y */ z */ b", "a                   b");
    check(r#"f("crate::gpu \" q", x)"#, "f(                 , x)");
    check("r#\"crate::\"gpu\"#+r#type", "                +r#type");
    check("br\"x\"; b\"y\"", "     ;     ");
    check("'\"' + '\\'' + '\\u{41}'", "    +      +         ");
    check("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
    check("for\"x\"", "for   ");
}

#[test]
fn names_of_rooms_are_found() {
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(names_below(text, "crate"), expected, "{text}");
    };
    check("use crate::gpu::{Gpu, adapter};", &["gpu"]);
    check(
        "use crate::{gpu::{self, X}, graph::Y, kernels};",
        &["gpu", "graph", "kernels"],
    );
    check("let x = crate :: shape::Shape;", &["shape"]);
    check("pub(crate) fn f(); my_crate::gpu", &[]);
    check(
        "use crate::{\n    a,\n    b::{c, d},\n}; use x::{gpu};",
        &["a", "b"],
    );
}

#[test]
fn external_crates_are_found() {
    for text in [
        "use image::Rgb;",
        "fn f(x: image::Rgb)",
        "use image;",
        "use image as i;",
        "(::image::X)",
    ] {
        let expected = !text.starts_with('(');
        assert_eq!(names_crate(text, "image"), expected, "{text}");
    }
    for text in [
        "data::image::Rgb",
        "let image = 1;",
        "x.image",
        "my_image::X",
        "image: &[u8]",
    ] {
        assert!(!names_crate(text, "image"), "{text}");
    }
}

#[test]
fn supers_are_counted() {
    assert_eq!(supers("use super::super::graph; use super::x;"), 2);
    assert_eq!(supers("pub(super) fn superb() {}"), 1);
    assert_eq!(supers("fn f() {}"), 0);
}
