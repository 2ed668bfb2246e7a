//! Values of options: pairs of flag and value, lists of names, numbers.

/// The flags of a command with their values.
///
/// # Errors
/// If a flag is not known or lacks its value.
pub(crate) fn pairs<'a>(
    command: &str,
    help: &str,
    known: &[&str],
    arguments: &[&'a str],
) -> Result<Vec<(&'a str, &'a str)>, String> {
    let wrong = |what: String| Err(format!("{what}\n\n{}", help.trim_end()));
    let mut found = Vec::new();
    let mut words = arguments.iter();
    while let Some(&flag) = words.next() {
        if !known.contains(&flag) {
            return wrong(format!("{command} has no option `{flag}`"));
        }
        match words.next() {
            Some(&value) => found.push((flag, value)),
            None => return wrong(format!("{flag} lacks its value")),
        }
    }
    Ok(found)
}

/// The things that a list of names means, in the order of the table and each once.
///
/// # Errors
/// If one is not in the table.
pub(crate) fn named<T>(
    flag: &str,
    list: &str,
    all: &'static [T],
    name: impl Fn(&T) -> &'static str,
) -> Result<Vec<&'static T>, String> {
    let wanted: Vec<&str> = list.split(',').map(str::trim).collect();
    let legal: Vec<&str> = all.iter().map(&name).collect();
    match wanted.iter().find(|word| !legal.contains(word)) {
        Some(word) => Err(format!(
            "{flag} knows no `{word}`; there are {}",
            legal.join(", ")
        )),
        None => Ok(all.iter().filter(|it| wanted.contains(&name(it))).collect()),
    }
}

/// A number above zero.
///
/// # Errors
/// If the word is none, or there is no such number of the type.
pub(crate) fn positive<T>(flag: &str, word: &str) -> Result<T, String>
where
    T: std::str::FromStr + Into<f64> + Copy,
{
    let number = word.parse::<T>().ok();
    let legal = |number: &T| (*number).into() > 0.0 && (*number).into().is_finite();
    number
        .filter(legal)
        .ok_or_else(|| format!("{flag} {word} is not a number above zero that it could take"))
}
