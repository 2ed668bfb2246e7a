//! The functions of a kernel, by its text.

use std::collections::BTreeMap;
use std::ops::Range;

/// The functions of a kernel that its entry point reaches, with the ranges of their text.
pub fn functions(source: &str) -> BTreeMap<String, Range<usize>> {
    let mut all = BTreeMap::new();
    for (start, _) in source.match_indices("fn ") {
        let is_first = start == 0 || source[..start].ends_with(['\n', ' ']);
        let length = source[start..].find("\n}\n").map(|length| length + 3);
        if let (true, Some(length)) = (is_first, length) {
            let name = source[start + 3..].split('(').next().unwrap_or_default();
            all.insert(name.to_owned(), start..start + length);
        }
    }
    let mut reached = BTreeMap::new();
    let mut next = vec!["main".to_owned()];
    while let Some(name) = next.pop() {
        let Some(range) = all.remove(&name) else {
            continue;
        };
        let text = &source[range.clone()];
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let called = |other: &&String| {
            let call = format!("{other}(");
            let mut calls = text.match_indices(&call);
            calls.any(|(at, _)| !text[..at].ends_with(is_part))
        };
        next.extend(all.keys().filter(called).cloned());
        reached.insert(name, range);
    }
    reached
}
