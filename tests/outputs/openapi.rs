//! The OpenAPI document, as others read it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::{child::output, tool};

use crate::{SERVICES, State, archive};

/// JSON bodies of the archive, all of which a schema must be found for.
const BODIES: u64 = 67;

#[test]
fn documents_are_valid_to_the_validator() -> Result<()> {
    let (state, _) = State::new("none")?;
    for service in SERVICES {
        for format in ["yaml", "json"] {
            let text = state.ask(&["openapi", "--service", service, "--format", format])?;
            let file = state.path().join(format!("document.{format}"));
            fs::write(&file, text)?;
            output(Command::new(tool("openapi-spec-validator")?).arg(&file))
                .with_context(|| format!("{service} as {format}"))?;
        }
    }
    Ok(())
}

#[test]
fn both_formats_of_a_document_say_the_same() -> Result<()> {
    let (state, _) = State::new("none")?;
    for service in SERVICES {
        let yaml = state.ask(&["openapi", "--service", service])?;
        let json = state.ask(&["openapi", "--service", service, "--format", "json"])?;
        // JSON is YAML; two parsers would round numbers in two ways.
        let [yaml, json]: [Value; 2] =
            [serde_yaml_ng::from_str(&yaml)?, serde_yaml_ng::from_str(&json)?];
        assert_eq!(yaml, json, "{service}");
    }
    Ok(())
}

#[test]
fn every_body_that_was_seen_fits_its_schema() -> Result<()> {
    let (state, _) = State::new("none")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("outputs/validate.py");
    let mut checked = 0;
    for service in SERVICES {
        let file = state.path().join("document.json");
        fs::write(&file, state.ask(&["openapi", "--service", service, "--format", "json"])?)?;
        let mut command = Command::new(tool("python")?);
        let report = output(command.arg(&script).arg(&file).arg(archive()))?;
        let report: Value = serde_json::from_str(&report).context("read the report")?;
        let none = |key: &str| report[key].as_array().is_some_and(Vec::is_empty);
        ensure!(none("refused") && none("unknown"), "{service}: {report:#}");
        checked += report["checked"].as_u64().context("count of bodies")?;
    }
    assert_eq!(checked, BODIES);
    Ok(())
}

#[test]
fn credentials_are_declared_where_they_were_sent() -> Result<()> {
    let (state, _) = State::new("none")?;
    let document = |service| -> Result<Value> {
        let text = state.ask(&["openapi", "--service", service, "--format", "json"])?;
        serde_json::from_str(&text).context("read the document")
    };
    let api = document("api.shop.example:443")?;
    let schemes = &api["components"]["securitySchemes"];
    assert_eq!(schemes["apiKeyHeader"]["name"], "X-Api-Key");
    assert_eq!(schemes["apiKeyQuery"]["name"], "api_key");
    assert_eq!(schemes["jwt"]["bearerFormat"], "JWT");
    let auth = document("auth.shop.example:443")?;
    assert_eq!(auth["components"]["securitySchemes"]["cookie"]["name"], "connect.sid");
    assert_eq!(auth["components"]["securitySchemes"]["basic"]["scheme"], "basic");
    Ok(())
}
