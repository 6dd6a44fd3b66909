//! Servers to observe: programs that others wrote.

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    child::{self, Process, output},
    directory,
    go::{self, Build},
    net, program,
};

/// Makes a certificate for localhost; its file and that of its key.
pub fn certificate(directory: &Path) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    output(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
    Ok((certificate, key))
}

/// A server that can be started: by a test, or by the agent.
#[derive(Debug)]
pub struct Server {
    directory: TempDir,
    address: Option<SocketAddr>,
    tls: bool,
    command: Vec<OsString>,
}

impl Server {
    /// nginx with two workers.
    pub fn nginx(tls: bool) -> Result<Self> {
        let directory = directory()?;
        let path = directory.path();
        certificate(path)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let text = fs::read_to_string(program("nginx.conf")).context("read nginx.conf")?;
        let text = text.replace("DIRECTORY", &path.display().to_string()).replace(
            "PORT LISTEN",
            &format!("{}{}", address.port(), if tls { " ssl" } else { "" }),
        );
        let configuration = path.join("nginx.conf");
        fs::write(&configuration, text).context("write nginx.conf")?;
        fs::create_dir(path.join("static")).context("make a directory")?;
        for number in 0..8 {
            let line = format!("file {number}, a line of text\n");
            let name = path.join(format!("static/{number}.txt"));
            fs::write(name, line.repeat(number * 200)).context("write a file")?;
        }
        let mut command = vec!["nginx".into(), "-p".into(), path.into()];
        command.extend(["-e".into(), path.join("error.log").into()]);
        command.extend(["-c".into(), configuration.into()]);
        Ok(Self { directory, address: Some(address), tls, command })
    }

    /// nginx with two workers, over no later version than TLS 1.2.
    pub fn nginx_tls_1_2() -> Result<Self> {
        let server = Self::nginx(true)?;
        let configuration = server.directory().join("nginx.conf");
        let text = fs::read_to_string(&configuration).context("read nginx.conf")?;
        let text = text.replace("TLSv1.2 TLSv1.3", "TLSv1.2");
        fs::write(&configuration, text).context("write nginx.conf")?;
        Ok(server)
    }

    /// lighttpd with GnuTLS, which passes requests on to another server.
    pub fn lighttpd(upstream: &Self) -> Result<Self> {
        let directory = directory()?;
        let path = directory.path();
        certificate(path)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let text = fs::read_to_string(program("lighttpd.conf")).context("read lighttpd.conf")?;
        let text = text
            .replace("DIRECTORY", &path.display().to_string())
            .replace("PORT", &address.port().to_string())
            .replace("UPSTREAM", &upstream.address()?.port().to_string());
        let configuration = path.join("lighttpd.conf");
        fs::write(&configuration, text).context("write lighttpd.conf")?;
        let command = vec!["lighttpd".into(), "-D".into(), "-f".into(), configuration.into()];
        Ok(Self { directory, address: Some(address), tls: true, command })
    }

    /// `server.rb`, which is Ruby's own.
    pub fn ruby() -> Result<Self> {
        let directory = directory()?;
        let (certificate, key) = certificate(directory.path())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let mut command: Vec<OsString> = vec!["ruby".into(), program("server.rb").into()];
        command.extend([address.port().to_string().into(), certificate.into(), key.into()]);
        Ok(Self { directory, address: Some(address), tls: true, command })
    }

    /// A server of `server.py`.
    pub fn python(kind: &str, ip: IpAddr, tls: bool) -> Result<Self> {
        Self::python_by(vec![child::python()?.into()], kind, ip, tls)
    }

    /// A server of `server.py`, over TLS, by the Python of another release of Debian.
    pub fn python_of(suite: &str, kind: &str) -> Result<Self> {
        Self::python_by(child::python_of(suite)?, kind, IpAddr::V4(Ipv4Addr::LOCALHOST), true)
    }

    fn python_by(python: Vec<OsString>, kind: &str, ip: IpAddr, tls: bool) -> Result<Self> {
        let directory = directory()?;
        let address = SocketAddr::new(ip, net::free_port()?);
        let mut command = python_server(python, kind);
        command.extend(["--address".into(), ip.to_string().into()]);
        command.extend(["--port".into(), address.port().to_string().into()]);
        if tls {
            let (certificate, key) = certificate(directory.path())?;
            command.extend(["--certificate".into(), certificate.into()]);
            command.extend(["--key".into(), key.into()]);
        }
        Ok(Self { directory, address: Some(address), tls, command })
    }

    /// A server of `server.py` on a unix socket.
    pub fn python_unix() -> Result<Self> {
        let directory = directory()?;
        let mut command = python_server(vec![child::python()?.into()], "unix");
        command.extend(["--path".into(), directory.path().join("socket").into()]);
        Ok(Self { directory, address: None, tls: false, command })
    }

    /// A server of `server.mjs`.
    pub fn node(tls: bool) -> Result<Self> {
        let directory = directory()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let mut command: Vec<OsString> = vec!["node".into(), program("server.mjs").into()];
        command.push(address.port().to_string().into());
        if tls {
            let (certificate, key) = certificate(directory.path())?;
            command.extend([certificate.into(), key.into()]);
        }
        Ok(Self { directory, address: Some(address), tls, command })
    }

    /// `server.go`; with an upstream it passes requests on.
    pub fn go(build: Build, tls: bool, upstream: Option<&Self>) -> Result<Self> {
        let directory = directory()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let mut command = go::command("server", build)?;
        command.push(address.to_string().into());
        if tls {
            let (certificate, key) = certificate(directory.path())?;
            command.extend([certificate.into(), key.into()]);
        }
        command.extend(upstream.map(|upstream| upstream.target().into()));
        Ok(Self { directory, address: Some(address), tls, command })
    }

    /// Where its files are, and where a client may write.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its unix socket, when it has one.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Its address.
    pub fn address(&self) -> Result<SocketAddr> {
        self.address.context("a unix socket has no address")
    }

    /// What a client is told to talk to.
    pub fn target(&self) -> String {
        match self.address {
            Some(address) => format!("{}://{address}", if self.tls { "https" } else { "http" }),
            None => format!("unix:{}", self.socket().display()),
        }
    }

    /// The command that runs it in the foreground.
    pub fn command(&self) -> &[OsString] {
        &self.command
    }

    /// Waits until it accepts connections.
    pub fn wait_ready(&self) -> Result<()> {
        match self.address {
            Some(address) => net::wait_for_port(address),
            None => net::wait_for_socket(&self.socket()),
        }
    }

    /// Starts it, outside of what is observed.
    pub fn start(&self) -> Result<Process> {
        let (name, args) = self.command.split_first().context("no command")?;
        let process = Process::start(Command::new(name).args(args))?;
        self.wait_ready().with_context(|| process.said())?;
        Ok(process)
    }
}

fn python_server(mut python: Vec<OsString>, kind: &str) -> Vec<OsString> {
    python.extend([program("server.py").into(), "--kind".into(), kind.into()]);
    python
}
