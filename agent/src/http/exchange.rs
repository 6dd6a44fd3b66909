//! From heads and ends of bodies to exchanges.

use agent_common::record::Direction;

use super::{
    Body, Connection, Exchange, Headers, Notes, Request, Response,
    body::Framing,
    head::{Head, Kind, Line},
    pairing::Waiting,
    side::State,
};
use crate::call::{Cause, Missing, Times, Timestamp};

impl Connection {
    /// Whether a message may begin at the start of a piece, where the boundary is
    /// not proven. Not while the message that the boundary was lost in is the only
    /// one that there can be: it would be part of it.
    pub(super) fn may_begin(&mut self, kind: Option<Kind>) -> bool {
        match kind {
            Some(Kind::Request) => {
                let pipelined = self.pairing.pipelined;
                self.pairing
                    .upload()
                    .is_none_or(|upload| pipelined || upload.abandoned || upload.response.is_some())
            }
            Some(Kind::Response) => self.pairing.open().is_none() || self.pairing.expects_unknown(),
            None => true,
        }
    }

    /// A head was read; `time` is when its last byte came.
    pub(super) fn begin(
        &mut self,
        direction: Direction,
        time: Timestamp,
        head: Head,
        out: &mut Vec<Exchange>,
    ) {
        if self.requests.is_none() {
            self.learn(direction, &head.line, out);
        }
        self.side(direction).state = State::Head;
        let Head { line, version, headers, notes } = head;
        match line {
            Line::Request { method, target } => {
                let request = Request {
                    method,
                    target,
                    version,
                    headers,
                    body: Body::default(),
                    ended: false,
                    notes,
                };
                self.request(request, time, out);
            }
            Line::Response { status } => {
                let response = Response {
                    status,
                    version,
                    headers,
                    trailers: Headers::default(),
                    body: Body::default(),
                    ended: false,
                    notes,
                };
                self.response(response, time, out);
            }
        }
    }

    /// The first head tells which direction carries what.
    fn learn(&mut self, direction: Direction, line: &Line, out: &mut Vec<Exchange>) {
        let ingress = direction == Direction::INGRESS;
        let requests = matches!(line, Line::Request { .. }) == ingress;
        self.requests = Some(if requests { Direction::INGRESS } else { Direction::EGRESS });
        let unread = self.side_of(Kind::Request).unread;
        self.pairing.requests_missed(unread, false);
        // What has begun in the other direction and looks like the same is none.
        let other = if ingress { Direction::EGRESS } else { Direction::INGRESS };
        let wanted = self.kind(other);
        let side = self.side(other);
        if side.kind.is_some() && side.kind != wanted {
            side.state = State::Seek;
            let len = self.lose_partial(other);
            self.gap(other, len, false, out);
        }
    }

    fn request(&mut self, mut request: Request, time: Timestamp, out: &mut Vec<Exchange>) {
        // Messages of which the end was lost are over: what comes now is behind them.
        if self.pairing.upload().is_some() {
            self.sent(false, out);
        }
        self.close_lost_response(out);
        if self.pairing.outstanding() {
            request.notes.insert(Notes::PIPELINED);
        }
        let side = self.side_of(Kind::Request);
        let (offset, start) = side.start;
        let possibly_answered = std::mem::take(&mut side.possibly_answered);
        let no_more = self.side_of(Kind::Response).state == State::Ended;
        let abandoned = !self.pairing.admit(possibly_answered) || no_more;
        let connect = &*request.method == "CONNECT";
        let framing = if connect {
            Framing::None
        } else if request.notes.contains(Notes::HEAD_CUT) {
            Framing::Unknown
        } else {
            Framing::of_request(&request.headers, &mut request.notes)
        };
        let body = !matches!(framing, Framing::None);
        let side = self.side_of(Kind::Request);
        side.state = match framing {
            // Where the tunnel is not awaited, the next head will show.
            Framing::None if connect && abandoned => State::Seek,
            Framing::None if connect => State::Tunnel(0),
            Framing::None => State::Head,
            Framing::Unknown => State::Seek,
            _ => State::Body,
        };
        if matches!(framing, Framing::Unknown) {
            side.captured.skip(0);
        }
        side.framing = framing;
        self.pairing.queue.push_back(Waiting {
            offset,
            request,
            sent: false,
            interim: false,
            abandoned,
            response: None,
            answered: false,
            times: Times { request_start: start, request_end: time, ..Times::default() },
            missing: Missing::default(),
        });
        if !body {
            self.sent(true, out);
        }
    }

