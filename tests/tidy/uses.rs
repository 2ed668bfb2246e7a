//! Dependencies between the files of `src`, from `use` trees and paths in code, followed through
//! the re-exports of parent modules.

use std::collections::{BTreeMap, BTreeSet};

/// A module: its path below the crate, `["graph", "ops", "conv2d"]`.
type Module = Vec<String>;

/// The files of a crate by module, as code without comments and literals.
pub(crate) struct Crate {
    code: BTreeMap<Module, String>,
    /// By module: the names that it re-exports, and the modules that define them.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Crate {
    /// From pairs of a path below `src`, and code.
    pub(crate) fn new(files: impl IntoIterator<Item = (String, String)>) -> Crate {
        let code: BTreeMap<Module, String> = files
            .into_iter()
            .map(|(path, code)| (module(&path), code))
            .collect();
        let mut found = Crate {
            code,
            exports: BTreeMap::new(),
        };
        let modules: Vec<Module> = found.code.keys().cloned().collect();
        for module in modules {
            let mut exports = BTreeMap::new();
            for import in use_paths(&found.code[&module]) {
                let target = found.resolve(&module, &import.path);
                if let (Some(target), true) = (target, import.public) {
                    exports.insert(import.name, target);
                }
            }
            found.exports.insert(module, exports);
        }
        found
    }

    /// The modules that a module uses.
    fn edges(&self, from: &Module) -> BTreeSet<Module> {
        let code = &self.code[from];
        let uses = use_paths(code).into_iter().map(|import| import.path);
        let all = uses.chain(inline_paths(code));
        all.filter_map(|path| self.resolve(from, &path))
            .filter(|to| to != from)
            .collect()
    }

    /// The module that a path leads to.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut at = from.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => at = Module::new(),
            "self" => {}
            "super" => {
                at.pop()?;
            }
            first => {
                // A child of this module.
                at.push(first.to_owned());
                if !self.code.contains_key(&at) {
                    return None;
                }
            }
        }
        rest = &rest[1..];
        while rest.first().is_some_and(|word| word == "super") {
            at.pop()?;
            rest = &rest[1..];
        }
        for word in rest {
            let mut deeper = at.clone();
            deeper.push(word.clone());
            if self.code.contains_key(&deeper) {
                at = deeper;
            } else if let Some(target) = self.exports.get(&at).and_then(|e| e.get(word)) {
                at = target.clone();
            } else {
                break;
            }
        }
        Some(at)
    }

    /// Sets of files with cyclic dependencies, not counting those between a module and its
    /// descendants.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<String>> {
        let related = |a: &Module, b: &Module| a.starts_with(b) || b.starts_with(a);
        let reach: BTreeMap<&Module, BTreeSet<Module>> = self
            .code
            .keys()
            .map(|from| {
                let mut seen = BTreeSet::new();
                let mut next = vec![from.clone()];
                while let Some(at) = next.pop() {
                    for to in self.edges(&at) {
                        if !related(&at, &to) && seen.insert(to.clone()) {
                            next.push(to);
                        }
                    }
                }
                (from, seen)
            })
            .collect();
        let mut circles: Vec<BTreeSet<String>> = Vec::new();
        for (from, reached) in &reach {
            if reached.contains(*from) {
                let back = reached.iter().filter(|to| reach[to].contains(*from));
                circles.push(back.map(|module| module.join("::")).collect());
            }
        }
        circles.sort();
        circles.dedup();
        circles
    }
}

/// The module of a file below `src`.
fn module(path: &str) -> Module {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    match stem {
        "lib" => Module::new(),
        _ => stem.split('/').map(str::to_owned).collect(),
    }
}

/// One path of a `use`.
struct Import {
    path: Vec<String>,
    /// Its last word, or what follows `as`.
    name: String,
    /// Whether it is a re-export.
    public: bool,
}

/// Stands for ` as ` in a tree without white space.
const AS: char = '@';

/// Every path of every `use`, with braces expanded.
fn use_paths(code: &str) -> Vec<Import> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        let public = line.starts_with("pub");
        if !(line.is_empty() || public) {
            continue;
        }
        let tree = code[at + 4..].split(';').next().unwrap_or_default();
        let words: Vec<&str> = tree.split_whitespace().collect();
        let tree = words.join(" ").replace(" as ", &AS.to_string());
        expand(&tree.replace(' ', ""), &[], &mut |path, name| {
            found.push(Import { path, name, public });
        });
    }
    found
}

fn expand(tree: &str, before: &[String], found: &mut impl FnMut(Vec<String>, String)) {
    let mut path = before.to_vec();
    let mut rest = tree;
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = 0;
            let group = group.strip_suffix('}').unwrap_or(group);
            for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        if start < at {
                            expand(&group[start..at], &path, found);
                        }
                        start = at + 1;
                    }
                    _ => {}
                }
            }
            return;
        }
        match rest.split_once("::") {
            Some((word, deeper)) if !word.contains('{') => {
                path.push(word.to_owned());
                rest = deeper;
            }
            _ => {
                let (word, alias) = rest.split_once(AS).unwrap_or((rest, ""));
                if word != "self" {
                    path.push(word.to_owned());
                }
                let name = match alias {
                    "" => path.last().cloned().unwrap_or_default(),
                    alias => alias.to_owned(),
                };
                found(path, name);
                return;
            }
        }
    }
}

/// Paths in code that begin with `crate::` or `super::`.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c: char| !word(c));
    let paths = words.filter(|w| w.starts_with("crate::") || w.starts_with("super::"));
    paths
        .map(|path| path.split("::").map(str::to_owned).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<BTreeSet<String>> {
        let owned = files
            .iter()
            .map(|(p, c)| ((*p).to_owned(), (*c).to_owned()));
        Crate::new(owned).circles()
    }

    #[test]
    fn circles_are_found_also_through_re_exports() {
        let parent = ("a/mod.rs", "mod b;\nmod c;\npub use b::B;\npub use c::C;\n");
        let found = circles(&[
            parent,
            ("a/b.rs", "use super::{C, D};\n"),
            ("a/c.rs", "fn f() { super::b::g() }\n"),
        ]);
        let expected: BTreeSet<String> = ["a::b", "a::c"].map(str::to_owned).into();
        assert_eq!(found, std::slice::from_ref(&expected));
        // A new name hides no edge.
        let renamed = circles(&[
            ("a/mod.rs", "mod b;\nmod c;\npub use b::{B as Bee};\n"),
            ("a/b.rs", "use super::{c as sea, D};\n"),
            ("a/c.rs", "use super::Bee as _;\n"),
        ]);
        assert_eq!(renamed, found);
        // A parent and its children may use each other.
        let fine = [
            parent,
            ("a/b.rs", "use super::{C, D};\nuse crate::a;\n"),
            ("a/c.rs", "use super::D;\n"),
        ];
        assert!(circles(&fine).is_empty());
    }
}
