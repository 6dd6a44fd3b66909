//! Servers to observe: programs that others wrote.

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::{
    child::{self, Process, output},
    directory,
    go::{self, Build},
    net, program, ring_program, rustls_server, tool,
};

/// Makes a certificate for localhost; its file and that of its key.
pub fn certificate(directory: &Path) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    // Some clients take no authority for a server, and no name but these.
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    output(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
    Ok((certificate, key))
}

/// In nginx.conf: what has the kernel send files, and versions of TLS.
const SENDFILE: (&str, &str) = ("sendfile off", "sendfile on");
const VERSIONS: &str = "TLSv1.2 TLSv1.3";

/// In nginx.conf: that it listens for HTTP/2, by the line behind.
const LISTEN_HTTP2: (&str, &str) =
    (";\n        ssl_certificate ", " http2;\n        ssl_certificate ");

/// Sessions that the kernel has encrypted for (Documentation/networking/tls.rst); `None` where
/// it cannot.
pub fn ktls_sessions() -> Result<Option<u64>> {
    let Ok(text) = fs::read_to_string("/proc/net/tls_stat") else { return Ok(None) };
    let line = text.lines().find_map(|line| line.strip_prefix("TlsTxSw"));
    line.context("TlsTxSw")?.trim().parse().map(Some).context("parse TlsTxSw")
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
        Self::nginx_with(tls, &[])
    }

    /// nginx with another configuration: each text is replaced by the one beside it.
    fn nginx_with(tls: bool, edits: &[(&str, &str)]) -> Result<Self> {
        let directory = directory()?;
        let path = directory.path();
        certificate(path)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let text = fs::read_to_string(program("nginx.conf")).context("read nginx.conf")?;
        let listen = format!("{}{}", address.port(), if tls { " ssl" } else { "" });
        let mut text =
            text.replace("DIRECTORY", &path.display().to_string()).replace("PORT LISTEN", &listen);
        for (before, after) in edits {
            ensure!(text.contains(before), "nginx.conf has no {before:?}");
            text = text.replace(before, after);
        }
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

    /// nginx with two workers, which speaks HTTP/2.
    pub fn nginx_http2(tls: bool) -> Result<Self> {
        Self::nginx_with(tls, &[LISTEN_HTTP2])
    }

    /// nginx with two workers, which has the kernel send its files.
    pub fn nginx_sendfile() -> Result<Self> {
        Self::nginx_with(false, &[SENDFILE])
    }

    /// nginx with two workers, which has the kernel do TLS, and send its files over it.
    pub fn nginx_ktls() -> Result<Self> {
        let ktls = "TLSv1.2 TLSv1.3; ssl_conf_command Options KTLS";
        Self::nginx_with(true, &[SENDFILE, (VERSIONS, ktls)])
    }

    /// nginx with two workers, over no later version than TLS 1.2.
    pub fn nginx_tls_1_2() -> Result<Self> {
        Self::nginx_with(true, &[(VERSIONS, "TLSv1.2")])
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

    /// haproxy, which passes requests on to another server, over TLS too.
    pub fn haproxy(upstream: &Self) -> Result<Self> {
        let directory = directory()?;
        let path = directory.path();
        let (certificate, key) = certificate(path)?;
        let both = fs::read_to_string(certificate)? + &fs::read_to_string(key)?;
        fs::write(path.join("both.pem"), both).context("write a certificate")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let text = fs::read_to_string(program("haproxy.cfg")).context("read haproxy.cfg")?;
        let text = text
            .replace("DIRECTORY", &path.display().to_string())
            .replace("PORT", &address.port().to_string())
            .replace("UPSTREAM", &upstream.address()?.port().to_string());
        let configuration = path.join("haproxy.cfg");
        fs::write(&configuration, text).context("write haproxy.cfg")?;
        let command = vec!["haproxy".into(), "-db".into(), "-f".into(), configuration.into()];
        Ok(Self { directory, address: Some(address), tls: true, command })
    }

    /// Gunicorn over TLS: four processes that were forked from one, of two threads each.
    pub fn gunicorn() -> Result<Self> {
        let args = ["--preload", "--workers=4", "--worker-class=gthread", "--threads=2"];
        Self::web_app("gunicorn", "web_app:wsgi", |address, certificate, key| {
            let mut args: Vec<OsString> = args.map(Into::into).into();
            args.extend(["--bind".into(), address.to_string().into()]);
            args.extend(["--certfile".into(), certificate.into(), "--keyfile".into(), key.into()]);
            args
        })
    }

    /// `pyopenssl_server.py`, which looks for packages in a folder first.
    pub fn pyopenssl(packages: &Path) -> Result<Self> {
        let directory = directory()?;
        let (certificate, key) = certificate(directory.path())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let path = format!("PYTHONPATH={}", packages.display());
        let mut command: Vec<OsString> = vec!["env".into(), path.into(), tool("python")?.into()];
        command.extend(["-B".into(), program("pyopenssl_server.py").into()]);
        command.extend([address.port().to_string().into(), certificate.into(), key.into()]);
        Ok(Self { directory, address: Some(address), tls: true, command })
    }

    /// Uvicorn over TLS.
    pub fn uvicorn() -> Result<Self> {
        Self::web_app("uvicorn", "web_app:asgi", |address, certificate, key| {
            let mut args: Vec<OsString> = vec!["--lifespan=off".into(), "--no-access-log".into()];
            args.extend(["--host".into(), address.ip().to_string().into()]);
            args.extend(["--port".into(), address.port().to_string().into()]);
            args.extend(["--ssl-certfile".into(), certificate.into()]);
            args.extend(["--ssl-keyfile".into(), key.into()]);
            args
        })
    }

    /// Granian over TLS: a server in Rust, with rustls and ring.
    pub fn granian() -> Result<Self> {
        Self::web_app("granian", "web_app:asgi", |address, certificate, key| {
            let args = ["--interface=asgi", "--http=1", "--no-ws", "--workers=1"];
            let mut args: Vec<OsString> = args.map(Into::into).into();
            args.extend(["--host".into(), address.ip().to_string().into()]);
            args.extend(["--port".into(), address.port().to_string().into()]);
            args.extend(["--ssl-certificate".into(), certificate.into()]);
            args.extend(["--ssl-keyfile".into(), key.into()]);
            args
        })
    }

    /// hyper over TLS, by rustls with AWS-LC.
    pub fn rustls() -> Result<Self> {
        Self::rustls_by(rustls_server()?)
    }

    /// hyper over TLS, by rustls with ring.
    pub fn ring() -> Result<Self> {
        Self::rustls_by(ring_program("rustls-server")?)
    }

    /// hyper over TLS, by such a program.
    pub fn rustls_by(program: PathBuf) -> Result<Self> {
        let directory = directory()?;
        let (certificate, key) = certificate(directory.path())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let mut command: Vec<OsString> = vec![program.into()];
        command.extend([address.to_string().into(), certificate.into(), key.into()]);
        Ok(Self { directory, address: Some(address), tls: true, command })
    }

    /// A Python package that runs `web_app.py`.
    fn web_app(
        package: &str,
        app: &str,
        args: impl FnOnce(SocketAddr, PathBuf, PathBuf) -> Vec<OsString>,
    ) -> Result<Self> {
        let directory = directory()?;
        let (certificate, key) = certificate(directory.path())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let mut command: Vec<OsString> = vec!["env".into(), "PYTHONDONTWRITEBYTECODE=1".into()];
        let programs = program("").display().to_string();
        command.push(format!("PYTHONPATH={programs}").into());
        command.extend([tool(package)?.into(), app.into()]);
        command.extend(args(address, certificate, key));
        Ok(Self { directory, address: Some(address), tls: true, command })
    }

    /// `Server.java`, which is Java's own.
    pub fn java() -> Result<Self> {
        let directory = directory()?;
        let (certificate, key) = certificate(directory.path())?;
        let store = directory.path().join("keys.p12");
        let mut openssl = Command::new("openssl");
        openssl.args(["pkcs12", "-export", "-passout", "pass:password", "-in"]);
        openssl.arg(certificate).arg("-inkey").arg(key).arg("-out").arg(&store);
        output(&mut openssl)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let mut command: Vec<OsString> = vec!["java".into(), program("Server.java").into()];
        command.extend([address.port().to_string().into(), store.into()]);
        Ok(Self { directory, address: Some(address), tls: true, command })
    }

    /// `grpc_peer.py` as a server.
    pub fn grpc() -> Result<Self> {
        let directory = directory()?;
        let (certificate, key) = certificate(directory.path())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let mut command: Vec<OsString> = vec![tool("python")?.into(), "-B".into()];
        command.extend([program("grpc_peer.py").into(), "server".into()]);
        command.extend([address.port().to_string().into(), certificate.into(), key.into()]);
        Ok(Self { directory, address: Some(address), tls: true, command })
    }

    /// The command of `grpc_peer.py` as its client, which makes so many calls, each on a
    /// connection of its own.
    pub fn grpc_client(&self, count: usize) -> Result<Vec<OsString>> {
        let mut command: Vec<OsString> = vec![tool("python")?.into(), "-B".into()];
        command.extend([program("grpc_peer.py").into(), "client".into()]);
        command.push(self.address()?.port().to_string().into());
        command.push(self.directory().join("certificate.pem").into());
        command.push(count.to_string().into());
        Ok(command)
    }

    /// `NettyServer.java`: Netty, with OpenSSL by netty-tcnative.
    pub fn netty() -> Result<Self> {
        const PARTS: [&str; 8] = [
            "tcnative",
            "common",
            "buffer",
            "transport",
            "handler",
            "codec",
            "codec-http",
            "resolver",
        ];
        let directory = directory()?;
        let (certificate, key) = certificate(directory.path())?;
        // Debian's Netty looks for another name than Debian's library has, and the library
        // for its own name behind links.
        let library = "/usr/lib/x86_64-linux-gnu/jni/libnetty-tcnative.so";
        let copy = directory.path().join("libnetty_tcnative.so");
        fs::copy(library, copy).with_context(|| format!("copy {library}"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let jars = PARTS.map(|part| format!("/usr/share/java/netty-{part}.jar"));
        let mut command: Vec<OsString> = vec!["java".into(), "-cp".into()];
        command.push(jars.join(":").into());
        command.push(format!("-Djava.library.path={}", directory.path().display()).into());
        command.push(program("NettyServer.java").into());
        command.extend([address.port().to_string().into(), certificate.into(), key.into()]);
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

    /// A server of `server.py` by the Python of a container: what it reads has the same paths
    /// there.
    pub fn python_in_container(ip: IpAddr, tls: bool) -> Result<Self> {
        Self::python_by(vec!["/usr/bin/python3".into(), "-B".into()], "threading", ip, tls)
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

    /// The same, over HTTP/2.
    pub fn node_http2(tls: bool) -> Result<Self> {
        let mut server = Self::node(tls)?;
        server.command.push("--http2".into());
        Ok(server)
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
