//! Makes HTTPS requests by reqwest, rustls and ring over connections that are kept, and
//! writes down what it did, a JSON object for each: rustls-client TARGET COUNT CONNECTIONS OUT
//! [--close] [--tls-1.2] [--http2]
//!
//! The certificate that it trusts is beside what it writes.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs, io,
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use reqwest::{Certificate, Client, Method, header::CONTENT_TYPE, redirect, tls};
use ring::digest::{SHA256, digest};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A program that was just started is observed from some tens of milliseconds on; each probe
/// may take the kernel as long under load.
const OBSERVED_AFTER: Duration = Duration::from_secs(2);

/// How long the server may take to start.
const READY_WITHIN: Duration = Duration::from_secs(60);

const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes a request; what was done.
async fn exchange(client: &Client, target: &str, number: usize) -> Result<String> {
    let method = &METHODS[number % METHODS.len()];
    let name = match number % 20 {
        7 => "missing",
        11 => "created",
        13 => "moved",
        _ => "items",
    };
    let path = format!("/api/{name}/{number}");
    let mut request = client.request(method.clone(), format!("{target}{path}?q=secret-{number}"));
    let mut body = String::new();
    if [Method::POST, Method::PUT].contains(method) {
        let note = "x".repeat(number * 37 % 3000);
        body = format!("{{\"number\": {number}, \"note\": \"secret-{note}\"}}");
        request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let port = response.headers().get("x-port").ok_or("no port")?.to_str()?.to_owned();
    let answer = response.bytes().await?;
    Ok(format!(
        "{{\"method\": \"{method}\", \"path\": \"{path}\", \"status\": {status}, \
         \"request_size\": {}, \"request_sha256\": \"{}\", \
         \"response_size\": {}, \"response_sha256\": \"{}\", \"port\": {port}}}\n",
        body.len(),
        sha256(body.as_bytes()),
        answer.len(),
        sha256(&answer),
    ))
}

fn wait_for(target: &str) -> Result<()> {
    let address = target.split("://").nth(1).ok_or("no URL")?;
    let started = Instant::now();
    while let Err(error) = TcpStream::connect(address) {
        if started.elapsed() > READY_WITHIN {
            return Err(error.into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let usage = || io::Error::other("rustls-client TARGET COUNT CONNECTIONS OUT [--close] [--tls-1.2] [--http2]");
    let [target, count, connections, out, options @ ..] = args.as_slice() else {
        return Err(usage().into());
    };
    let has = |option: &str| options.iter().any(|given| given == option);
    let (count, connections): (usize, usize) = (count.parse()?, connections.parse()?);
    let certificate = fs::read(Path::new(out).with_file_name("certificate.pem"))?;
    wait_for(target)?;
    thread::sleep(OBSERVED_AFTER);

    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    for _ in 0..connections {
        let mut builder = Client::builder()
            .add_root_certificate(Certificate::from_pem(&certificate)?)
            .redirect(redirect::Policy::none());
        builder = if has("--http2") { builder.http2_prior_knowledge() } else { builder.http1_only() };
        if has("--close") {
            builder = builder.pool_max_idle_per_host(0);
        }
        if has("--tls-1.2") {
            builder = builder.max_tls_version(tls::Version::TLS_1_2);
        }
        let (client, next, target) = (builder.build()?, Arc::clone(&next), target.clone());
        workers.push(tokio::spawn(async move {
            let mut done = String::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, Box<dyn Error + Send + Sync>>(done);
                }
                done += &exchange(&client, &target, number).await?;
            }
        }));
    }
    let mut done = String::new();
    for worker in workers {
        done += &worker.await??;
    }
    fs::write(out, done)?;
    Ok(())
}
