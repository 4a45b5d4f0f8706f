//! Strict TOML: reading, `--set a.b=c`, merging, and errors that name the nearest known key.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{Error, Result};

/// Reads a TOML file as a table.
pub fn read_table(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
    text.parse().map_err(|e| Error::Config(format!("{}: {e}", path.display())))
}

/// Sets `key.path=value` in a table, as `--set` does. The value is TOML; what is not valid TOML is
/// taken as text, so `--set encoder.preset=lstm` needs no quotes.
pub fn set(table: &mut Table, assignment: &str) -> Result<()> {
    let Some((path, text)) = assignment.split_once('=') else {
        return Err(malformed(assignment));
    };
    let path = path.trim();
    if path.split('.').any(str::is_empty) {
        return Err(malformed(assignment));
    }
    let value = match format!("v = {text}").parse::<Table>() {
        Ok(mut parsed) => parsed.remove("v").unwrap_or(Value::Boolean(true)),
        Err(_) => Value::String(text.to_string()),
    };
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut at = table;
    for key in keys {
        let entry = at.entry(key).or_insert_with(|| Value::Table(Table::new()));
        at = entry.as_table_mut().ok_or_else(|| {
            Error::Assignment(format!("--set {assignment}: {key} is a value, not a table of settings"))
        })?;
    }
    at.insert(last.to_string(), value);
    Ok(())
}

fn malformed(assignment: &str) -> Error {
    Error::Assignment(format!("--set {assignment}: expected key.path=value, as in train.epochs=3"))
}

/// Lays `over` on `base`: tables merge key by key, except that naming another variant of a choice
/// (`{ lstm = .. }` over `{ attention = .. }`) replaces it.
pub fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if !is_other_variant(old, new) => merge(old, new),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn is_other_variant(old: &Table, new: &Table) -> bool {
    old.len() == 1 && new.len() == 1 && old.keys().next() != new.keys().next()
}

/// Turns a table into a config; `place` names it in errors, as in `[train]`.
pub fn parse<T: DeserializeOwned>(table: Table, place: &str) -> Result<T> {
    T::deserialize(Value::Table(table))
        .map_err(|e| Error::Config(format!("{place}: {}{}", explain(e.message()), key_of(&e.to_string()))))
}

/// Where in the table, which the parser says on a line of its own.
fn key_of(error: &str) -> String {
    let key = error.lines().find_map(|line| line.trim().strip_prefix("in `")?.strip_suffix('`'));
    key.map(|key| format!(" (in {key})")).unwrap_or_default()
}

/// Adds the nearest known name to the parser's list of what it expected.
fn explain(message: &str) -> String {
    let message = message.trim();
    let quoted =
        |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_string).collect() };
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return message.to_string();
    }
    let names = quoted(message);
    let Some((unknown, known)) = names.split_first() else { return message.to_string() };
    let what = if message.starts_with("unknown field") { "key" } else { "choice" };
    match nearest(unknown, known.iter().map(String::as_str)) {
        Some(name) => format!("unknown {what} `{unknown}`; did you mean `{name}`?"),
        None => format!("unknown {what} `{unknown}`; known: {}", known.join(", ")),
    }
}

/// The known name most like an unknown one, if any is like it.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Short names differ much by one slip, so a single slip (two letters swapped, say) always counts.
    let likeness = |name: &str| match strsim::osa_distance(unknown, name) {
        0 | 1 => 1.0,
        _ => strsim::jaro_winkler(unknown, name),
    };
    known
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Train {
        epochs: usize,
        batch_tokens: Option<usize>,
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one() {
        let table: Table = "epochs = 3\nbatch_token = 4".parse().unwrap();
        let error = parse::<Train>(table, "[train]").unwrap_err().to_string();
        assert_eq!(error, "[train]: unknown key `batch_token`; did you mean `batch_tokens`?");
        let table: Table = "epochs = 3\nzzz = 4".parse().unwrap();
        let error = parse::<Train>(table, "[train]").unwrap_err().to_string();
        assert_eq!(error, "[train]: unknown key `zzz`; known: epochs, batch_tokens");
    }

    #[test]
    fn a_value_of_a_wrong_type_is_told_with_its_key() {
        let table: Table = "epochs = \"three\"".parse().unwrap();
        let error = parse::<Train>(table, "[train]").unwrap_err().to_string();
        assert!(error.contains("[train]: invalid type") && error.contains("epochs"), "{error}");
    }

    #[test]
    fn set_takes_toml_values_and_plain_text() {
        let mut table: Table = "[train]\nepochs = 1".parse().unwrap();
        for assignment in
            ["train.epochs=3", "encoder.preset=lstm", "data.train=some/file.jsonl", "a.b.c=[1, 2]"]
        {
            set(&mut table, assignment).unwrap();
        }
        assert_eq!(table["train"]["epochs"].as_integer(), Some(3));
        assert_eq!(table["encoder"]["preset"].as_str(), Some("lstm"));
        assert_eq!(table["a"]["b"]["c"].as_array().map(Vec::len), Some(2));
        assert!(set(&mut table, "train.epochs").unwrap_err().to_string().contains("key.path=value"));
        assert!(set(&mut table, "train.=1").unwrap_err().to_string().contains("key.path=value"));
        assert!(set(&mut table, "train.epochs.x=1").unwrap_err().to_string().contains("epochs is a value"));
    }

    #[test]
    fn another_variant_replaces_and_the_same_one_merges() {
        let mut base: Table = "[mixer.attention]\nheads = 12\nkey_size = 64".parse().unwrap();
        merge(&mut base, &"[mixer.attention]\nheads = 4".parse().unwrap());
        assert_eq!(base["mixer"]["attention"]["heads"].as_integer(), Some(4));
        assert_eq!(base["mixer"]["attention"]["key_size"].as_integer(), Some(64));
        merge(&mut base, &"[mixer.lstm]\nhidden = 8".parse().unwrap());
        assert!(base["mixer"].get("attention").is_none());
    }
}