    fn response(&mut self, mut response: Response, time: Timestamp, out: &mut Vec<Exchange>) {
        let (_, start) = self.side_of(Kind::Response).start;
        let status = response.status;
        if let 100 | 102..=199 = status {
            if let Some(waiting) = self.pairing.next() {
                waiting.interim = true;
            }
            return;
        }
        if self.pairing.open().is_some() {
            self.answered(false, out);
        }
        // Where the end of a request was lost, nobody knows what came first.
        let lost = self.side_of(Kind::Request).state == State::Seek;
        let cut = response.notes.contains(Notes::HEAD_CUT);
        let Some(waiting) = self.pairing.next() else {
            self.response_of_unknown(&mut response, out);
            return;
        };
        if waiting.interim {
            response.notes.insert(Notes::INTERIM);
        }
        if !waiting.sent && !lost {
            response.notes.insert(Notes::EARLY_RESPONSE);
        }
        waiting.times.response_start = Some(start);
        waiting.times.response_end = Some(time);
        let connect = &*waiting.request.method == "CONNECT";
        let framing = if &*waiting.request.method == "HEAD" || matches!(status, 204 | 304) {
            Framing::None
        } else if cut {
            Framing::Unknown
        } else {
            Framing::of_response(&response.headers, &mut response.notes)
        };
        if status == 101 || (connect && status / 100 == 2) {
            response.notes.insert(Notes::UPGRADED);
            response.ended = true;
            waiting.response = Some(response);
            waiting.answered = true;
            self.finish(out);
            return;
        }
        waiting.response = Some(response);
        self.pairing.response_seen();
        let body = !matches!(framing, Framing::None);
        let unknown = matches!(framing, Framing::Unknown);
        let side = self.side_of(Kind::Response);
        side.framing = framing;
        if unknown {
            side.state = State::Seek;
            side.captured.skip(0);
            self.pairing.responses_missed();
        } else if body {
            side.state = State::Body;
        } else {
            self.answered(true, out);
        }
        if connect {
            self.no_tunnel(out);
        }
    }

    /// A request began: a response of which the end was lost is over.
    pub(super) fn close_lost_response(&mut self, out: &mut Vec<Exchange>) {
        if self.side_of(Kind::Response).state == State::Seek && self.pairing.open().is_some() {
            self.answered(false, out);
        }
    }

    /// A final response to a request that was not seen, or not seen for sure.
    fn response_of_unknown(&mut self, response: &mut Response, out: &mut Vec<Exchange>) {
        self.losses.responses += 1;
        self.pairing.response_of_unknown();
        if response.status == 101 {
            self.finish(out);
            return;
        }
        let requests = self.side_of(Kind::Request);
        requests.possibly_answered = !requests.partial.is_empty();
        // Without the request it is not known whether there is a body.
        let framing = Framing::of_response(&response.headers, &mut response.notes);
        let none = matches!(framing, Framing::None) && !response.notes.contains(Notes::HEAD_CUT);
        if !matches!(response.status, 204 | 304) && !none {
            self.side_of(Kind::Response).state = State::Seek;
        }
    }

    /// A CONNECT was refused: requests go on.
    fn no_tunnel(&mut self, out: &mut Vec<Exchange>) {
        let requests = self.side_of(Kind::Request);
        if let State::Tunnel(skipped) = requests.state {
            requests.state = if skipped == 0 { State::Head } else { State::Seek };
            if let Some(direction) = self.requests {
                self.losses.skipped = self.losses.skipped.saturating_add(skipped);
                self.gap(direction, skipped, false, out);
            }
        }
    }

    /// The message that a direction is in is over, as its framing says.
    pub(super) fn over(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
        self.side(direction).state = State::Head;
        if self.requests == Some(direction) {
            self.sent(true, out);
        } else {
            self.answered(true, out);
        }
    }

    /// The request that is coming in is over.
    pub(super) fn sent(&mut self, ended: bool, out: &mut Vec<Exchange>) {
        let limits = self.limits;
        let (captured, notes) = self.side_of(Kind::Request).take_body();
        let Some(upload) = self.pairing.upload() else { return };
        upload.missing.add(Cause::Agent, captured.over);
        upload.request.notes.insert(notes);
        upload.request.body = captured.finish(ended, &upload.request.headers, &limits);
        upload.request.ended = ended;
        upload.sent = true;
        self.emit(out);
    }

    /// The response that has begun is over.
    pub(super) fn answered(&mut self, ended: bool, out: &mut Vec<Exchange>) {
        let limits = self.limits;
        let (captured, notes) = self.side_of(Kind::Response).take_body();
        let Some(open) = self.pairing.open() else { return };
        open.missing.add(Cause::Agent, captured.over);
        if let Some(response) = &mut open.response {
            response.notes.insert(notes);
            response.body = captured.finish(ended, &response.headers, &limits);
            response.ended = ended;
        }
        open.answered = true;
        let unsent = !open.sent;
        if ended {
            self.pairing.response_seen();
        }
        // Nobody waits for the end of a request that was answered when it is not
        // known where the end is.
        if unsent && self.side_of(Kind::Request).state == State::Seek {
            self.sent(false, out);
        }
        self.emit(out);
    }

    /// Bytes of the current message of a direction came.
    pub(super) fn touch(&mut self, direction: Direction, time: Timestamp) {
        if self.requests == Some(direction) {
            if let Some(upload) = self.pairing.upload() {
                upload.times.request_end = time;
            }
        } else if let Some(open) = self.pairing.open() {
            open.times.response_end = Some(time);
        }
    }

    /// Where bytes are counted that are missing of a direction's current message.
    pub(super) fn missing_of(&mut self, direction: Direction) -> Option<&mut Missing> {
        let waiting =
            if self.requests? == direction { self.pairing.upload() } else { self.pairing.open() };
        waiting.map(|waiting| &mut waiting.missing)
    }

    /// Lets out what is over.
    pub(super) fn emit(&mut self, out: &mut Vec<Exchange>) {
        let Some(request_direction) = self.requests else { return };
        while let Some(waiting) = self.pairing.take() {
            out.push(Exchange {
                request_direction,
                request_offset: waiting.offset,
                request: waiting.request,
                response: waiting.response,
                times: waiting.times,
                missing: waiting.missing,
            });
        }
    }
}
