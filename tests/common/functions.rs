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
        let called = |other: &&String| source[range.clone()].contains(&format!("{other}("));
        next.extend(all.keys().filter(called).cloned());
        reached.insert(name, range);
    }
    reached
}
