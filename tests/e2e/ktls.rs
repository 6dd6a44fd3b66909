//! TLS that the kernel encrypts (kTLS): what goes over the socket is plaintext to the process
//! and ciphertext to the network.

use anyhow::{Result, ensure};
use support::{
    apiscope::Options,
    call::{Done, all},
    client::{Client, TOGETHER, together},
    proof,
    server::{Server, ktls_sessions},
};

/// Requests, a half of them for files, which the kernel reads too.
const COUNT: usize = 1000;

#[test]
fn calls_of_a_server_that_lets_the_kernel_do_tls_are_seen_once() -> Result<()> {
    let before = ktls_sessions()?;
    let server = Server::nginx_ktls()?;
    let client = Client::python(&server, support::scaled(COUNT), 2)?.with("--static");
    let observed = Options::new()?.script(TOGETHER, together(&server, &client))?;
    let (calls, _) = observed.finish_with_gaps()?;
    let facts = |call: Done| (call.path, call.status, call.response_size, call.port);
    let mut done: Vec<_> = client.done()?.into_iter().map(facts).collect();
    let mut seen: Vec<_> = calls.iter().map(|call| facts(call.done())).collect();
    done.sort();
    seen.sort();
    ensure!(!seen.is_empty() && seen == done, "{seen:?}\nis not\n{done:?}");
    all(&calls, "apiscope.binding", "nested_syscall")?;
    all(&calls, "url.scheme", "https")?;
    // Where the kernel cannot, OpenSSL does it by itself.
    match before {
        None => Ok(()),
        Some(before) => {
            ensure!(ktls_sessions()?.is_some_and(|after| after > before), "the kernel did no TLS");
            proof::whole("OpenSSL 3.0, TLS by the kernel", "nginx", &calls)
        }
    }
}
