//! Preprocessing, step 3: loops marked `//@unroll` are unrolled.
//!
//! This does not change what a shader computes, but compilers keep private arrays in registers
//! only if every index is a constant.
//! A marked loop counts from zero to a number or a constant, and its closing brace has the
//! indentation of its `for`:
//!
//! ```text
//! for (var p = 0u; p < PIXELS; p++) { //@unroll
//!     sum[p] = vec4<f32>(0.0);
//! }
//! ```
//!
//! It becomes one block per iteration, with a number in place of the variable.

use super::constants::number;

/// The text with its marked loops unrolled; `constants` are the names that bounds may use.
///
/// # Panics
/// If a marked line does not begin such a loop: a bug in the shader.
pub(super) fn unroll(shader: &str, constants: &[(&str, u32)]) -> String {
    let lines: Vec<&str> = shader.lines().collect();
    let mut text = String::with_capacity(4 * shader.len());
    write_out(&lines, constants, &mut text);
    text
}

fn write_out(lines: &[&str], constants: &[(&str, u32)], text: &mut String) {
    let mut index = 0;
    while index < lines.len() {
        let line = lines[index];
        index += 1;
        let Some(head) = line.trim_end().strip_suffix("//@unroll") else {
            *text += line;
            text.push('\n');
            continue;
        };
        let (variable, bound) =
            loop_head(head.trim()).unwrap_or_else(|| panic!("`{line}` cannot be unrolled"));
        let count = count(bound, constants).unwrap_or_else(|| {
            panic!("`{line}`: the bound is neither a number nor a constant with a literal value")
        });
        let indent = &head[..head.len() - head.trim_start().len()];
        let end = format!("{indent}}}");
        let length = lines[index..]
            .iter()
            .position(|line| *line == end)
            .unwrap_or_else(|| panic!("`{line}`: no closing brace with its indentation"));
        for value in 0..count {
            let body: Vec<String> = lines[index..index + length]
                .iter()
                .map(|line| replace_word(line, variable, &format!("{value}u")))
                .collect();
            let body: Vec<&str> = body.iter().map(String::as_str).collect();
            *text += &format!("{indent}{{\n");
            write_out(&body, constants, text);
            *text += &format!("{end}\n");
        }
        index += length + 1;
    }
}

/// Variable and bound of `for (var i = 0u; i < BOUND; i++) {`.
fn loop_head(head: &str) -> Option<(&str, &str)> {
    let (variable, rest) = head.strip_prefix("for (var ")?.split_once(" = 0u; ")?;
    let bound = rest.strip_prefix(variable)?.strip_prefix(" < ")?;
    let (bound, rest) = bound.split_once("; ")?;
    (rest == format!("{variable}++) {{")).then_some((variable, bound))
}

fn count(bound: &str, constants: &[(&str, u32)]) -> Option<u32> {
    let constant = constants.iter().find(|(name, _)| *name == bound);
    constant.map(|&(_, value)| value).or_else(|| number(bound))
}

/// `text` with every identifier `word` replaced, except where it names a member.
fn replace_word(text: &str, word: &str, replacement: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let previous = before.chars().next_back().or(out.chars().next_back());
        let is_identifier =
            !previous.is_some_and(|c| is_part(c) || c == '.') && !after.starts_with(is_part);
        out.push_str(before);
        out.push_str(if is_identifier { replacement } else { word });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_loops_are_unrolled() {
        let shader = "\
for (var i = 0u; i < N; i++) { //@unroll
    for (var p = 0u; p < 2u; p++) { //@unroll
        a[i] += pi.p * f(p, i);
    }
}
for (var q = 0u; q < N; q++) {
}";
        let expected = "\
{
    {
        a[0u] += pi.p * f(0u, 0u);
    }
    {
        a[0u] += pi.p * f(1u, 0u);
    }
}
for (var q = 0u; q < N; q++) {
}
";
        assert_eq!(unroll(shader, &[("N", 1)]), expected);
    }

    #[test]
    #[should_panic(expected = "neither a number nor")]
    fn an_unknown_bound_is_a_mistake() {
        unroll("for (var i = 0u; i < N; i++) { //@unroll\n}", &[]);
    }
}
