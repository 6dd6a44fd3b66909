//! No value of the archive is in anything that is written.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{State, archive};

/// What is in every secret of the archive: as it is, and as base64 has it.
const MARKS: [&str; 3] = ["secret-", "c2VjcmV0L", "secretsecret"];

/// Shorter text is in every file by chance.
const LENGTH_MIN: usize = 7;

/// The name of a rule and the word that it is made of are no values.
fn own_words(text: &str) -> String {
    text.replace("secret-in-url", "")
}

/// Leaves of the JSON bodies of the archive, without the marked ones.
fn values() -> Result<BTreeSet<String>> {
    let archive: Value = serde_json::from_str(&fs::read_to_string(archive())?)?;
    let mut values = BTreeSet::new();
    for entry in archive["log"]["entries"].as_array().context("entries")? {
        let texts = [&entry["request"]["postData"]["text"], &entry["response"]["content"]["text"]];
        for body in texts.into_iter().filter_map(Value::as_str) {
            if let Ok(body) = serde_json::from_str(body) {
                collect(&body, &mut values);
            }
        }
    }
    Ok(values)
}

fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(object) => object.values().for_each(|value| collect(value, into)),
        Value::String(text) => drop(into.insert(text.clone())),
        Value::Number(number) => drop(into.insert(number.to_string())),
        Value::Null | Value::Bool(_) => {}
    }
    into.retain(|text| text.len() >= LENGTH_MIN);
}

fn check(what: &str, text: &str, values: &BTreeSet<String>) -> Result<()> {
    let text = own_words(text);
    for value in MARKS.into_iter().chain(values.iter().map(String::as_str)) {
        if let Some(at) = text.find(value) {
            let start = text.floor_char_boundary(at.saturating_sub(100));
            let end = text.ceil_char_boundary((at + 60).min(text.len()));
            let around = text.get(start..end).unwrap_or_default();
            anyhow::bail!("{what} has {value:?}: {around:?}");
        }
    }
    Ok(())
}

/// Calls may show the ids in their paths, and nothing else.
#[test]
fn calls_are_written_without_values() -> Result<()> {
    let archive = fs::read_to_string(archive())?;
    ensure!(MARKS.iter().all(|mark| archive.contains(mark)), "the archive has no secrets");
    for output in ["json", "lines"] {
        let (_state, text) = State::new(output)?;
        ensure!(text.lines().count() > 60, "{output}: {text}");
        check(output, &text, &BTreeSet::new())?;
        let control = text.chars().find(|char| char.is_control() && *char != '\n');
        ensure!(control.is_none(), "{output} has {control:?}");
    }
    Ok(())
}

#[test]
fn answers_are_without_values() -> Result<()> {
    let values = values()?;
    ensure!(values.len() > 100, "{} values", values.len());
    let (state, _) = State::new("none")?;
    for (question, answer) in state.answers()? {
        ensure!(!answer.is_empty(), "{question} has no answer");
        check(&question, &answer, &values)?;
        let control = answer.chars().find(|char| char.is_control() && *char != '\n');
        ensure!(control.is_none(), "{question} has {control:?}");
    }
    Ok(())
}

#[test]
fn the_state_is_without_values() -> Result<()> {
    let values = values()?;
    let (state, _) = State::new("none")?;
    let mut files = 0;
    for entry in fs::read_dir(state.path())? {
        let entry = entry?;
        let bytes = fs::read(entry.path())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        check(&name, &String::from_utf8_lossy(&bytes), &values)?;
        files += 1;
    }
    ensure!(files > 0, "there is no state");
    Ok(())
}
