//! Serves HTTPS by hyper and rustls, over the version that the client begins with: rustls-server ADDRESS CERTIFICATE KEY

use std::{convert::Infallible, env, error::Error, sync::Arc};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

/// Says what it was asked, how long the body was, and in a field from which port it came.
async fn answer(
    request: Request<Incoming>,
    port: u16,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let status = match head.uri.path().split('/').nth(2) {
        Some("missing") => 404,
        Some("created") => 201,
        Some("moved") => 302,
        _ => 200,
    };
    let text = format!(
        "{{\"method\": \"{}\", \"target\": \"{}\", \"length\": {}}}",
        head.method,
        head.uri,
        body.len()
    );
    // As long as what came, so that responses are records of many lengths.
    let text = format!("{text}{}\n", " ".repeat(body.len()));
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("x-port", HeaderValue::from(port));
    Ok(response)
}

#[tokio::main]
async fn main() -> Result<Infallible, Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let mut next = || args.next().ok_or("rustls-server ADDRESS CERTIFICATE KEY");
    let listener = TcpListener::bind(next()?).await?;
    let certificates = CertificateDer::pem_file_iter(next()?)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(next()?)?;
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (socket, peer) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A test that looks whether the port is open says nothing on it.
            let Ok(session) = acceptor.accept(socket).await else { return };
            let service = service_fn(|request| answer(request, peer.port()));
            let builder = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = builder.serve_connection(TokioIo::new(session), service).await {
                eprintln!("{error}");
            }
        });
    }
}
