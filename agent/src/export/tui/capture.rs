//! What is seen and what is not, by cause; and what to check when nothing is.

use agent_common::counter::Counter;

use super::{document::Page, rows::age, snapshot::Snapshot, theme::Theme};
use crate::{
    call::Cause,
    export::{
        coverage::Gap,
        format::{self, bytes, share},
    },
};

/// Counters of the kernel side that tell of something not seen. Those in bytes
/// say so.
const BLIND: &[(Counter, bool, &str)] = &[
    (Counter::LOST_FULL, false, "records lost, the transport to the agent was full"),
    (Counter::LOST_FULL_INGRESS, true, "of them received by processes"),
    (Counter::LOST_FULL_EGRESS, true, "of them sent by processes"),
    (Counter::LOST_BUDGET, true, "beyond the capture budget of their message"),
    (Counter::LOST_SHED, true, "left out to keep up with the load"),
    (Counter::LOST_FAULT, true, "in memory that was not readable"),
    (Counter::OPAQUE, true, "moved by sendfile or splice, never in memory"),
    (Counter::SPLIT, true, "in more buffers than one call may be split into"),
    (Counter::LOST_LIFECYCLE, false, "starts and ends of processes lost"),
    (Counter::MAP_FULL, false, "table entries refused, a kernel table was full"),
    (Counter::TLS_ORPHANS, false, "TLS calls that began before the probes"),
    (Counter::COMPAT, false, "system calls of 32-bit processes, not decoded"),
    (Counter::UNRESOLVED, false, "descriptors whose socket could not be found"),
    (Counter::IGNORED, false, "connections that spoke no known protocol"),
];

/// Why bytes of a call were not captured.
pub(super) const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Budget => "beyond the capture budget of the message",
        Cause::Shed => "left out to keep up with the load",
        Cause::Transport => "lost, the transport to the agent was full",
        Cause::Fault => "in memory that was not readable",
        Cause::Opaque => "moved by sendfile or splice, never in memory",
        Cause::Split => "in more buffers than one call may be split into",
        Cause::Agent => "over a limit of the agent",
    }
}

/// Writes the view.
pub(super) fn write(page: &mut Page, snapshot: &Snapshot) {
    let (run, traffic, theme) = (&snapshot.run, &snapshot.traffic, page.theme());
    let hints = hints(snapshot);
    if !hints.is_empty() {
        page.head(if traffic.calls == 0 { "Nothing seen yet" } else { "Worth a look" });
        for hint in hints {
            page.item(&hint, theme.warn());
        }
    }

    page.head("Seen");
    let known = |value: Option<u64>| value.map_or_else(|| "not known".to_owned(), format::count);
    page.fact("scope", &run.scope, Theme::text());
    page.fact("processes", &known(run.processes), Theme::text());
    page.fact("connections", &known(run.connections), Theme::text());
    let libraries = match run.libraries.as_slice() {
        [] => "none hooked".to_owned(),
        libraries => libraries.join(", "),
    };
    page.fact("TLS libraries", &libraries, Theme::text());
    page.fact("TLS library calls", &known(run.counter(Counter::TLS_CALLS)), Theme::text());
    let captured = run.counter(Counter::BYTES).map_or_else(|| "not known".to_owned(), bytes);
    page.fact("bytes captured", &captured, Theme::text());
    let calls = match traffic.last_call {
        None => "0".to_owned(),
        Some(last) => {
            format!("{}, latest {} ago", traffic.calls, format::ago(age(snapshot, last)))
        }
    };
    page.fact("calls", &calls, Theme::text());
    page.fact(
        "over TLS",
        &format!("{} ({})", traffic.tls, share(traffic.tls, traffic.calls)),
        Theme::text(),
    );
    let complete = traffic.calls.saturating_sub(traffic.incomplete);
    let style = if traffic.incomplete > 0 { theme.warn() } else { Theme::text() };
    page.fact("complete", &format!("{complete} ({})", share(complete, traffic.calls)), style);
    let unanswered = traffic.calls.saturating_sub(traffic.answered);
    page.fact("no response seen", &unanswered.to_string(), Theme::text());
    if traffic.untracked > 0 {
        let text = format!("{} calls, too many endpoints are active", traffic.untracked);
        page.fact("rate not tracked", &text, theme.warn());
    }

    if !run.gaps.is_empty() {
        page.head("Connections that were not decoded");
    }
    for Gap { program, why, connections, bytes, server_names } in &run.gaps {
        let mut text = format!("{program}: {why}; {bytes}");
        if !server_names.is_empty() {
            text = format!("{text}; among the servers: {}", server_names.join(", "));
        }
        page.fact(&format::count(*connections), &text, theme.warn());
    }

    if !run.shed.is_empty() {
        page.head("Less is captured, for the CPU budget");
    }
    for (program, what) in &run.shed {
        page.item(&format!("{program}: {what}"), theme.warn());
    }

    page.head("Missing from calls");
    if traffic.missing.is_empty() {
        let text = if traffic.calls == 0 { "No call was seen." } else { "Nothing." };
        page.paragraph(text, Theme::text());
    }
    for (name, lost) in traffic.missing.iter() {
        page.fact(&bytes(lost), cause(name), theme.warn());
    }

    page.head("Not seen by the kernel programs");
    if run.counters.is_empty() {
        page.paragraph("Not known: no counters were reported.", Theme::dim());
        return;
    }
    let mut clean = true;
    for &(counter, in_bytes, text) in BLIND {
        if let Some(value) = run.counter(counter).filter(|&value| value > 0) {
            clean = false;
            let value = if in_bytes { bytes(value) } else { format::count(value) };
            page.fact(&value, text, Theme::text());
        }
    }
    if clean {
        page.paragraph("Nothing that they know of.", Theme::text());
    }
}

