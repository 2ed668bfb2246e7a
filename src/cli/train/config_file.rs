//! `--config`: a file of flags, over which those of the command line win.
//!
//! Its keys are the long names of flags, with hyphens or underscores; paths are relative to the
//! current directory, as those of flags are. A file with the tables `network` and `recipe` is the
//! configuration of a run, as `--print-config` and run directories write it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args as _, FromArgMatches};
use serde_json::{Map, Value};

use super::super::error::CliError;
use super::args::Args;
use crate::data::DatasetKind;
use crate::files::{self, LARGEST_TEXT};
use crate::run::{Config, parse_toml, unknown_key};
use crate::text::{printable, printable_path};
use crate::train::Schedule;

/// Flags that say where others come from, those of a resumed run, which has its own file, and what is
/// used before a file is read.
const NOT_IN_FILES: [&str; 6] = [
    "config",
    "print-config",
    "resume",
    "allow",
    "help",
    "rank-timeout",
];

/// Flags of a file that a flag of another name replaces: those that cannot be given with it, and
/// those that say more of what it replaces.
fn replaced(file: &Map<String, Value>, given: &ArgMatches) -> Vec<&'static str> {
    let mut names = Vec::new();
    match given.get_one::<Schedule>("schedule") {
        None if is_given(given, "milestones") => names.extend(["schedule", "power"]),
        None => {}
        Some(Schedule::Step) => names.push("power"),
        Some(Schedule::Cosine) => names.extend(["milestones", "power"]),
        Some(Schedule::Polynomial) => names.push("milestones"),
    }
    let rows: [(&str, &[&str]); 5] = [
        ("device", &["devices", "shares"]),
        ("devices", &["device", "shares"]),
        ("augmentation", &["no-augment"]),
        ("no_augment", &["augmentation"]),
        ("preset", &["reset-classifier", "freeze-until"]),
    ];
    for (flag, others) in rows {
        if is_given(given, flag) {
            names.extend(others);
        }
    }
    let dataset = given.get_one::<DatasetKind>("dataset");
    if dataset.is_some_and(|kind| file.get("dataset") != Some(&kind.to_string().into())) {
        names.extend(["data", "augmentation"]);
    }
    let devices = ["device", "devices"].into_iter();
    let devices = devices.filter(|name| is_given(given, name));
    let mut devices = devices
        .filter_map(|name| given.get_many::<String>(name))
        .flatten();
    if devices.clone().next().is_some() && devices.all(|device| device == "cpu") {
        names.extend(["backend", "checked", "tune", "choices", "retry"]);
    }
    // Memory is only what these choose by.
    let is_auto = |name| match given.get_raw(name) {
        Some(mut given) => given.any(|value| value == "auto"),
        None => file.get(&name.replace('_', "-")) == Some(&"auto".into()),
    };
    let choosing = ["micro_batch", "recompute"];
    if choosing.iter().any(|name| is_given(given, name)) && !choosing.iter().any(|n| is_auto(n)) {
        names.push("memory");
    }
    names
}

/// Whether a flag was given on the command line.
fn is_given(given: &ArgMatches, id: &str) -> bool {
    given.value_source(id) == Some(ValueSource::CommandLine)
}

/// The network's flags, and what replaces the network as a whole.
const NETWORK: &str = "Network";
const WHOLE_NETWORK: [&str; 2] = ["preset", "from"];

/// The arguments with those of their file, if they name one.
///
/// # Errors
/// If the file cannot be read, or says what the command line could not.
pub(super) fn read(args: Args) -> Result<Args, CliError> {
    match &args.files.config {
        None => Ok(args),
        // The parser's matches, which tell the flags that were given from defaults.
        Some(path) => extend(&path.clone(), args, std::env::args_os().skip(2).collect()),
    }
}

