//! What shows the bytes of sockets: the exit of system calls, and the functions of the kernel.
//! The same programs are watched by each, and the same calls must be seen.
//!
//! In guests alone, whose kernels all let functions be hooked.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::{Options, binary},
    call::{Call, Done, all, all_both_ends, compare, compare_complete, kernel_version},
    child::python,
    client::{Client, TOGETHER, together},
    ensure_guest, eventually, program,
    server::{Server, ktls_sessions},
};

/// Requests of one client.
const COUNT: usize = 12;

/// A server and its client.
struct Pair {
    server: Server,
    client: Client,
}

impl Pair {
    fn new(server: Server) -> Result<Self> {
        let client = Client::python(&server, COUNT, 2)?;
        Ok(Self { server, client })
    }

    /// The same, with files among what is asked for.
    fn with_files(server: Server) -> Result<Self> {
        let client = Client::python(&server, COUNT, 2)?.with("--static");
        Ok(Self { server, client })
    }

    /// A line of a script whose first argument is [`TOGETHER`].
    fn line(&self, script: &mut String) -> Result<()> {
        script.push_str("sh -c \"$1\" sh");
        for word in together(&self.server, &self.client) {
            let word = word.to_str().context("a word of a command")?;
            ensure!(!word.contains('\''), "cannot quote {word}");
            write!(script, " '{word}'")?;
        }
        script.push_str(" || exit 1\n");
        Ok(())
    }

    /// Takes the calls out that are this server's: those at its port, or without one.
    fn take(&self, calls: &mut Vec<Call>) -> Vec<Call> {
        let port = self.server.address().ok().map(|address| u64::from(address.port()));
        calls.extract_if(.., |call| call.number("server.port") == port).collect()
    }
}

/// What one backend saw of all pairs.
struct Seen {
    /// Of calls whose bytes went through memory.
    whole: Vec<Done>,
    /// Path, status and size, where the kernel sent files.
    sent: Vec<(String, u16, u64)>,
    /// Paths of requests over `io_uring`.
    uring: Vec<String>,
}

/// Watches the programs by one backend, and compares what was seen with what was done.
fn watch(backend: &str) -> Result<Seen> {
    let whole = [
        Pair::new(Server::python("threading", Ipv4Addr::LOCALHOST.into(), false)?)?,
        Pair::new(Server::python("threading", Ipv6Addr::LOCALHOST.into(), false)?)?,
        Pair::new(Server::python("threading", Ipv4Addr::LOCALHOST.into(), true)?)?,
        Pair::new(Server::python_unix()?)?,
        // Heads and bodies in one call, from several buffers.
        Pair::with_files(Server::nginx(false)?)?,
    ];
    let before = ktls_sessions()?;
    let sends_files =
        [Pair::with_files(Server::nginx_sendfile()?)?, Pair::with_files(Server::nginx_ktls()?)?];
    let outside = Server::nginx(false)?;
    let _outside = outside.start()?;

    let mut script = String::new();
    for pair in whole.iter().chain(&sends_files) {
        pair.line(&mut script)?;
    }
    let address = outside.address()?;
    let (python, uring) = (python()?, program("uring_raw.py"));
    let uring = uring.display();
    writeln!(script, "{python} -B {uring} {} {} {COUNT}", address.ip(), address.port())?;
    let options = Options::new()?.args(["--socket-backend", backend]);
    let mut apiscope = options.script(&script, [TOGETHER])?;
    apiscope.wait_ready()?;
    // Each program may take as long as anything may.
    for programs in 1..=whole.len() + sends_files.len() {
        let seen = || Ok((apiscope.count() >= programs * COUNT).then_some(()));
        eventually("the calls of a program", seen)?;
    }
    let (mut calls, _) = apiscope.finish_with_gaps()?;

    let mut seen = Seen { whole: Vec::new(), sent: Vec::new(), uring: Vec::new() };
    for pair in &whole {
        let found = pair.take(&mut calls);
        compare_complete(&pair.client.done()?, &found)?;
        all_both_ends(&found)?;
        if pair.server.target().starts_with("https") {
            all(&found, "apiscope.binding", "nested_syscall")?;
        }
        seen.whole.extend(found.iter().map(|call| call.done().without_port()));
    }

    let facts = |call: Done| (call.path, call.status, call.response_size);
    let by_kernel = before.is_none() || ktls_sessions()? > before;
    ensure!(by_kernel, "the kernel did no TLS");
    let mut done = Vec::new();
    for pair in &sends_files {
        done.extend(pair.client.done()?.into_iter().map(facts));
        seen.sent.extend(pair.take(&mut calls).iter().map(|call| facts(call.done())));
    }
    done.sort();
    seen.sent.sort();
    ensure!(seen.sent == done, "{:?}\nis not\n{done:?}", seen.sent);

    let of_uring: Vec<_> = calls
        .extract_if(.., |call| call.number("server.port") == Some(address.port().into()))
        .collect();
    for call in &of_uring {
        let whole = call.is("apiscope.complete") && call.number("apiscope.lost_bytes") == Some(0);
        ensure!(whole, "not complete: {}", call.0);
        ensure!(call.number("http.response.status_code") == Some(200), "{}", call.0);
        ensure!(call.text("apiscope.role") == "client", "{}", call.0);
        seen.uring.push(call.text("url.path").to_owned());
    }
    seen.uring.sort();
    ensure!(calls.is_empty(), "calls that nobody made: {calls:?}");
    Ok(seen)
}

/// Where the kernel leaves programs of functions out, the agent does not use them.
fn refused() -> Result<()> {
    let mut command = Command::new(binary()?);
    command.args(["run", "--no-state", "--output", "none", "--socket-backend", "function"]);
    let output = command.args(["--", "true"]).output().context("run apiscope")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let advice = said.contains("--socket-backend syscall works everywhere");
    ensure!(!output.status.success() && advice, "{}: {said}", output.status);
    Ok(())
}

#[test]
fn both_backends_see_the_same_calls_and_functions_those_over_io_uring_too() -> Result<()> {
    ensure_guest()?;
    if kernel_version()? >= (7, 0) {
        return refused();
    }
    let by_syscall = watch("syscall").context("by system calls")?;
    let by_function = watch("function").context("by functions")?;
    ensure!(by_syscall.whole.len() == 5 * COUNT, "{} calls", by_syscall.whole.len());
    compare(&by_syscall.whole, &by_function.whole)?;
    ensure!(by_syscall.sent == by_function.sent, "files that the kernel sent");

    ensure!(by_syscall.uring.is_empty(), "{:?}", by_syscall.uring);
    let mut asked: Vec<_> = (0..COUNT).map(|number| format!("/api/items/{number}")).collect();
    asked.sort();
    ensure!(by_function.uring == asked, "{:?}", by_function.uring);
    Ok(())
}
