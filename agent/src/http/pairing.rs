//! Which response belongs to which request, and when that can not be told.
//!
//! Responses come in the order of their requests. That holds as long as no head
//! was missed; from then on a response is paired only where it is certain again,
//! because a wrong pair is worse than none.

use std::collections::VecDeque;

use super::{Request, Response};
use crate::call::{Missing, Times};

/// The shortest request: `A / HTTP/1.0` and two line ends.
const SHORTEST: u64 = 14;

/// A request that has not come out yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) offset: u64,
    pub(super) request: Request,
    /// The request is over.
    pub(super) sent: bool,
    /// An interim response came.
    pub(super) interim: bool,
    /// Which response is its own can not be told: it comes out without one.
    pub(super) abandoned: bool,
    pub(super) response: Option<Response>,
    /// The response is over.
    pub(super) answered: bool,
    pub(super) times: Times,
    pub(super) missing: Missing,
}

/// Requests in the order they came, and what is not known of others.
#[derive(Debug)]
pub(super) struct Pairing {
    /// Only the last one may still be coming in. One that is abandoned leaves as
    /// soon as it is over, whatever waits before it.
    pub(super) queue: VecDeque<Waiting>,
    depth: usize,
    /// Requests that may be unanswered and are not in the queue: at least, at most.
    unknown: (u64, u64),
    /// Requests may have been missed since a response was last seen.
    doubt: bool,
    /// The client was seen to send a request before it had the last answer.
    pub(super) pipelined: bool,
}

impl Pairing {
    pub(super) fn new(depth: usize) -> Self {
        Self { queue: VecDeque::new(), depth, unknown: (0, 0), doubt: false, pipelined: false }
    }

    /// The request that is still coming in.
    pub(super) fn upload(&mut self) -> Option<&mut Waiting> {
        self.queue.back_mut().filter(|waiting| !waiting.sent)
    }

    /// The request whose response has begun and is not over.
    pub(super) fn open(&mut self) -> Option<&mut Waiting> {
        self.queue.front_mut().filter(|waiting| waiting.response.is_some() && !waiting.answered)
    }

    /// The request that the next response belongs to.
    pub(super) fn next(&mut self) -> Option<&mut Waiting> {
        self.queue.front_mut().filter(|waiting| !waiting.abandoned && waiting.response.is_none())
    }

    /// A request in the queue has not got all of its response.
    pub(super) fn outstanding(&self) -> bool {
        self.queue.iter().any(|waiting| !waiting.abandoned && !waiting.answered)
    }

    /// A response may come for a request that is not in the queue.
    pub(super) fn expects_unknown(&self) -> bool {
        self.unknown.1 > 0
    }

    /// Decides whether a request that begins now can be paired; when not, it is
    /// counted with the unknown ones. `possibly_answered` tells that a response
    /// came out of turn while its head was coming in.
    pub(super) fn admit(&mut self, possibly_answered: bool) -> bool {
        if self.outstanding() || self.unknown.0 > 0 {
            self.pipelined = true;
        }
        // A client that waits for each answer has got all of them by now: what
        // was missed is over. Of one that does not wait this can not be said; its
        // missed requests are over when as many responses came as there can be.
        if !self.pipelined && !self.doubt && self.queue.is_empty() {
            self.unknown = (0, 0);
        }
        let certain = self.unknown.1 == 0 && !possibly_answered && self.queue.len() < self.depth;
        if !certain {
            self.unknown.0 += u64::from(!possibly_answered);
            self.unknown.1 = self.unknown.1.saturating_add(1);
        }
        certain
    }

    /// `len` bytes of requests were not read; a head was among them when `certain`.
    pub(super) fn requests_missed(&mut self, len: u64, certain: bool) {
        if len == 0 {
            return;
        }
        // Whether the answers before it are lost too is told only now: that the client
        // does not wait for them shows when its next request begins.
        self.unknown.0 += u64::from(certain);
        self.unknown.1 = self.unknown.1.saturating_add(len.div_ceil(SHORTEST));
        self.doubt = true;
    }

    /// Bytes were not read among which responses may be: all requests that wait
    /// for one may have been answered, or not.
    pub(super) fn responses_missed(&mut self) {
        let waiting = self.queue.iter_mut().filter(|it| !it.abandoned && it.response.is_none());
        for waiting in waiting {
            waiting.abandoned = true;
            self.unknown.1 = self.unknown.1.saturating_add(1);
        }
        self.unknown.0 = 0;
    }

    /// A final response begins or is over: a client that waits for each answer has missed
    /// none before it.
    pub(super) fn response_seen(&mut self) {
        self.doubt = false;
    }

    /// A final response came that belongs to no request of the queue.
    pub(super) fn response_of_unknown(&mut self) {
        self.unknown = (self.unknown.0.saturating_sub(1), self.unknown.1.saturating_sub(1));
        self.doubt = false;
    }

    /// Takes out a request of which all is there that will be.
    pub(super) fn take(&mut self) -> Option<Waiting> {
        let over = |it: &Waiting| it.sent && (it.abandoned || it.answered);
        if self.queue.front().is_some_and(over) {
            return self.queue.pop_front();
        }
        // Behind one that waits, only abandoned ones can be over, and the last one
        // is one of them.
        if self.queue.back().is_some_and(|last| last.abandoned) {
            let at = self.queue.iter().position(over)?;
            return self.queue.remove(at);
        }
        None
    }
}
