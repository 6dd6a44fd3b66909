//! What the documents promise about metrics, alerts and files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{CAPABILITIES, prometheus::ALERTS, promql::METRICS, root};

const DOCUMENTS: [&str; 4] = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md"];

fn read(name: &str) -> Result<String> {
    fs::read_to_string(root().join(name)).with_context(|| format!("read {name}"))
}

/// The targets of links that are not addresses: path and heading.
fn links(text: &str) -> Vec<(&str, &str)> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://"))
        .map(|target| target.split_once('#').unwrap_or((target, "")))
        .collect()
}

/// Headings of a document, as the anchors that links to them use.
fn anchors(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept =
                heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn the_readme_names_every_metric_with_its_labels() {
    let readme = read("README.md").unwrap();
    for (name, labels) in METRICS {
        let start = format!("| `{name}` |");
        let line = readme.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("no line for {name}"));
        for label in *labels {
            assert!(line.contains(&format!("`{label}`")), "{name}: no word about {label}");
        }
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_capability_a_reason() {
    let readme = read("deploy/README.md").unwrap();
    let anchors = anchors(&readme);
    for alert in ALERTS {
        assert!(anchors.contains(&alert.to_lowercase()), "{alert}");
    }
    for capability in CAPABILITIES {
        assert!(readme.contains(&format!("| `CAP_{capability}` |")), "{capability}");
    }
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    for name in DOCUMENTS {
        let text = read(name).unwrap();
        let folder = root().join(Path::new(name).parent().unwrap());
        for (path, heading) in links(&text) {
            let target: PathBuf =
                if path.is_empty() { root().join(name) } else { folder.join(path) };
            assert!(target.exists(), "{name}: {path}");
            if !heading.is_empty() {
                let found = anchors(&fs::read_to_string(&target).unwrap());
                assert!(found.iter().any(|anchor| anchor == heading), "{name}: {path}#{heading}");
            }
        }
    }
}
