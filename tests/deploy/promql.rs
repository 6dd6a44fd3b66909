//! Finds the metrics that a query reads, and what is wrong with it.

use std::collections::BTreeSet;

use promql_parser::{
    label::METRIC_NAME,
    parser::{self, AggregateExpr, Expr, LabelModifier, VectorSelector},
    util::{ExprVisitor, walk_expr},
};

/// Every metric with its labels. A name that ends in `duration_seconds` is a histogram.
pub(crate) const METRICS: &[(&str, &[&str])] = &[
    ("apiscope_http_requests_total", &["role", "service", "method", "route", "status_class"]),
    ("apiscope_http_request_duration_seconds", &["service", "method", "route"]),
    ("apiscope_http_request_body_bytes_total", &["service", "method", "route"]),
    ("apiscope_http_response_body_bytes_total", &["service", "method", "route"]),
    ("apiscope_http_requests_incomplete_total", &["service", "cause"]),
    ("apiscope_tls_bindings_total", &["binding"]),
    ("apiscope_services", &[]),
    ("apiscope_endpoints", &[]),
    ("apiscope_findings", &["severity"]),
    ("apiscope_capture_records_total", &[]),
    ("apiscope_capture_bytes_total", &[]),
    ("apiscope_capture_lost_bytes_total", &["cause", "direction"]),
    ("apiscope_capture_lost_records_total", &["buffer"]),
    ("apiscope_capture_connections_total", &[]),
    ("apiscope_flows_total", &["protocol"]),
    ("apiscope_coverage_connections", &["program", "container_id", "fate", "reason"]),
    ("apiscope_coverage_unmeasured_connections", &["program", "container_id", "fate", "reason"]),
    ("apiscope_coverage_bytes", &["program", "container_id", "fate", "reason", "direction"]),
    ("apiscope_coverage_lost_bytes_total", &["program", "container_id", "cause"]),
    ("apiscope_cpu_budget_cores", &[]),
    ("apiscope_cpu_usage_cores", &["part"]),
    ("apiscope_shed_programs", &["detail"]),
    ("apiscope_spared_programs", &[]),
    ("apiscope_ciphertext_processes", &[]),
    ("apiscope_kernel_counter_total", &["name"]),
    ("apiscope_kernel_program_misses_total", &["program"]),
    ("apiscope_decode_errors_total", &["stage"]),
    ("apiscope_queue_dropped_total", &["queue"]),
    ("apiscope_probes_attached", &[]),
    ("apiscope_time_to_probe_seconds", &[]),
    ("apiscope_dropped_series_total", &[]),
    ("apiscope_build_info", &["version", "revision", "rustc"]),
    ("process_cpu_seconds_total", &[]),
    ("process_resident_memory_bytes", &[]),
    ("process_start_time_seconds", &[]),
    ("process_open_fds", &[]),
];

/// What Prometheus adds to every series.
const SCRAPED: [&str; 2] = ["job", "instance"];

/// What is wrong with a query: nothing, in the best case.
pub(crate) fn problems(query: &str) -> Vec<String> {
    let expr = match parser::parse(query) {
        Ok(expr) => expr,
        Err(error) => return vec![format!("{query}: {error}")],
    };
    let mut reader = Reader::default();
    if walk_expr(&mut reader, &expr).is_err() || reader.metrics == 0 {
        reader.problems.push("reads no metric".to_owned());
    }
    for label in &reader.grouped {
        let known = SCRAPED.contains(&label.as_str())
            || label == "le"
            || METRICS.iter().any(|(_, labels)| labels.contains(&label.as_str()));
        if !known {
            reader.problems.push(format!("groups by {label}, which no metric has"));
        }
    }
    reader.problems.into_iter().map(|problem| format!("{query}: {problem}")).collect()
}

#[derive(Default)]
struct Reader {
    metrics: usize,
    grouped: BTreeSet<String>,
    problems: Vec<String>,
}

impl Reader {
    fn selector(&mut self, selector: &VectorSelector) {
        self.metrics += 1;
        let name = selector.name.as_deref().unwrap_or_default();
        let Some((bucket, labels)) = labels(name) else {
            self.problems.push(format!("there is no metric {name}"));
            return;
        };
        let mut by_job = false;
        for matcher in &selector.matchers.matchers {
            let label = matcher.name.as_str();
            by_job |= label == "job";
            let known = SCRAPED.contains(&label)
                || labels.contains(&label)
                || label == METRIC_NAME
                || (bucket && label == "le");
            if !known {
                self.problems.push(format!("{name} has no label {label}"));
            }
        }
        if !by_job {
            self.problems.push(format!("{name} of every job"));
        }
    }
}

impl ExprVisitor for Reader {
    type Error = ();

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, ()> {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Aggregate(AggregateExpr {
                modifier: Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)),
                ..
            }) => self.grouped.extend(labels.labels.iter().cloned()),
            _ => {}
        }
        Ok(true)
    }
}

/// The labels of the metric behind a name of a series, and whether it is a bucket.
fn labels(name: &str) -> Option<(bool, &'static [&'static str])> {
    if name == "up" {
        return Some((false, &[]));
    }
    METRICS.iter().find_map(|&(metric, labels)| {
        let suffix = name.strip_prefix(metric)?;
        let found = if metric.ends_with("duration_seconds") {
            ["_bucket", "_sum", "_count"].contains(&suffix)
        } else {
            suffix.is_empty()
        };
        found.then_some((suffix == "_bucket", labels))
    })
}

#[test]
fn a_query_of_known_metrics_and_labels_has_no_problems() {
    let queries = [
        "sum by (service) (rate(apiscope_http_requests_total{job=\"a\",status_class=\"5xx\"}[5m]))",
        "histogram_quantile(0.95, sum by (le) (rate(\
         apiscope_http_request_duration_seconds_bucket{job=\"a\",le!=\"1\"}[5m])))",
        "up{job=\"a\"} == 0 or absent(up{job=\"a\"})",
    ];
    for query in queries {
        assert_eq!(problems(query), Vec::<String>::new());
    }
}

#[test]
fn what_is_not_exported_is_found() {
    let queries = [
        ("apiscope_calls_total{job=\"a\"}", "there is no metric apiscope_calls_total"),
        ("rate(apiscope_http_request_duration_seconds{job=\"a\"}[5m])", "there is no metric"),
        ("apiscope_findings{job=\"a\",rule=\"b\"}", "has no label rule"),
        ("sum by (path) (apiscope_findings{job=\"a\"})", "groups by path"),
        ("process_open_fds", "of every job"),
        ("vector(1)", "reads no metric"),
        ("sum(apiscope_findings{job=\"a\"}", "unclosed"),
    ];
    for (query, problem) in queries {
        let found = problems(query);
        assert!(matches!(found.as_slice(), [one] if one.contains(problem)), "{query}: {found:?}");
    }
}
