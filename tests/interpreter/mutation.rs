//! Changes of a kernel's text that should give it a fault: a barrier or a bounds guard less, an
//! index shifted, components exchanged.
//!
//! The text is that of a kernel with unrolled loops. A line of a file may occur in it several
//! times, with other numbers; a mutant changes all of them, as if the file were changed.

use std::collections::BTreeSet;

use crate::common::functions::functions;

/// What a mutant changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A barrier is deleted.
    Barrier,
    /// An index of a variable in shared memory grows by one.
    Index,
    /// A condition that compares is true, or false where it guards an early exit.
    Guard,
    /// A minimum is its first operand.
    Clamp,
    /// Quotient and remainder of an invocation's number, or the axes of a workgroup's, are
    /// exchanged.
    Component,
}

/// A change of a line, wherever it is between these two neighbours.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    pub(crate) function: String,
    pub(crate) kind: Kind,
    /// The line and its neighbours, without the numbers that unrolling puts in.
    context: [String; 3],
    /// Number of the change among those of the line.
    number: usize,
    /// What it changes, in its first place.
    pub(crate) change: String,
}

impl Mutant {
    /// What identifies it in the files.
    pub(crate) fn key(&self) -> (String, Kind, [String; 3], usize) {
        let Mutant {
            function,
            kind,
            context,
            number,
            ..
        } = self;
        (function.clone(), *kind, context.clone(), *number)
    }

    /// All mutants of the functions that a kernel's entry point reaches.
    pub(crate) fn all(source: &str) -> Vec<Mutant> {
        let shared = shared_variables(source);
        let mut seen = BTreeSet::new();
        let mut mutants = Vec::new();
        for (function, range) in functions(source) {
            let lines: Vec<&str> = source[range].lines().collect();
            for at in 0..lines.len() {
                let context = context_of(&lines, at);
                if !seen.insert((function.clone(), context.clone())) {
                    continue;
                }
                for (number, (kind, after)) in changes(&lines, at, &shared).into_iter().enumerate()
                {
                    let [before, after] = [lines[at], &after].map(str::trim);
                    let change = match kind {
                        Kind::Barrier => {
                            let [previous, _, next] = &context;
                            format!("no barrier between `{previous}` and `{next}`")
                        }
                        _ => format!("`{before}` is `{after}`"),
                    };
                    mutants.push(Mutant {
                        function: function.clone(),
                        kind,
                        context: context.clone(),
                        number,
                        change,
                    });
                }
            }
        }
        mutants
    }

    /// The changed text of a kernel; `None` if it has no such line.
    pub(crate) fn apply(&self, source: &str) -> Option<String> {
        let shared = shared_variables(source);
        let range = functions(source).remove(&self.function)?;
        let lines: Vec<&str> = source[range.clone()].lines().collect();
        let mut text = source[..range.start].to_owned();
        let mut changed = false;
        for (at, line) in lines.iter().enumerate() {
            let found = context_of(&lines, at) == self.context;
            let change = found.then(|| changes(&lines, at, &shared).into_iter().nth(self.number));
            match change.flatten() {
                Some((_, after)) => {
                    changed = true;
                    text += &after;
                }
                None => text += line,
            }
            text.push('\n');
        }
        text += &source[range.end..];
        changed.then_some(text)
    }
}

/// A line and its neighbours, without the numbers that unrolling puts in.
fn context_of(lines: &[&str], at: usize) -> [String; 3] {
    let line = |at: Option<usize>| at.and_then(|at| lines.get(at)).map_or("", |line| line);
    [at.checked_sub(1), Some(at), Some(at + 1)].map(|at| without_numbers(line(at)))
}

/// A line with each unsigned literal replaced.
fn without_numbers(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.trim();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let is_word = rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = rest[at..].find(|c: char| !c.is_ascii_digit());
        let end = length.map_or(rest.len(), |length| at + length);
        out += &rest[..at];
        match rest[end..].starts_with('u') && !is_word {
            true => out.push('#'),
            false => out += &rest[at..end],
        }
        rest = &rest[end..];
    }
    out + rest
}