/// The arguments, parsed from `given`, with those of a file.
fn extend(path: &Path, mut args: Args, given: Vec<OsString>) -> Result<Args, CliError> {
    let wrong =
        |cause: String| CliError::Usage(format!("--config {}: {cause}", printable_path(path)));
    let text = files::read_text(path, LARGEST_TEXT).map_err(|error| {
        wrong(format!(
            "{error}; name a TOML file, or the config.toml of a run"
        ))
    })?;
    let file: Value = parse_toml(&text).map_err(wrong)?;
    if ["network", "recipe"]
        .iter()
        .any(|key| file[key].is_object())
    {
        let config = Config::from_toml(&text).map_err(wrong)?;
        args.base = Some(Box::new(config));
        return Ok(args);
    }
    let parse = |arguments: Vec<OsString>| {
        let command = Args::augment_args(clap::Command::new("train").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments);
        matches.map_err(|error| {
            // What is wrong, and a list of flags if there is one.
            let text = error.to_string();
            let lines = text.lines().take_while(|line| !line.is_empty());
            let words: Vec<&str> = lines.map(str::trim).collect();
            wrong(printable(words.join(" ").trim_start_matches("error: ")))
        })
    };
    let mut arguments = flags(&file, &parse(given.clone())?).map_err(wrong)?;
    arguments.extend(given);
    let args = Args::from_arg_matches(&parse(arguments)?);
    args.map_err(|error| wrong(error.to_string()))
}

/// The flags of a file that the command line does not replace.
fn flags(file: &Value, given: &ArgMatches) -> Result<Vec<OsString>, String> {
    let command = Args::augment_args(clap::Command::new("train"));
    let known: BTreeMap<&str, &Arg> = command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?, arg)))
        .filter(|(name, _)| !NOT_IN_FILES.contains(name))
        .collect();
    let mut written = Map::new();
    for (key, value) in file.as_object().into_iter().flatten() {
        let name = key.replace('_', "-");
        if written.insert(name.clone(), value.clone()).is_some() {
            return Err(format!("`{name}` is given twice"));
        }
    }
    let replaced = replaced(&written, given);
    let names = known.keys().map(|name| ((*name).to_owned(), Value::Null));
    let written = Value::Object(written);
    if let Some((key, nearest)) = unknown_key(&written, &names.collect()) {
        let meant = nearest.map(|known| format!(" (did you mean `{known}`?)"));
        return Err(format!(
            "unknown key `{}`{}; keys are the names of the flags of `train`",
            printable(&key),
            meant.unwrap_or_default()
        ));
    }
    let is_given = |arg: &Arg| is_given(given, arg.get_id().as_str());
    let has_network = WHOLE_NETWORK.iter().any(|name| is_given(known[name]));
    let mut flags = Vec::new();
    for (name, value) in written.as_object().into_iter().flatten() {
        let arg = known[name.as_str()];
        let is_network =
            arg.get_help_heading() == Some(NETWORK) || WHOLE_NETWORK.contains(&name.as_str());
        if is_given(arg) || replaced.contains(&name.as_str()) || (has_network && is_network) {
            continue;
        }
        let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
        let flag = match (is_switch, value) {
            (true, Value::Bool(true)) => format!("--{name}"),
            (true, Value::Bool(false)) => continue,
            (true, _) => return Err(format!("`{name}` must be true or false")),
            // A flag whose value may be left out, such as `recompute`.
            (false, Value::Bool(on)) if takes_none(arg) => format!("--{name}={on}"),
            (false, Value::Array(items)) => {
                let items: Option<Vec<String>> = items.iter().map(word).collect();
                let items =
                    items.ok_or_else(|| format!("`{name}` has an item that is no value"))?;
                format!("--{name}={}", items.join(","))
            }
            (false, value) => {
                let word = word(value);
                format!(
                    "--{name}={}",
                    word.ok_or_else(|| format!("`{name}` needs a value"))?
                )
            }
        };
        flags.push(flag.into());
    }
    Ok(flags)
}

/// Whether the value of a flag may be left out.
fn takes_none(arg: &Arg) -> bool {
    let values = arg.get_num_args();
    values.is_some_and(|values| values.min_values() == 0)
}

/// A value as on the command line.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
