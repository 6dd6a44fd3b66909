//! The line of a call, key by key.

use std::{collections::BTreeSet, env, ffi::OsStr, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{State, fixture, printed};

/// What a line of a call over TLS between processes has.
const KEYS: [&str; 25] = [
    "apiscope.binding",
    "apiscope.both_ends",
    "apiscope.complete",
    "apiscope.lost_bytes",
    "apiscope.role",
    "apiscope.tls.client.ja4",
    "apiscope.tls.library",
    "client.address",
    "client.port",
    "duration",
    "http.request.body.size",
    "http.request.method",
    "http.response.body.size",
    "http.response.status_code",
    "http.route",
    "network.protocol.version",
    "network.transport",
    "process.executable.path",
    "process.pid",
    "server.address",
    "server.port",
    "tls.cipher",
    "tls.client.server_name",
    "tls.protocol.version",
    "url.path",
];

/// The object of a line, its keys in order.
fn object(line: &str) -> Result<Value> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("parse {line}"))?;
    ensure!(value.is_object(), "{line}");
    ensure!(!line.contains(":null"), "what is not known is absent: {line}");
    Ok(value)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flat_map(|object| object.keys().map(String::as_str)).collect()
}

fn compare(value: &Value, golden: &str) -> Result<()> {
    let path = fixture(golden);
    let text = serde_json::to_string_pretty(value)? + "\n";
    if env::var_os("UPDATE_FIXTURES").is_some_and(|value| value == "1") {
        fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{}", path.display());
    Ok(())
}

fn recording(name: &str) -> Result<Vec<Value>> {
    let file = fixture("replay").join(name);
    let args = [OsStr::new("replay"), Path::as_os_str(&file), "--output".as_ref(), "json".as_ref()];
    printed(args)?.lines().map(object).collect()
}

#[test]
fn a_call_of_an_archive_has_what_an_archive_knows() -> Result<()> {
    let (_state, text) = State::new("json")?;
    let calls: Vec<Value> = text.lines().map(object).collect::<Result<_>>()?;
    let call = calls.iter().find(|call| call.get("url.query").is_some_and(|q| q != ""));
    let call = call.context("no call with a query")?;
    compare(call, "outputs/call.json")?;
    // An archive knows neither the process, nor the library, nor the client's address.
    let unknown: BTreeSet<&str> = keys(call)
        .into_iter()
        .filter(|key| key.starts_with("process.") || key.starts_with("client."))
        .chain(keys(call).into_iter().filter(|key| key.contains("tls") || key.contains("binding")))
        .collect();
    assert_eq!(unknown, BTreeSet::new());
    Ok(())
}

#[test]
fn a_call_of_a_recording_has_all_keys() -> Result<()> {
    let calls = recording("tls-nested.in")?;
    let call = calls.first().context("no call")?;
    compare(call, "outputs/recording.json")?;
    let missing: Vec<_> = KEYS.iter().filter(|key| call.get(**key).is_none()).collect();
    ensure!(missing.is_empty(), "without {missing:?}: {call}");
    Ok(())
}

#[test]
fn a_unix_socket_has_a_path_and_no_port() -> Result<()> {
    let calls = recording("unix.in")?;
    let call = calls.first().context("no call")?;
    assert_eq!(call["network.transport"], "unix");
    assert_eq!(call["server.address"], "/run/shop.sock");
    let found: Vec<_> = ["server.port", "client.address", "client.port", "network.type"]
        .into_iter()
        .filter(|key| call.get(*key).is_some())
        .collect();
    assert_eq!(found, [""; 0]);
    Ok(())
}
