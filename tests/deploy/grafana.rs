//! The dashboard and its provisioning.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{document, promql, text};

fn dashboard() -> Result<Value> {
    serde_json::from_str(&text("grafana/apiscope.json")?).context("parse dashboard")
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard.pointer("/panels").and_then(Value::as_array).into_iter().flatten().collect()
}

/// Every value under `key`, at any depth.
fn collect<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            for (name, inner) in object {
                if name == key {
                    found.push(inner);
                }
                collect(inner, key, found);
            }
        }
        Value::Array(array) => array.iter().for_each(|inner| collect(inner, key, found)),
        _ => {}
    }
}

/// A query as Grafana sends it when everything is selected.
fn interpolate(query: &str, variables: &[&str]) -> String {
    let query = query.replace("$__rate_interval", "1m").replace("$__range", "1h");
    variables
        .iter()
        .fold(query, |query, variable| query.replace(&format!("\"${variable}\""), "\".*\""))
}

fn variables(dashboard: &Value) -> Vec<&str> {
    let list = dashboard.pointer("/templating/list").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|variable| variable["name"].as_str()).collect()
}

#[test]
fn it_is_a_classic_dashboard_that_any_installation_can_import() {
    let dashboard = dashboard().unwrap();
    assert_eq!(dashboard["uid"], "apiscope-overview");
    assert_eq!(dashboard.get("id"), None, "an id belongs to one installation");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert_eq!(variables(&dashboard), ["datasource", "job", "instance", "service", "route"]);
}

#[test]
fn every_query_reads_metrics_that_are_exported() {
    let dashboard = dashboard().unwrap();
    let variables = variables(&dashboard);
    let mut queries = Vec::new();
    collect(&dashboard, "expr", &mut queries);
    assert!(queries.len() > 30, "{} queries", queries.len());
    for query in queries {
        let query = interpolate(query.as_str().unwrap(), &variables);
        assert!(!query.contains('$'), "{query}: a variable that is not defined");
        assert_eq!(promql::problems(&query), Vec::<String>::new());
    }
}

#[test]
fn the_choices_of_variables_are_labels_that_are_exported() {
    let dashboard = dashboard().unwrap();
    let variables = variables(&dashboard);
    let mut definitions = Vec::new();
    collect(&dashboard, "definition", &mut definitions);
    assert_eq!(definitions.len(), 4);
    for definition in definitions {
        let arguments = definition.as_str().unwrap().strip_prefix("label_values(").unwrap();
        let (metric, label) = arguments.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
        // A selector without labels is completed, so that the label can be asked for.
        let selector = match interpolate(metric, &variables).strip_suffix('}') {
            Some(open) => format!("{open},{label}!=\"\"}}"),
            None => format!("{metric}{{job=\"a\",{label}!=\"\"}}"),
        };
        assert_eq!(promql::problems(&selector), Vec::<String>::new());
    }
}

#[test]
fn rates_adapt_to_the_scrape_interval_or_span_the_whole_range() {
    let dashboard = dashboard().unwrap();
    let mut queries = Vec::new();
    collect(&dashboard, "expr", &mut queries);
    for query in queries.into_iter().filter_map(Value::as_str) {
        for window in query.split('[').skip(1) {
            let adapts = ["$__rate_interval]", "$__range]"].iter().any(|w| window.starts_with(w));
            assert!(adapts, "{query}");
        }
    }
}

#[test]
fn no_datasource_is_fixed() {
    let dashboard = dashboard().unwrap();
    let mut sources = Vec::new();
    collect(&dashboard, "datasource", &mut sources);
    for source in sources {
        assert_eq!(source["uid"], "${datasource}");
    }
}

#[test]
fn every_panel_explains_itself_and_has_its_own_id_and_place() {
    let dashboard = dashboard().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title}: wider than the grid");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{title}: its place is taken");
            }
        }
        let described = panel["description"].as_str().is_some_and(|text| text.ends_with('.'));
        assert!(described || panel["type"] == "row", "{title}: no description");
    }
}

#[test]
fn rows_go_from_the_calls_to_the_agent_itself() {
    let dashboard = dashboard().unwrap();
    let rows: Vec<&str> = panels(&dashboard)
        .into_iter()
        .filter(|panel| panel["type"] == "row")
        .filter_map(|panel| panel["title"].as_str())
        .collect();
    assert_eq!(rows, ["Overview", "Endpoints", "Latency", "Findings", "Capture health"]);
}

#[test]
fn provisioning_reads_dashboards_from_a_folder() {
    let provisioning = document("grafana/provisioning/dashboards/apiscope.yaml").unwrap();
    assert_eq!(provisioning["apiVersion"], 1);
    assert_eq!(provisioning.pointer("/providers/0/type").unwrap(), "file");
    assert!(provisioning.pointer("/providers/0/options/path").unwrap().is_string());
}
