//! Addresses, and the little HTTP that a test itself speaks.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{PATIENCE, eventually};

/// Ports that tests use: below those that the kernel gives to clients
/// (`ip_local_port_range`), one of which could take a port that is free now.
const FIRST_PORT: u16 = 18_000;
const PORTS: u16 = 14_000;

/// A loopback port that nothing listens on, given once.
pub fn free_port() -> Result<u16> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different ports.
    let start = std::process::id() * 101 % u32::from(PORTS);
    for _ in 0..PORTS {
        let number = start + u32::from(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + u16::try_from(number % u32::from(PORTS)).context("port")?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok();
        if free {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

/// Waits until something accepts connections.
pub fn wait_for_port(address: SocketAddr) -> Result<()> {
    eventually(&format!("a server at {address}"), || {
        Ok(TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok().map(drop))
    })
}

/// Waits until something accepts connections on a unix socket.
pub fn wait_for_socket(path: &Path) -> Result<()> {
    eventually(&format!("a server at {}", path.display()), || {
        Ok(std::os::unix::net::UnixStream::connect(path).ok().map(drop))
    })
}

/// Gets a document; status and body.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE)).context("set a timeout")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .context("send")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("receive")?;
    let (head, body) = text.split_once("\r\n\r\n").context("a response without an end")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("no status")?, body.to_owned()))
}
