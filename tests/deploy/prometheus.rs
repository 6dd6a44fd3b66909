//! Alerts and scrape configurations.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{MEMORY_MIB, PORT, deploy, document, output, promql, text};

const RULES: &str = "prometheus/rules/apiscope.yml";

/// The alerts that the runbooks are about.
pub(crate) const ALERTS: [&str; 8] = [
    "ApiscopeDown",
    "ApiscopeNotCapturing",
    "ApiscopeLosingData",
    "ApiscopeShedding",
    "ApiscopeSparing",
    "ApiscopeHighMemory",
    "ApiscopeHighErrorRate",
    "ApiscopeNewHighFinding",
];

/// All rules of the rule file.
pub(crate) fn rules() -> Result<Vec<Value>> {
    let document = document(RULES)?;
    let rules = document.pointer("/groups/0/rules").and_then(Value::as_array);
    rules.cloned().context("no rules")
}

fn promtool(arguments: &[&str], name: &str) -> Result<()> {
    output(Command::new("promtool").args(arguments).arg(deploy(name)))
        .context("promtool (Debian: apt-get install prometheus)")?;
    Ok(())
}

#[test]
fn promtool_accepts_rules_and_scrape_configuration() {
    promtool(&["check", "rules"], RULES).unwrap();
    promtool(&["check", "config"], "prometheus/scrape.yml").unwrap();
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    promtool(&["test", "rules"], "prometheus/rules/apiscope_test.yml").unwrap();
}

#[test]
fn alerts_read_metrics_that_are_exported() {
    let found: Vec<String> = rules()
        .unwrap()
        .iter()
        .flat_map(|rule| promql::problems(rule["expr"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_alert_says_how_bad_it_is_and_where_its_runbook_is() {
    let rules = rules().unwrap();
    let names: Vec<&str> = rules.iter().filter_map(|rule| rule["alert"].as_str()).collect();
    assert_eq!(names, ALERTS);
    for (rule, name) in rules.iter().zip(ALERTS) {
        let annotations = &rule["annotations"];
        let url = annotations["runbook_url"].as_str().unwrap();
        let anchor = format!("/deploy/README.md#{}", name.to_lowercase());
        assert!(url.ends_with(&anchor), "{name}: {url}");
        assert!(rule["labels"]["severity"].is_string(), "{name}: no severity");
        for annotation in ["summary", "description"] {
            let sentence = annotations[annotation].as_str().unwrap_or_default();
            assert!(sentence.ends_with('.'), "{name}: {annotation}: {sentence}");
        }
    }
}

#[test]
fn every_alert_is_tested() {
    let tests = text("prometheus/rules/apiscope_test.yml").unwrap();
    for name in ALERTS {
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name}");
    }
}

#[test]
fn the_memory_alert_is_three_quarters_of_the_limit() {
    let rules = rules().unwrap();
    let rule = rules.iter().find(|rule| rule["alert"] == "ApiscopeHighMemory").unwrap();
    let threshold = format!("> {} * 1024 * 1024", MEMORY_MIB * 3 / 4);
    assert!(rule["expr"].as_str().unwrap().ends_with(&threshold));
}

#[test]
fn targets_are_the_port_that_the_agent_listens_on() {
    let host = document("prometheus/scrape.yml").unwrap();
    let target = host.pointer("/scrape_configs/0/static_configs/0/targets/0");
    assert_eq!(target.unwrap(), &Value::from(format!("127.0.0.1:{PORT}")));
}

#[test]
fn both_scrape_configurations_have_the_job_that_alerts_ask_for() {
    for name in ["prometheus/scrape.yml", "prometheus/scrape-kubernetes.yml"] {
        let document = document(name).unwrap();
        assert_eq!(document.pointer("/scrape_configs/0/job_name").unwrap(), "apiscope", "{name}");
    }
}
