//! `apiscope inventory`, `findings` and `openapi`: what the state holds.

use std::io::Write as _;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::{
    cli::{DocumentArg, FormatArg, OpenapiArgs, ReadArgs},
    export::{
        lines, openapi,
        store::{State, Store},
    },
};

/// Prints services and endpoints.
pub fn inventory(args: &ReadArgs) -> Result<()> {
    let mut state = load(&args.state)?;
    if let Some(name) = &args.service {
        known(&state, name)?;
        state.services.retain(|service| &*service.name == name);
        state.endpoints.retain(|endpoint| &*endpoint.key.service == name);
    }
    match args.output {
        FormatArg::Table => print(lines::inventory(&state.services, &state.endpoints).as_bytes()),
        FormatArg::Json => print(&json_lines(&state.endpoints)?),
    }
}

/// Prints findings, most severe first.
pub fn findings(args: &ReadArgs) -> Result<()> {
    let state = load(&args.state)?;
    if let Some(name) = &args.service {
        known(&state, name)?;
    }
    let mut findings = state.findings;
    if let Some(name) = &args.service {
        findings.retain(|finding| &finding.service == name);
    }
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.last_seen.cmp(&a.last_seen)));
    match args.output {
        FormatArg::Table => print(lines::findings(&findings).as_bytes()),
        FormatArg::Json => print(&json_lines(&findings)?),
    }
}

/// Fails unless a service of this name is known.
fn known(state: &State, name: &str) -> Result<()> {
    if state.services.iter().any(|service| &*service.name == name) {
        return Ok(());
    }
    let names: Vec<&str> = state.services.iter().map(|service| &*service.name).collect();
    bail!("there is no service {name}; there are: {}", names.join(", "))
}

pub(super) fn load(directory: &std::path::Path) -> Result<State> {
    let state = Store::open_read_only(directory)?.load()?;
    if state.damaged > 0 {
        tracing::warn!("{} rows of the state are damaged and left out", state.damaged);
    }
    Ok(state)
}

fn json_lines<T: Serialize>(values: &[T]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for value in values {
        serde_json::to_writer(&mut out, value).context("write JSON")?;
        out.push(b'\n');
    }
    Ok(out)
}

pub(super) fn print(text: &[u8]) -> Result<()> {
    match std::io::stdout().write_all(text) {
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

/// Prints the OpenAPI document of a service.
pub fn openapi(args: &OpenapiArgs) -> Result<()> {
    let state = load(&args.state)?;
    let names: Vec<&str> = state.services.iter().map(|service| &*service.name).collect();
    let found = match &args.service {
        Some(name) => state.services.iter().find(|service| *service.name == **name),
        None => state.services.first().filter(|_| names.len() == 1),
    };
    let Some(service) = found else {
        match &args.service {
            Some(name) => bail!("there is no service {name}; there are: {}", names.join(", ")),
            None => bail!("name one with --service: {}", names.join(", ")),
        }
    };
    let endpoints: Vec<_> =
        state.endpoints.iter().filter(|endpoint| endpoint.key.service == service.name).collect();
    let document = openapi::document(service, &endpoints);
    let text = match args.format {
        DocumentArg::Yaml => openapi::yaml(&document)?,
        DocumentArg::Json => serde_json::to_string_pretty(&document).context("write JSON")? + "\n",
    };
    print(text.as_bytes())
}