/// The names of variables in workgroup memory and in storage buffers.
fn shared_variables(source: &str) -> Vec<&str> {
    let declared = source.lines().filter_map(|line| {
        let rest = line.split_once("var<workgroup> ").or_else(|| {
            let (_, rest) = line.split_once("var<storage")?;
            rest.split_once("> ")
        });
        rest?.1.split(':').next()
    });
    declared.collect()
}

/// The changes of a line, each with the whole line after it.
fn changes(lines: &[&str], at: usize, shared: &[&str]) -> Vec<(Kind, String)> {
    let line = lines[at];
    let code = line.split("//").next().unwrap_or_default();
    let mut all = Vec::new();
    if code.trim() == "workgroupBarrier();" {
        all.push((Kind::Barrier, String::new()));
    }
    for name in shared {
        for (start, _) in code.match_indices(&format!("{name}[")) {
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            let open = start + name.len();
            if code[..start].ends_with(is_part) {
                continue;
            }
            if let Some(close) = closing(code, open) {
                let index = &code[open + 1..close];
                let shifted = format!("{}({index}) + 1u{}", &line[..=open], &line[close..]);
                all.push((Kind::Index, shifted));
            }
        }
    }
    let next = lines.get(at + 1).map_or("", |line| line.trim());
    let dropped = match next.starts_with("return") || next.starts_with("continue") {
        true => "false",
        false => "true",
    };
    for (from, to) in conditions(code) {
        let changed = [&line[..from], dropped, &line[to..]].concat();
        all.push((Kind::Guard, changed));
    }
    // Minima of vectors are arithmetic.
    let minima = code
        .match_indices("min(")
        .filter(|_| !code.contains("vec4<u32>("));
    for (start, _) in minima {
        let close = closing(code, start + 3);
        let comma =
            close.and_then(|close| top_level(&code[start + 4..close], ", ").first().copied());
        if let (Some(close), Some(comma)) = (close, comma) {
            let first = &code[start + 4..start + 4 + comma];
            let changed = format!("{}({first}){}", &line[..start], &line[close + 1..]);
            all.push((Kind::Clamp, changed));
        }
    }
    for [one, other] in [["local %", "local /"], ["lane %", "lane /"]] {
        all.extend(exchanged(line, one, other).map(|changed| (Kind::Component, changed)));
    }
    for name in ["group", "workgroup"] {
        let axes = ["x", "y"].map(|axis| format!("{name}.{axis}"));
        let changed = exchanged(line, &axes[0], &axes[1]);
        all.extend(changed.map(|changed| (Kind::Component, changed)));
    }
    all
}

/// The line with two words exchanged, if it has one of them.
fn exchanged(line: &str, one: &str, other: &str) -> Option<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let alone = |word: &str| {
        let mut places = line.match_indices(word);
        places.all(|(at, _)| !line[..at].ends_with(is_part))
    };
    let changed = line
        .replace(one, "\0")
        .replace(other, one)
        .replace('\0', other);
    (changed != line && alone(one) && alone(other)).then_some(changed)
}

