//! One stream: a request and its response (RFC 9113 section 8.1).

use std::sync::Arc;

use agent_common::record::Direction;
use bytes::Bytes;

use super::{fields::Fields, reader::Block};
use crate::{
    call::{Cause, Missing, Times, Timestamp},
    grpc::{self, Scanner},
    http::{
        Body, BodyState, Captured, Exchange, Headers, Limits, Notes, Request, Response, UNKNOWN,
        Version, intern,
    },
};

/// A message that is coming in.
#[derive(Debug, Default)]
struct Message {
    body: Captured,
    /// Of gRPC: its messages.
    grpc: Option<Scanner>,
    /// It has ended, as its frames say.
    ended: bool,
    /// Frames were lost before its end.
    cut: bool,
    /// Some of its trailer fields are not known.
    trailers_unknown: bool,
}

impl Message {
    /// Its head has come: what follows may be messages of gRPC.
    fn frame(&mut self, headers: &Headers) {
        self.grpc = grpc::is_grpc(headers).then(Scanner::default);
        if let Some(grpc) = self.grpc.as_mut().filter(|_| self.body.size > 0 || self.cut) {
            grpc.lost();
        }
    }
}

/// A stream that is not over.
#[derive(Debug)]
pub(super) struct Stream {
    request: Option<(u64, Request)>,
    response: Option<Response>,
    upload: Message,
    download: Message,
    times: Times,
    missing: Missing,
    interim: bool,
    /// What its heads take.
    head: usize,
    /// The stream was reset, or refused.
    pub(super) reset: bool,
    /// Frames were lost among which the end of its request, or its response, may have been.
    pub(super) doubt: bool,
}

impl Stream {
    /// A stream of which nothing was seen before `time`.
    pub(super) fn new(time: Timestamp) -> Self {
        Self {
            request: None,
            response: None,
            upload: Message::default(),
            download: Message::default(),
            times: Times { request_start: time, request_end: time, ..Times::default() },
            missing: Missing::default(),
            interim: false,
            head: 0,
            reset: false,
            doubt: false,
        }
    }

    /// Whether its request was seen.
    pub(super) const fn is_requested(&self) -> bool {
        self.request.is_some()
    }

    /// Nothing more will come.
    pub(super) const fn is_over(&self) -> bool {
        self.reset || (self.download.ended && (self.upload.ended || self.doubt))
    }

    /// A header block of the client: the head of the request, or its trailer fields. False when
    /// it is neither.
    pub(super) fn on_request(&mut self, block: Block, time: Timestamp) -> bool {
        let Block { ends, fields, cut, start: (offset, start), .. } = block;
        self.upload.ended |= ends;
        self.times.request_end = self.times.request_end.max(time);
        if self.request.is_some() {
            return true;
        }
        if fields.method.is_none() && fields.path.is_none() && (cut || fields.unknown == 0) {
            return false;
        }
        let mut notes = notes(cut, &fields);
        let connect = fields.method.as_deref() == Some("CONNECT");
        let (head, method, path) = (fields.size(), fields.method.clone(), fields.path.clone());
        let whole = !cut && fields.unknown == 0;
        let headers = fields.into_headers();
        // The authority is the target, but of an extended one, which has a path (RFC 8441).
        let authority = headers.get_str("host").filter(|_| connect && whole).map(Arc::from);
        let path = path.or(authority).unwrap_or_else(|| {
            notes.insert(Notes::PATH_UNKNOWN);
            UNKNOWN.into()
        });
        let method = method.unwrap_or_else(|| {
            notes.insert(Notes::METHOD_UNKNOWN);
            intern(UNKNOWN)
        });
        if self.response.is_some() {
            notes.insert(Notes::EARLY_RESPONSE);
        }
        self.times.request_start = start;
        let request = Request {
            method,
            target: path,
            version: Version::Http2,
            headers,
            body: Body::default(),
            ended: false,
            notes,
        };
        self.head += head;
        self.upload.frame(&request.headers);
        self.request = Some((offset, request));
        true
    }

    /// A header block of the server: that of an interim response, the head of the response, or
    /// its trailer fields.
    pub(super) fn on_response(&mut self, block: Block, time: Timestamp) {
        let Block { ends, fields, cut, start: (_, start), .. } = block;
        let unknown = cut || fields.unknown > 0;
        self.download.ended |= ends;
        self.times.response_end = Some(self.times.response_end.map_or(time, |end| end.max(time)));
        self.head += fields.size();
        // What was taken for a response of unknown status may have been an interim one.
        let is_trailer = |response: &&mut Response| {
            fields.status.is_none() || !response.notes.contains(Notes::STATUS_UNKNOWN)
        };
        if let Some(response) = self.response.as_mut().filter(is_trailer) {
            response.notes.insert(Notes::TRAILERS);
            response.trailers = fields.into_headers();
            self.download.trailers_unknown = unknown;
            return;
        }
        if fields.status.is_some() && self.download.body.kept() == 0 {
            // What was lost before was not of this message.
            self.download = Message { ended: ends, ..Message::default() };
        }
        self.times.response_start.get_or_insert(start);
        let mut notes = notes(cut, &fields);
        let status = fields.status.unwrap_or_else(|| {
            notes.insert(Notes::STATUS_UNKNOWN);
            0
        });
        if matches!(status, 100..=199) {
            self.interim = true;
            self.times.response_start = None;
            return;
        }
        if self.interim {
            notes.insert(Notes::INTERIM);
        }
        if !self.upload.ended && !self.doubt {
            notes.insert(Notes::EARLY_RESPONSE);
        }
        let headers = fields.into_headers();
        self.download.frame(&headers);
        self.response = Some(Response {
            status,
            version: Version::Http2,
            headers,
            trailers: Headers::default(),
            body: Body::default(),
            ended: false,
            notes,
        });
    }

