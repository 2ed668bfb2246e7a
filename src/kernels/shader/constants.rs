//! Preprocessing, step 2: constants.
//!
//! `const ROWS: u32 = 2u;` at module scope keeps its name and type and takes a variant's value.
//! Constants of type `u32`, `i32` and `bool` can be set.

/// A declaration `const NAME: TYPE = VALUE;` that starts its line.
struct Declaration<'a> {
    name: &'a str,
    ty: &'a str,
    value: &'a str,
}

fn declaration(line: &str) -> Option<Declaration<'_>> {
    let (name, rest) = line.strip_prefix("const ")?.split_once(": ")?;
    let (ty, value) = rest.split_once(" = ")?;
    let (value, _) = value.split_once(';')?;
    Some(Declaration { name, ty, value })
}

/// Sets the values of constants.
///
/// # Panics
/// If the text does not declare one of them, or declares it with a type that cannot be set: a
/// bug.
pub(super) fn specialize(text: &str, constants: &[(&str, u32)]) -> String {
    let mut specialized = String::with_capacity(text.len());
    let mut set = 0;
    for line in text.lines() {
        let found = declaration(line).and_then(|declared| {
            let given = constants.iter().find(|(name, _)| *name == declared.name);
            given.map(|(_, value)| (declared, *value))
        });
        match found {
            Some((Declaration { name, ty, .. }, value)) => {
                set += 1;
                let value = match ty {
                    "bool" => (value != 0).to_string(),
                    "i32" => format!("{value}i"),
                    "u32" => format!("{value}u"),
                    _ => panic!("`{line}`: no variant can set a constant of type {ty}"),
                };
                specialized += &format!("const {name}: {ty} = {value};");
            }
            None => specialized += line,
        }
        specialized.push('\n');
    }
    if set != constants.len() {
        let declares = |name: &str| text.lines().filter_map(declaration).any(|d| d.name == name);
        let lacking = constants.iter().find(|(name, _)| !declares(name));
        panic!("the shader declares {set} of {constants:?}: it lacks {lacking:?}");
    }
    specialized
}

/// The constants whose values are integer literals.
pub(super) fn numbers(text: &str) -> Vec<(&str, u32)> {
    let declarations = text.lines().filter_map(declaration);
    declarations
        .filter_map(|declared| Some((declared.name, number(declared.value)?)))
        .collect()
}

/// The value of a literal such as `4u`.
pub(super) fn number(literal: &str) -> Option<u32> {
    literal.strip_suffix('u')?.parse().ok()
}

/// Invocations of a workgroup: `@workgroup_size(64)`, or the name of a constant.
///
/// # Panics
/// If the text gives neither: a bug.
pub(super) fn workgroup(text: &str, numbers: &[(&str, u32)]) -> u32 {
    let after = text.split_once("@workgroup_size(").map(|(_, after)| after);
    let size = after.and_then(|after| Some(after.split_once(')')?.0));
    let found = size.and_then(|size| {
        let named = numbers.iter().find(|(name, _)| *name == size);
        named.map_or_else(|| size.parse().ok(), |(_, value)| Some(*value))
    });
    found.unwrap_or_else(|| panic!("@workgroup_size({size:?}) is neither number nor constant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_keep_their_type() {
        let text = "const TILE: u32 = 2u;\nconst FLIP: bool = false;\nlet TILE = 3;\n";
        let specialized = specialize(text, &[("TILE", 5), ("FLIP", 1)]);
        let expected = "const TILE: u32 = 5u;\nconst FLIP: bool = true;\nlet TILE = 3;\n";
        assert_eq!(specialized, expected);
        let twice = "const TILES: u32 = 2u * TILE;\n";
        assert_eq!(numbers(&(specialized + twice)), [("TILE", 5)]);
    }

    #[test]
    fn a_workgroup_is_a_number_or_a_constant() {
        let main = |size: &str| format!("@compute @workgroup_size({size})\nfn main() {{}}\n");
        assert_eq!(workgroup(&main("64"), &[("ROWS", 2)]), 64);
        assert_eq!(workgroup(&main("LANES"), &[("ROWS", 2), ("LANES", 8)]), 8);
    }

    #[test]
    #[should_panic(expected = r#"lacks Some(("TILE", 5))"#)]
    fn a_constant_must_be_declared() {
        specialize("const TILES: u32 = 2u;\n", &[("TILE", 5)]);
    }

    #[test]
    #[should_panic(expected = "type f32")]
    fn floats_cannot_be_set() {
        specialize("const RATE: f32 = 2.0;\n", &[("RATE", 5)]);
    }
}
