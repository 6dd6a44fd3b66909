//! Calls and totals as text that is good to read in a diff.

use std::fmt::Write as _;

use apiscope::{
    call::{Call, Process, Role},
    flow::Stats,
    http::{Body, Headers},
    pipeline::Observed,
};

/// All of a run.
pub(crate) fn text(calls: &[Observed], stats: &Stats, cut_off: bool) -> String {
    let mut out = String::new();
    for observed in calls {
        call(&observed.call, &mut out);
    }
    totals(stats, &mut out);
    if cut_off {
        out.push_str("the recording is cut off\n");
    }
    out
}

fn totals(stats: &Stats, out: &mut String) {
    writeln!(out, "{:?}", stats.flows).unwrap();
    writeln!(out, "{:?}", stats.bindings).unwrap();
    for (way, lost) in ["ingress", "egress"].into_iter().zip(&stats.lost) {
        for (cause, bytes) in lost.iter() {
            writeln!(out, "lost {way}: {bytes} bytes, {}", cause.as_str()).unwrap();
        }
    }
    for (name, count) in [
        ("calls", stats.calls),
        ("joined", stats.joined),
        ("join timeouts", stats.join_timeouts),
        ("join overflows", stats.join_overflows),
        ("late bytes", stats.late_bytes),
        ("decode errors", stats.decode_errors),
        ("evicted", stats.evicted_full + stats.evicted_idle),
    ] {
        writeln!(out, "{name}: {count}").unwrap();
    }
}

fn call(call: &Call, out: &mut String) {
    let request = &call.request;
    let (id, role) = (call.id, call.role.as_str());
    writeln!(out, "call {id} {role} {} {}", request.target, request.method).unwrap();
    let (server, client) = match call.role {
        Role::Server => (&call.process, &call.peer_process),
        Role::Client => (&call.peer_process, &call.process),
    };
    writeln!(
        out,
        "  ends: {} {} -> {} {}{}",
        name(client.as_deref()),
        call.client(),
        name(server.as_deref()),
        call.server(),
        if call.both_ends { " (both seen)" } else { "" },
    )
    .unwrap();
    if let Some(tls) = &call.tls {
        writeln!(
            out,
            "  tls: {} {} {} {} {:.2}",
            tls.library,
            tls.handshake.version.unwrap_or("unknown"),
            tls.handshake.server_name.as_deref().unwrap_or("unknown"),
            tls.binding.as_str(),
            tls.binding.confidence(),
        )
        .unwrap();
    }
    message("request", &request.headers, &request.body, request.ended, out);
    match &call.response {
        Some(response) => {
            writeln!(out, "  status: {}", response.status).unwrap();
            message("response", &response.headers, &response.body, response.ended, out);
        }
        None => out.push_str("  no response\n"),
    }
    for (cause, bytes) in call.missing.iter() {
        writeln!(out, "  missing: {bytes} bytes, {}", cause.as_str()).unwrap();
    }
    let start = call.times.request_start;
    let end = call.times.response_end;
    writeln!(out, "  time: {} + {:?} ns", start.0, end.map(|end| end.nanos_since(start))).unwrap();
}

fn name(process: Option<&Process>) -> String {
    process.map_or_else(|| "unknown".to_owned(), |it| format!("{}[{}]", it.comm, it.pid))
}

fn message(what: &str, headers: &Headers, body: &Body, ended: bool, out: &mut String) {
    for (name, value) in headers.iter() {
        writeln!(out, "  {what} header: {name}: {}", value.escape_ascii()).unwrap();
    }
    let bytes = body.bytes.escape_ascii();
    let ended = if ended { "" } else { ", not ended" };
    writeln!(out, "  {what} body: {} bytes, {:?}{ended}: {bytes}", body.size, body.state).unwrap();
}