    /// Bytes of the body of the request, or of the response; how many more are kept of it.
    pub(super) fn on_data(
        &mut self,
        upload: bool,
        bytes: &Bytes,
        ends: bool,
        time: Timestamp,
        limit: usize,
    ) -> usize {
        let message = self.message(upload, time);
        message.ended |= ends;
        let before = message.body.kept();
        message.body.take(bytes, limit);
        if let Some(grpc) = &mut message.grpc {
            grpc.bytes(bytes);
        }
        message.body.kept() - before
    }

    /// Bytes of a body were not captured.
    pub(super) fn on_missing(
        &mut self,
        upload: bool,
        len: u64,
        cause: Cause,
        ends: bool,
        time: Timestamp,
    ) {
        self.missing.add(cause, len);
        let message = self.message(upload, time);
        message.ended |= ends;
        message.body.skip(len);
        if let Some(grpc) = &mut message.grpc {
            grpc.missing(len);
        }
    }

    fn message(&mut self, upload: bool, time: Timestamp) -> &mut Message {
        if upload {
            self.times.request_end = self.times.request_end.max(time);
            &mut self.upload
        } else {
            self.times.response_end =
                Some(self.times.response_end.map_or(time, |end| end.max(time)));
            &mut self.download
        }
    }

    /// Of what is missing of a body some may be padding.
    pub(super) fn missing_unsure(&mut self, upload: bool) {
        let message = if upload { &mut self.upload } else { &mut self.download };
        if let Some(grpc) = &mut message.grpc {
            grpc.lost();
        }
    }

    /// Frames of a direction were lost: what is not over may have gone on in them.
    pub(super) fn lose(&mut self, upload: bool) {
        let message = if upload { &mut self.upload } else { &mut self.download };
        if !message.ended {
            message.body.skip(0);
            if let Some(grpc) = &mut message.grpc {
                grpc.lost();
            }
            message.cut = true;
            self.doubt = true;
        }
    }

    /// What its heads take.
    pub(super) const fn head(&self) -> usize {
        self.head
    }

    /// Bytes that are kept of its bodies.
    pub(super) fn kept(&self) -> usize {
        self.upload.body.kept() + self.download.body.kept()
    }

    /// What it was, as far as it came; `None` when its request was not seen.
    pub(super) fn finish(self, direction: Direction, limits: &Limits) -> Option<Exchange> {
        let Self { request, response, upload, download, times, mut missing, reset, .. } = self;
        let (request_offset, mut request) = request?;
        missing.add(Cause::Agent, upload.body.over + download.body.over);
        request.body = body(upload.body, upload.ended, &request.headers, request.notes, limits);
        request.body.messages = upload.grpc.map(|it| it.finish(upload.ended || reset));
        request.ended = upload.ended;
        if upload.cut {
            request.notes.insert(Notes::BODY_CUT);
        }
        let times = if response.is_some() {
            times
        } else {
            Times { response_start: None, response_end: None, ..times }
        };
        let response = response.map(|mut response| {
            let Response { headers, notes, .. } = &response;
            response.body = body(download.body, download.ended, headers, *notes, limits);
            response.body.messages = download.grpc.map(|it| it.finish(download.ended || reset));
            response.ended = download.ended;
            if download.trailers_unknown {
                response.notes.insert(Notes::FIELDS_UNKNOWN);
            }
            if download.cut {
                response.notes.insert(Notes::BODY_CUT);
            }
            response
        });
        let unknown = |response: &Response| response.notes.contains(Notes::STATUS_UNKNOWN);
        if response.as_ref().is_some_and(unknown) {
            request.notes.insert(Notes::STATUS_UNKNOWN);
        }
        let response = response.filter(|response| !unknown(response));
        Some(Exchange {
            request_direction: direction,
            request_offset,
            request,
            response,
            times,
            missing,
        })
    }
}

/// A body. Where its coding may be among the fields that are not known, so may be what it says.
fn body(captured: Captured, ended: bool, headers: &Headers, notes: Notes, limits: &Limits) -> Body {
    let mut body = captured.finish(ended, headers, limits);
    let unknown = notes.fields_missing() && headers.get("content-encoding").is_none();
    if unknown && !body.bytes.is_empty() {
        body.state = BodyState::Corrupt;
    }
    body
}

/// What is odd about a head.
const fn notes(cut: bool, fields: &Fields) -> Notes {
    let mut notes = Notes(0);
    if cut {
        notes.insert(Notes::HEAD_CUT);
    }
    if fields.unknown > 0 {
        notes.insert(Notes::FIELDS_UNKNOWN);
    }
    if fields.odd {
        notes.insert(Notes::LENIENT);
    }
    notes
}
