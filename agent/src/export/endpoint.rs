//! `GET /metrics`, `/healthz`, `/readyz` and `/version`.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::sync::watch;

use super::metrics::Metrics;

/// Media type of the text format that is served.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug)]
struct Shared {
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
}

/// A server that answers until it is told to stop.
#[derive(Debug)]
pub struct Server {
    ready: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    address: SocketAddr,
}

/// Listens on an address, for a [`Server`].
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("listen on {address} for /metrics; choose another address with --listen")
    })
}

impl Server {
    /// Answers on a socket that listens. Within a runtime.
    pub fn start(listener: TcpListener, metrics: Arc<Metrics>) -> Result<Self> {
        listener.set_nonblocking(true).context("make the socket one that does not block")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("take the socket")?;
        let address = listener.local_addr().context("read the address")?;
        let ready = Arc::new(AtomicBool::new(false));
        let shared = Shared { metrics, ready: Arc::clone(&ready) };
        let router = Router::new()
            .route("/metrics", get(render))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readiness))
            .route("/version", get(|| async { concat!(env!("CARGO_PKG_VERSION"), "\n") }))
            .with_state(shared);
        let (stop, mut stopped) = watch::channel(false);
        let serve = axum::serve(listener, router).with_graceful_shutdown(async move {
            // An error means that the sender is gone, which means the same.
            drop(stopped.wait_for(|&stop| stop).await);
        });
        drop(tokio::spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!("the metrics endpoint ended: {error}");
            }
        }));
        Ok(Self { ready, stop, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on `/readyz` says yes.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has stopped.
        _ = self.stop.send(true);
    }
}

async fn render(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], shared.metrics.render())
}

async fn readiness(State(shared): State<Shared>) -> impl IntoResponse {
    if shared.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the probes are not attached yet\n")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_follows_the_flag_and_metrics_are_served() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(listen(address).unwrap(), Arc::new(Metrics::new())).unwrap();
        assert!(ask(server.address(), "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(server.address(), "/readyz").await.starts_with("HTTP/1.1 503"));
        server.ready();
        assert!(ask(server.address(), "/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = ask(server.address(), "/metrics").await;
        assert!(metrics.contains(OPEN_METRICS) && metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(ask(server.address(), "/nothing").await.starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn an_address_in_use_is_said() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = listen(address).unwrap_err();
        assert!(format!("{error:#}").contains("--listen"), "{error:#}");
    }
}
