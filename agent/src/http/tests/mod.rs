//! Conversations fed to a connection in many ways.

mod bodies;
mod holes;
mod messages;
mod pairs;
mod splits;

use super::*;
use crate::http::{
    Body, BodyState, Headers, Version,
    testing::{self, IN, Input, OUT, pair, pairs},
};

/// Requests come in, responses go out.
fn request(text: impl AsRef<[u8]>) -> Input {
    Input::Bytes(IN, text.as_ref().to_vec())
}

fn response(text: impl AsRef<[u8]>) -> Input {
    Input::Bytes(OUT, text.as_ref().to_vec())
}

type Run = testing::Run<Connection>;

impl Run {
    fn new(limits: Limits) -> Self {
        Self::of(Connection::new(limits))
    }
}

/// All that comes out, after the connection was closed.
fn run(inputs: &[Input]) -> Vec<Exchange> {
    let mut run = Run::new(Limits::default());
    run.feed(inputs).close();
    run.out
}

/// The one exchange that comes out before the connection is closed.
fn one(inputs: &[Input]) -> Exchange {
    let mut run = Run::new(Limits::default());
    run.feed(inputs);
    assert_eq!(run.out.len(), 1, "{:#?}", run.out);
    run.out.remove(0)
}

fn body(body: &Body) -> String {
    let text = body.bytes.escape_ascii();
    format!("{text} {} {:?}", body.size, body.state)
}

/// What an exchange is, but for its times.
fn summary(exchange: &Exchange) -> String {
    let request = &exchange.request;
    let fields = |headers: &Headers| {
        let field = |(name, value): (&str, &[u8])| format!("{name}={}", value.escape_ascii());
        headers.iter().map(field).collect::<Vec<_>>().join("&")
    };
    let response = exchange.response.as_ref().map_or("none".into(), |response| {
        format!(
            "{} {} [{}] {} ended={} notes={}",
            response.status,
            response.version.as_str(),
            fields(&response.headers),
            body(&response.body),
            response.ended,
            response.notes.0
        )
    });
    format!(
        "@{} {} {} {} [{}] {} ended={} notes={} | {response} | missing {}",
        exchange.request_offset,
        request.method,
        request.target,
        request.version.as_str(),
        fields(&request.headers),
        body(&request.body),
        request.ended,
        request.notes.0,
        exchange.missing.total()
    )
}
