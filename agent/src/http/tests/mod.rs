//! Conversations fed to a connection in many ways.

mod bodies;
mod holes;
mod messages;
mod pairs;
mod splits;

use super::*;
use crate::http::{Body, BodyState, Headers, Version};

const IN: Direction = Direction::INGRESS;
const OUT: Direction = Direction::EGRESS;

/// One thing that a connection is told.
#[derive(Clone, Debug)]
enum Input {
    Bytes(Direction, Vec<u8>),
    Missing(Direction, u64),
    End(Direction),
}

/// Requests come in, responses go out.
fn request(text: impl AsRef<[u8]>) -> Input {
    Input::Bytes(IN, text.as_ref().to_vec())
}

fn response(text: impl AsRef<[u8]>) -> Input {
    Input::Bytes(OUT, text.as_ref().to_vec())
}

/// A connection with a clock that ticks at each input.
struct Run {
    connection: Connection,
    out: Vec<Exchange>,
    now: u64,
}

impl Run {
    fn new(limits: Limits) -> Self {
        Self { connection: Connection::new(limits), out: Vec::new(), now: 0 }
    }

    fn feed(&mut self, inputs: &[Input]) -> &mut Self {
        for input in inputs {
            self.now += 1;
            let (connection, time, out) =
                (&mut self.connection, Timestamp(self.now), &mut self.out);
            match input {
                Input::Bytes(direction, bytes) => {
                    connection.bytes(*direction, time, &Bytes::copy_from_slice(bytes), out);
                }
                Input::Missing(direction, len) => {
                    connection.missing(*direction, time, *len, Cause::Budget, out);
                }
                Input::End(direction) => connection.end(*direction, time, out),
            }
        }
        self
    }

    fn close(&mut self) -> &mut Self {
        self.connection.close(Timestamp(self.now + 1), &mut self.out);
        self
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

/// Target and status of each exchange, in the order in which they come out.
fn pairs(exchanges: &[Exchange]) -> Vec<(String, Option<u16>)> {
    exchanges
        .iter()
        .map(|it| (it.request.target.to_string(), it.response.as_ref().map(|it| it.status)))
        .collect()
}

fn pair(target: &str, status: impl Into<Option<u16>>) -> (String, Option<u16>) {
    (target.into(), status.into())
}
