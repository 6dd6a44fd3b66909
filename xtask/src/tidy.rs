//! `cargo xtask tidy`: the project's own rules, which no linter knows.

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::shell::{command, output, root, say};

/// Lines of a source file above which it is asked about, and above which it fails.
const LINES: (usize, usize) = (400, 500);

/// Words that have no place in a source file. Split, so that this file may hold them.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!("), "unfinished code"),
    (concat!("unimplemented", "!("), "unfinished code"),
    (concat!("#[", "ignore"), "a test that does not run"),
];

const METRICS: [&str; 2] =
    ["agent/src/export/metrics/mod.rs", "agent/src/export/metrics/coverage.rs"];

/// What a metric's name begins with.
const PREFIX: &str = "apiscope";

pub(crate) fn task() -> Result<()> {
    say("tidy");
    let root = root();
    let listed = output(command("git").args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut found = Findings { machine: machine_paths(&root), ..Findings::default() };
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let file = root.join(name);
        // A deleted file is listed until the deletion is committed.
        if file.is_file() {
            found.file(name, &file)?;
        }
    }
    let readme = fs::read_to_string(root.join("README.md")).unwrap_or_default();
    for metrics in METRICS {
        let metrics = fs::read_to_string(root.join(metrics)).unwrap_or_default();
        found.metrics(&metrics, &readme);
    }
    for warning in &found.warnings {
        eprintln!("warning: {warning}");
    }
    for error in &found.errors {
        eprintln!("error: {error}");
    }
    ensure!(found.errors.is_empty(), "tidy: {} findings", found.errors.len());
    Ok(())
}

/// Paths that mean something on this machine alone. Home directories as such are
/// not among them: attacks ask for files in them, so tests do too.
fn machine_paths(root: &Path) -> Vec<String> {
    let tools = env::var("HOME").map(|home| format!("{home}/.cargo/"));
    let mut paths = vec![format!("{}/", root.display())];
    paths.extend(tools);
    paths
}

#[derive(Default)]
struct Findings {
    /// [`machine_paths`].
    machine: Vec<String>,
    warnings: Vec<String>,
    errors: Vec<String>,
}

impl Findings {
    fn file(&mut self, name: &str, file: &Path) -> Result<()> {
        let extension = file.extension().and_then(|extension| extension.to_str());
        let in_fixtures = name.contains("fixtures/");
        if in_fixtures && extension == Some("in") && !file.with_extension("out").is_file() {
            self.errors.push(format!("{name}: there is no .out for it"));
        }
        // Fixtures hold whatever was recorded.
        let text = ["rs", "md", "sh", "py", "toml", "yaml", "yml", "json"];
        if in_fixtures || !extension.is_some_and(|extension| text.contains(&extension)) {
            return Ok(());
        }
        let content = fs::read(file).with_context(|| format!("read {name}"))?;
        self.text(name, &String::from_utf8_lossy(&content), extension == Some("rs"));
        Ok(())
    }

    fn text(&mut self, name: &str, content: &str, is_rust: bool) {
        for (number, line) in (1..).zip(content.lines()) {
            if line.ends_with([' ', '\t', '\r']) {
                self.errors.push(format!("{name}:{number}: space at the end of the line"));
            }
            if line.contains('\t') {
                self.errors.push(format!("{name}:{number}: a tab"));
            }
            if self.machine.iter().any(|path| line.contains(path)) {
                self.errors.push(format!("{name}:{number}: a path of one machine"));
            }
            for (word, what) in FORBIDDEN.iter().filter(|_| is_rust) {
                if line.contains(word) {
                    self.errors.push(format!("{name}:{number}: {word} is {what}"));
                }
            }
        }
        let lines = content.lines().count();
        if is_rust && lines > LINES.1 {
            self.errors.push(format!("{name}: {lines} lines, at most {} may be", LINES.1));
        } else if is_rust && lines > LINES.0 {
            self.warnings.push(format!("{name}: {lines} lines, is it one subject?"));
        }
    }

    fn metrics(&mut self, source: &str, readme: &str) {
        for name in metric_names(source) {
            // Metrics of the process itself have the names that every program gives them.
            let whole = name.starts_with(PREFIX) || name.starts_with("process_");
            let full = if whole { name } else { format!("{PREFIX}_{name}") };
            if !readme.contains(&full) {
                self.errors.push(format!("README.md: the metric {full} is not named"));
            }
        }
    }
}

/// The first string of every call that registers a metric.
fn metric_names(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    source
        .match_indices("register")
        .filter_map(|(at, _)| {
            let call = source.get(at..)?;
            let (_, arguments) = call.split_once('(')?;
            let (before, rest) = arguments.split_once('"')?;
            let (name, _) = rest.split_once('"')?;
            let is_name = !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            (before.trim().is_empty() && is_name).then(|| name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(content: &str) -> Vec<String> {
        let mut found = Findings::default();
        found.text("a.rs", content, true);
        found.errors
    }

    #[test]
    fn clean_text_has_no_findings() {
        assert_eq!(errors("fn main() {}\n"), Vec::<String>::new());
    }

    #[test]
    fn space_at_the_end_and_tabs_are_found_with_their_line() {
        assert_eq!(errors("a\nb \n"), ["a.rs:2: space at the end of the line"]);
        assert_eq!(errors("\tb\n"), ["a.rs:1: a tab"]);
    }

    #[test]
    fn a_path_of_one_machine_is_found_in_any_text() {
        let mut found = Findings { machine: vec!["/src/shop/".into()], ..Findings::default() };
        found.text("a.md", "see /src/shop/README.md\n", false);
        assert_eq!(found.errors, ["a.md:1: a path of one machine"]);
    }

    #[test]
    fn unfinished_code_is_found() {
        for (word, _) in FORBIDDEN {
            assert_eq!(errors(&format!("x {word}\n")).len(), 1, "{word}");
        }
    }

    #[test]
    fn a_long_file_warns_and_a_longer_one_fails() {
        let mut found = Findings::default();
        found.text("a.rs", &"x\n".repeat(401), true);
        found.text("b.rs", &"x\n".repeat(501), true);
        found.text("c.md", &"x\n".repeat(501), false);
        assert_eq!((found.warnings.len(), found.errors.len()), (1, 1));
    }

    #[test]
    fn a_metric_that_the_readme_does_not_name_is_found() {
        let source = "registry.register(\n    \"calls\",\n    \"Calls.\", x);\n\
                      registry.register(\"flows\", \"Flows.\", y);";
        let mut found = Findings::default();
        found.metrics(source, "`apiscope_calls_total`");
        assert_eq!(found.errors, ["README.md: the metric apiscope_flows is not named"]);
    }
}