/// What to check, most likely cause first; empty when all is well.
pub(super) fn hints(snapshot: &Snapshot) -> Vec<String> {
    let (run, traffic) = (&snapshot.run, &snapshot.traffic);
    let mut hints = Vec::new();
    let mut say = |hint: &str| hints.push(hint.to_owned());
    let counter = |counter| run.counter(counter).unwrap_or(0);
    if traffic.calls == 0 {
        let connections = run.connections.unwrap_or_else(|| counter(Counter::CONNECTIONS));
        let in_scope = run.counter(Counter::IN_SCOPE);
        if run.counters.is_empty() {
            say("The kernel programs have not reported yet.");
        } else if in_scope == Some(0) && connections == 0 {
            say("No process in scope has moved bytes: check that the scope names a running \
                 process, and that it gets requests.");
        } else if connections == 0 {
            say("No process in scope has moved bytes over a stream socket: send it a request.");
        } else if counter(Counter::IGNORED) >= connections {
            say("No process in scope has moved HTTP bytes: its connections speak another \
                 protocol, or TLS by a library that has no probes.");
        } else {
            say("No process in scope has moved HTTP bytes: send a request, and look whether its \
                 connections are older than this run or speak TLS by a library that has no \
                 probes.");
        }
        if run.libraries.is_empty() {
            say("No TLS library was hooked, so HTTPS is not seen.");
        }
        say("Run `apiscope doctor`: it checks the kernel, the privileges and the probes.");
    }
    if counter(Counter::LOST_FULL) > 0 {
        say("The transport to the agent was full: narrow the scope, lower the capture budget, or \
             give the agent more buffer or processor time.");
    }
    if !run.shed.is_empty() {
        say("Capture costs more than its CPU budget, so less is captured of some programs: all \
             their calls are counted. See --cpu-budget.");
    }
    if counter(Counter::MAP_FULL) > 0 {
        say("A kernel table was full, so some connections or calls are not followed.");
    }
    if counter(Counter::COMPAT) > 0 {
        say("32-bit processes are in scope; their system calls are not decoded.");
    }
    if traffic.calls > 0 && traffic.incomplete > traffic.calls / 2 {
        say("Most calls lack bytes; the causes are below.");
    }
    hints
}
