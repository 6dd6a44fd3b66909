//! gRPC: calls of every kind, with their messages and how they ended.

use anyhow::{Result, bail, ensure};
use support::{
    apiscope::Options,
    call::{Call, all, all_both_ends},
    net, program, scaled, tool,
};

/// `$1` is Python, `$2` the program, `$3` a port, `$4` how often each call is made.
const SCRIPT: &str = "\
\"$1\" -B \"$2\" server \"$3\" &
server=$!
\"$1\" -B \"$2\" client \"$3\" \"$4\"
status=$?
kill $server
wait $server
exit $status";

/// A method, how its calls end, and the messages of a request and of a response.
const CALLS: [(&str, &str, u64, Option<u64>); 6] = [
    ("Get", "OK", 1, Some(1)),
    ("Watch", "OK", 1, Some(5)),
    ("Upload", "OK", 3, Some(1)),
    ("Chat", "OK", 4, Some(4)),
    ("Fail", "NOT_FOUND", 1, Some(0)),
    ("Missing", "UNIMPLEMENTED", 1, Some(0)),
];

#[test]
fn calls_of_every_kind_are_told_in_the_terms_of_grpc() -> Result<()> {
    let count = scaled(100);
    let (port, repeat) = (net::free_port()?.to_string(), count.to_string());
    let (python, peer) = (tool("python")?, program("grpc_calls.py"));
    let args = [python.as_os_str(), peer.as_os_str(), port.as_ref(), repeat.as_ref()];
    let options = Options::new()?;
    let mut calls = options.script(SCRIPT, args)?.finish()?;
    let large: Vec<Call> = calls.extract_if(.., |call| !call.is("apiscope.complete")).collect();
    let [large] = &large[..] else { bail!("{} calls are not complete", large.len()) };
    // What is beyond the budget may have held messages.
    for message in ["request", "response"] {
        let number = |key: &str| large.number(&format!("apiscope.rpc.{message}.{key}"));
        ensure!(number("messages") == Some(1), "{}", large.0);
        let cut = large.is(&format!("apiscope.rpc.{message}.messages.cut"));
        ensure!(cut == (message == "response"), "{}", large.0);
    }
    ensure!(large.text("rpc.response.status_code") == "OK", "{}", large.0);
    ensure!(calls.len() == count * CALLS.len(), "{} calls", calls.len());
    all(&calls, "rpc.system.name", "grpc")?;
    all(&calls, "network.protocol.version", "2")?;
    all_both_ends(&calls)?;
    for (name, code, requests, responses) in CALLS {
        let method = format!("shop.v1.Orders/{name}");
        let of_method: Vec<&Call> =
            calls.iter().filter(|call| call.text("rpc.method") == method).collect();
        ensure!(of_method.len() == count, "{} calls of {method}", of_method.len());
        for call in of_method {
            let messages = |of: &str| call.number(&format!("apiscope.rpc.{of}.messages"));
            ensure!(call.text("rpc.response.status_code") == code, "{}", call.0);
            ensure!(messages("request") == Some(requests), "{}", call.0);
            ensure!(messages("response") == responses, "{}", call.0);
            ensure!(call.text("http.route") == format!("/{method}"), "{}", call.0);
            let compressed = call.number("apiscope.rpc.request.messages.compressed");
            ensure!(compressed == (name == "Get").then_some(1), "{}", call.0);
        }
    }
    Ok(())
}
