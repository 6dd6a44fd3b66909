//! Conversations fed to a connection in many ways.

mod calls;
mod grpc;
mod holes;
mod joins;

use loona_hpack::Encoder;

use super::*;
use crate::http::{
    BodyState, Notes,
    testing::{self, IN, Input, OUT, pair, pairs},
};

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that is inserted into the table, with the name of an entry of the static one.
fn literal(name: u8, value: &str) -> Vec<u8> {
    [&[0x40 | name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
}

/// A request, or a response, that is all in its head.
fn head(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(1, END_HEADERS | END_STREAM, stream, block)
}

/// Indices of fields: of the static table, and from 62 on of the other one, the newest first.
const AUTHORITY: u8 = 1;
const METHOD: u8 = 2;
const GET: u8 = 0x82;
const PATH: u8 = 4;
const STATUS: u8 = 8;
const OK: u8 = 0x88;
const NEWEST: u8 = 128 + 62;
const NEXT: u8 = 128 + 63;

/// Both ends of a connection, which encode what they send.
struct Peers {
    client: Encoder<'static>,
    server: Encoder<'static>,
}

impl Peers {
    fn new() -> Self {
        Self { client: Encoder::new(), server: Encoder::new() }
    }

    fn block(encoder: &mut Encoder<'static>, fields: &[(&str, &str)]) -> Vec<u8> {
        encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    /// HEADERS of a request.
    fn request(&mut self, stream: u32, flags: u8, method: &str, path: &str) -> Vec<u8> {
        let fields = [
            (":method", method),
            (":scheme", "http"),
            (":authority", "shop.example"),
            (":path", path),
            ("user-agent", "tester"),
        ];
        let block = Self::block(&mut self.client, &fields);
        frame(1, flags | END_HEADERS, stream, &block)
    }

    /// HEADERS of a response.
    fn response(&mut self, stream: u32, flags: u8, status: &str) -> Vec<u8> {
        let fields = [(":status", status), ("content-type", "application/json"), ("x-id", "7")];
        let block = Self::block(&mut self.server, &fields);
        frame(1, flags | END_HEADERS, stream, &block)
    }

    fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
        let block = Self::block(&mut self.server, fields);
        frame(1, END_HEADERS | END_STREAM, stream, &block)
    }
}

fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(0, flags, stream, payload)
}

/// What a client sends before its first request.
fn hello() -> Vec<u8> {
    [crate::http2::PREFACE.as_slice(), &frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])].concat()
}

type Run = testing::Run<Connection>;

impl Run {
    /// From the start of the connection.
    fn new() -> Self {
        let mut run = Self::joined();
        run.connection.begins(IN);
        run.connection.begins(OUT);
        run
    }

    /// From somewhere within.
    fn joined() -> Self {
        Self::of(Connection::new(Limits::default()))
    }

    fn client(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.feed(&[Input::Bytes(IN, bytes.as_ref().to_vec())])
    }

    fn server(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.feed(&[Input::Bytes(OUT, bytes.as_ref().to_vec())])
    }
}

/// What an exchange is, but for its times.
fn summary(exchange: &Exchange) -> String {
    let request = &exchange.request;
    let fields = |headers: &crate::http::Headers| {
        let field = |(name, value): (&str, &[u8])| format!("{name}={}", value.escape_ascii());
        headers.iter().map(field).collect::<Vec<_>>().join("&")
    };
    let response = exchange.response.as_ref().map(|it| {
        (it.status, fields(&it.headers), fields(&it.trailers), it.body.bytes.clone(), it.body.size)
    });
    format!(
        "@{} {} {} [{}] {:?} {} {} | {response:?} {}",
        exchange.request_offset,
        request.method,
        request.target,
        fields(&request.headers),
        request.body.bytes,
        request.ended,
        request.notes.0,
        exchange.missing.total(),
    )
}