/// The comparisons of a line that decide something: the parts of conditions between `&&`, of `if`,
/// of named conditions, and of selections.
fn conditions(code: &str) -> Vec<(usize, usize)> {
    let trimmed = code.trim_end();
    let start = code.len() - code.trim_start().len();
    let body = &code[start..];
    let is_if = body.contains("if ") && trimmed.ends_with('{');
    let range = if let Some(at) = body.find("if ").filter(|_| is_if) {
        start + at + 3..trimmed.len() - 2
    } else if body.starts_with("let ") && trimmed.ends_with(';') {
        let Some(at) = code.find(" = ") else {
            return Vec::new();
        };
        let value = at + 3..trimmed.len() - 1;
        match code[value.clone()].starts_with("select(") {
            true => match top_level(&code[value.start + 7..value.end - 1], ", ").last() {
                Some(comma) => value.start + 7 + comma + 2..value.end - 1,
                None => return Vec::new(),
            },
            false => value,
        }
    } else {
        return Vec::new();
    };
    let condition = &code[range.clone()];
    let mut ends = top_level(condition, " && ");
    ends.push(condition.len());
    let mut from = 0;
    let mut parts = Vec::new();
    for end in ends {
        parts.push((range.start + from, range.start + end));
        from = end + 4;
    }
    // Bounds are integers. Which invocation, row or column it is can be an equality too.
    let compares = |part: &(usize, usize)| {
        let text = &code[part.0..part.1];
        let has = |operator: &str| !top_level(text, operator).is_empty();
        let bounds = [" < ", " <= ", " > ", " >= "].into_iter().any(has) && !text.contains(".0");
        let owner = ["lane", "line", "local"]
            .iter()
            .any(|name| text.starts_with(name));
        bounds || is_if && owner && has(" == ")
    };
    parts.into_iter().filter(compares).collect()
}

/// Where a text is that is not in parentheses or brackets.
fn top_level(text: &str, wanted: &str) -> Vec<usize> {
    let mut depth = 0;
    let mut found = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ if depth == 0 && text[at..].starts_with(wanted) => found.push(at),
            _ => {}
        }
    }
    found
}

/// Where the parenthesis or bracket ends that opens at `open`.
fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(open + at);
        }
    }
    None
}

const SOURCE: &str = "\
var<workgroup> tile: array<u32, 8>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
fn main(local: u32) {
    if local < 8u && (FLAG || local > 9u) {
        tile[local % 4u] = min(f(1u, local), 5u);
    }
    {
        workgroupBarrier();
        y[0u] = tile[local];
    }
    {
        workgroupBarrier();
        y[1u] = tile[local];
    }
    if local >= 8u {
        return;
    }
}
";

#[test]
fn mutants_change_every_copy_of_a_line() {
    let mutants = Mutant::all(SOURCE);
    let changes = mutants.iter().map(|m| (m.kind, m.change.as_str()));
    let condition = "`if local < 8u && (FLAG || local > 9u) {`";
    let index = "`tile[local % 4u] = min(f(1u, local), 5u);`";
    let expected = [
        (
            Kind::Guard,
            &*format!("{condition} is `if true && (FLAG || local > 9u) {{`"),
        ),
        (
            Kind::Index,
            &*format!("{index} is `tile[(local % 4u) + 1u] = min(f(1u, local), 5u);`"),
        ),
        (
            Kind::Clamp,
            &*format!("{index} is `tile[local % 4u] = (f(1u, local));`"),
        ),
        (
            Kind::Component,
            &*format!("{index} is `tile[local / 4u] = min(f(1u, local), 5u);`"),
        ),
        (
            Kind::Barrier,
            "no barrier between `{` and `y[#u] = tile[local];`",
        ),
        (
            Kind::Index,
            "`y[0u] = tile[local];` is `y[0u] = tile[(local) + 1u];`",
        ),
        (
            Kind::Index,
            "`y[0u] = tile[local];` is `y[(0u) + 1u] = tile[local];`",
        ),
        (Kind::Guard, "`if local >= 8u {` is `if false {`"),
    ];
    assert_eq!(changes.collect::<Vec<_>>(), expected);
    let barrier = &mutants[4];
    let changed = barrier.apply(SOURCE).unwrap();
    assert_eq!(changed.matches("workgroupBarrier").count(), 0);
    let index = mutants[6].apply(SOURCE).unwrap();
    assert!(
        index.contains("y[(0u) + 1u]") && index.contains("y[(1u) + 1u]"),
        "{index}"
    );
}
