//! Servers under load: programs that others wrote, and what drives them.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell::{output, root, target};

/// What is asked for: all of them answer it.
const PATH: &str = "/api/items/7";

/// A program that serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// nginx with one worker, in plaintext.
    NginxHttp,
    /// The same over TLS.
    NginxHttps,
    /// `net/http` of the newest Go, over TLS.
    Go,
    /// Node.js, over TLS.
    Node,
    /// CPython with threads, over TLS.
    Python,
}

impl Program {
    /// How rows of the report are headed.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NginxHttp => "http",
            Self::NginxHttps => "https",
            Self::Go => "https of Go",
            Self::Node => "https of Node.js",
            Self::Python => "https of CPython",
        }
    }

    const fn tls(self) -> bool {
        !matches!(self, Self::NginxHttp)
    }

    /// The command that serves at an address, with the files in a directory.
    fn command(self, directory: &Path, address: SocketAddr) -> Result<Command> {
        let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        let programs = root().join("tests/programs");
        let port = address.port().to_string();
        let mut command;
        match self {
            Self::NginxHttp | Self::NginxHttps => {
                fs::write(directory.join("nginx.conf"), self.nginx(address))
                    .context("write nginx.conf")?;
                command = Command::new("nginx");
                command.arg("-p").arg(directory).args(["-c", "nginx.conf", "-e", "error.log"]);
            }
            Self::Go => {
                command = Command::new(go_server(&programs)?);
                command.arg(address.to_string()).arg(certificate).arg(key);
            }
            Self::Node => {
                command = Command::new("node");
                command.arg(programs.join("server.mjs")).arg(port).arg(certificate).arg(key);
            }
            Self::Python => {
                command = Command::new("python3");
                command.arg(programs.join("server.py")).args(["--kind", "threading"]);
                command.args(["--address", &address.ip().to_string(), "--port", &port]);
                command.arg("--certificate").arg(certificate).arg("--key").arg(key);
            }
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    fn nginx(self, address: SocketAddr) -> String {
        let (listen, tls) = if self.tls() {
            (" ssl", "ssl_certificate cert.pem; ssl_certificate_key key.pem;")
        } else {
            ("", "")
        };
        let body = format!(r#"{{"id":7,"name":"bench","text":"{}"}}"#, "x".repeat(980));
        format!(
            "daemon off; master_process on; worker_processes 1; pid nginx.pid;
             error_log error.log; events {{ worker_connections 1024; }}
             http {{ access_log off; keepalive_requests 1000000000;
               server {{ listen {address}{listen}; {tls}
                 location / {{ default_type application/json; return 200 '{body}'; }} }} }}"
        )
    }
}

/// `server.go`, built by the Go that `cargo xtask setup` installs.
fn go_server(programs: &Path) -> Result<PathBuf> {
    let folder = target().join("go");
    let go = folder.join("newest/go/bin/go");
    ensure!(go.exists(), "there is no {}: cargo xtask setup --tests", go.display());
    let server = target().join("bench-go");
    let mut build = Command::new(go);
    build.args(["build", "-o"]).arg(&server).arg(programs.join("server.go"));
    build.envs([("GOTOOLCHAIN", "local"), ("GO111MODULE", "off"), ("GOFLAGS", "")]);
    build.envs([("GOPATH", folder.join("path")), ("GOCACHE", folder.join("cache"))]);
    output(&mut build)?;
    Ok(server)
}

/// What one load gave.
#[derive(Clone, Copy, Default)]
pub(super) struct Load {
    pub(super) per_second: f64,
    pub(super) p99_ms: f64,
    pub(super) requests: f64,
}

/// A server that runs.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    tls: bool,
    directory: PathBuf,
}

impl Server {
    pub(super) fn start(program: Program) -> Result<Self> {
        let directory = target().join("bench");
        fs::create_dir_all(&directory).context("make a directory")?;
        let address = free_address()?;
        if program.tls() {
            certificate(&directory)?;
        }
        let child = program.command(&directory, address)?.spawn().context("start the server")?;
        let server = Self { child, address, tls: program.tls(), directory };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            ensure!(Instant::now() < deadline, "{} does not answer", program.name());
            std::thread::yield_now();
        }
        Ok(server)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn url(&self) -> String {
        format!("{}://{}{PATH}", if self.tls { "https" } else { "http" }, self.address)
    }

    /// As many requests as the server answers, by wrk.
    pub(super) fn load(&self, seconds: u32, connections: u32) -> Result<Load> {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "--latency"]);
        wrk.arg(format!("-c{connections}")).arg(format!("-d{seconds}s")).arg(self.url());
        let text = output(&mut wrk)?;
        let after = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
            line.map(str::trim).with_context(|| format!("no {name} in {text}"))
        };
        let requests = text
            .lines()
            .find_map(|line| line.trim().split_once(" requests in "))
            .with_context(|| format!("no requests in {text}"))?
            .0;
        Ok(Load {
            per_second: after("Requests/sec:")?.parse().context("requests a second")?,
            p99_ms: milliseconds(after("99%")?)?,
            requests: requests.parse().context("requests")?,
        })
    }

    /// So many requests a second, by hey: what a service has to do, not what it can do.
    pub(super) fn paced(&self, seconds: u32, connections: u32, per_second: u32) -> Result<Load> {
        let mut hey = Command::new("hey");
        hey.args(["-z", &format!("{seconds}s"), "-c", &connections.to_string()]);
        hey.args(["-q", &(per_second / connections).to_string(), &self.url()]);
        let text = output(&mut hey)?;
        let number = |line: Option<&str>| -> Result<f64> {
            let word = line.and_then(|line| line.split_ascii_whitespace().next());
            word.with_context(|| format!("no number in {text}"))?.parse().context("a number")
        };
        let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        let p99 = text.lines().find_map(|line| line.trim().strip_prefix("99% in "));
        let answered = text.lines().find_map(|line| line.trim().strip_prefix("[200]"));
        Ok(Load {
            per_second: number(rate)?,
            p99_ms: number(p99)? * 1000.0,
            requests: number(answered)?,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        // A server that is gone already is what is wanted.
        drop(Command::new("kill").arg(pid).status());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn milliseconds(text: &str) -> Result<f64> {
    for (unit, factor) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>().context("a time")? * factor);
        }
    }
    bail!("no time: {text}")
}

pub(super) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    listener.local_addr().context("read the port")
}

fn certificate(directory: &Path) -> Result<()> {
    output(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .arg("-keyout")
            .arg(directory.join("key.pem"))
            .arg("-out")
            .arg(directory.join("cert.pem")),
    )?;
    Ok(())
}
