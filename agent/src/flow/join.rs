//! Joins the two views of a call whose both ends were observed.
//!
//! Two views are one call only when everything that both of them tell agrees:
//! mirrored connection, method, target, version, every header field, the status,
//! the position in the stream where it is known, and the order of times.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hash as _, Hasher as _},
};

use ahash::{AHashMap, RandomState};

use super::{Stats, ends::EndsKey};
use crate::{
    call::{Call, Role, Timestamp},
    grpc::Messages,
    http::{Body, BodyState, Notes, Request, Response},
};

/// How long a call waits for its other end, nanoseconds of event time.
const WAIT_NS: u64 = 500_000_000;

/// How far times of the two ends may be out of order, nanoseconds: they are taken when
/// calls return, and a thread may have to wait for its processor before that.
const SKEW_NS: u64 = 100_000_000;

/// Calls of one flow that wait.
const PER_FLOW: usize = 64;

/// What the flow table knows of a call beside the call.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The ends of its connection, its own first.
    pub ends: EndsKey,
    /// Position of the request in the flow, when it was seen from its start.
    pub offset: Option<u64>,
    /// The flow at the other end is in the table, and no other one like it.
    pub mirrored: bool,
}

#[derive(Debug)]
struct Waiting {
    call: Call,
    offset: Option<u64>,
    fingerprint: u64,
    deadline: Timestamp,
}

/// Calls that wait for their other end; bounded in number and time. A call goes in
/// once and comes out once, alone or as half of another.
#[derive(Debug)]
pub struct Joiner {
    waiting: AHashMap<EndsKey, VecDeque<Waiting>>,
    /// One entry per call that waited, in order of deadline.
    deadlines: VecDeque<(Timestamp, EndsKey)>,
    count: usize,
    limit: usize,
    hasher: RandomState,
}

impl Joiner {
    /// Lets at most `limit` calls wait.
    pub fn new(limit: usize) -> Self {
        Self {
            waiting: AHashMap::new(),
            deadlines: VecDeque::new(),
            count: 0,
            limit,
            hasher: RandomState::new(),
        }
    }

    /// Takes a call; it goes to `out` at once, or joined, or later.
    pub fn call(
        &mut self,
        call: Call,
        view: Option<View>,
        now: Timestamp,
        stats: &mut Stats,
        out: &mut Vec<Call>,
    ) {
        let Some(view) = view else {
            out.push(call);
            return;
        };
        let mirror = view.ends.mirror();
        let others = self.waiting.get_mut(&mirror);
        if others.is_none() && !view.mirrored {
            out.push(call);
            return;
        }
        let fingerprint = fingerprint(&self.hasher, &call.request);
        if let Some(others) = others
            && let Some(at) = partner(others, &call, fingerprint, view.offset)
            && let Some(other) = others.remove(at)
        {
            self.count -= 1;
            if others.is_empty() {
                self.waiting.remove(&mirror);
            }
            stats.joined += 1;
            out.push(merge(call, other.call));
            return;
        }
        if !view.mirrored {
            out.push(call);
            return;
        }
        if self.count >= self.limit {
            stats.join_overflows += 1;
            out.push(call);
            return;
        }
        let deadline = Timestamp(now.0.saturating_add(WAIT_NS));
        let queue = self.waiting.entry(view.ends).or_default();
        if queue.len() >= PER_FLOW
            && let Some(oldest) = queue.pop_front()
        {
            self.count -= 1;
            stats.join_overflows += 1;
            out.push(oldest.call);
        }
        queue.push_back(Waiting { call, offset: view.offset, fingerprint, deadline });
        self.count += 1;
        self.deadlines.push_back((deadline, view.ends));
        if self.deadlines.len() > self.limit.saturating_mul(2) {
            self.compact();
        }
    }

    /// The flow at `ends` is gone: nobody needs to wait for its calls any more.
    pub fn closed(&mut self, ends: EndsKey, stats: &mut Stats, out: &mut Vec<Call>) {
        if let Some(queue) = self.waiting.remove(&ends.mirror()) {
            self.count -= queue.len();
            stats.join_timeouts += queue.len() as u64;
            out.extend(queue.into_iter().map(|waiting| waiting.call));
        }
    }

    /// Lets go of calls that have waited long enough.
    pub fn expire(&mut self, now: Timestamp, stats: &mut Stats, out: &mut Vec<Call>) {
        while let Some(&(deadline, ends)) = self.deadlines.front()
            && deadline <= now
        {
            self.deadlines.pop_front();
            let Some(queue) = self.waiting.get_mut(&ends) else { continue };
            while queue.front().is_some_and(|first| first.deadline <= now) {
                let Some(first) = queue.pop_front() else { break };
                self.count -= 1;
                stats.join_timeouts += 1;
                out.push(first.call);
            }
            if queue.is_empty() {
                self.waiting.remove(&ends);
            }
        }
    }

    /// Lets go of all calls, in order of their deadlines.
    pub fn finish(&mut self, stats: &mut Stats, out: &mut Vec<Call>) {
        self.expire(Timestamp(u64::MAX), stats, out);
    }

    /// Forgets the deadlines of calls that have left.
    fn compact(&mut self) {
        let queues = self.waiting.iter();
        let mut live: Vec<_> = queues
            .flat_map(|(ends, queue)| queue.iter().map(|waiting| (waiting.deadline, *ends)))
            .collect();
        live.sort_by_key(|(deadline, _)| *deadline);
        self.deadlines = live.into();
    }

    /// Calls that wait.
    pub const fn waiting(&self) -> usize {
        self.count
    }
}

/// Of what both ends of a call have in common, however much of it was captured.
fn fingerprint(hasher: &RandomState, request: &Request) -> u64 {
    let mut state = hasher.build_hasher();
    request.method.hash(&mut state);
    request.target.hash(&mut state);
    state.finish()
}

/// Whether the header fields of both views may be of one request: equal, but for those that
/// are missing of a head that was cut.
fn same_fields(a: &Request, b: &Request) -> bool {
    let cut = |request: &Request| request.notes.contains(Notes::HEAD_CUT);
    let (mut of_a, mut of_b) = (a.headers.iter(), b.headers.iter());
    loop {
        match (of_a.next(), of_b.next()) {
            (None, None) => return true,
            (None, Some(_)) => return cut(a),
            (Some(_), None) => return cut(b),
            (field, other) if field != other => return false,
            _ => {}
        }
    }
}

/// The call among those that wait that is the other view of `call`.
///
/// Positions and the strict order of times tell equal requests apart. Where neither
/// does, times may be out of order by [`SKEW_NS`], if only one call is like that.
fn partner(
    others: &VecDeque<Waiting>,
    call: &Call,
    fingerprint: u64,
    offset: Option<u64>,
) -> Option<usize> {
    let agreeing = |skew: u64| {
        others.iter().enumerate().filter_map(move |(at, other)| {
            let equal = other.fingerprint == fingerprint
                && agree(call, offset, &other.call, other.offset, skew);
            equal.then_some((at, other.offset.is_some()))
        })
    };
    if let Some((at, _)) = agreeing(0).next() {
        return Some(at);
    }
    let mut late = agreeing(SKEW_NS);
    let (at, placed) = late.next()?;
    ((placed && offset.is_some()) || late.next().is_none()).then_some(at)
}

fn agree(a: &Call, a_offset: Option<u64>, b: &Call, b_offset: Option<u64>, skew: u64) -> bool {
    let (server, client) = match (a.role, b.role) {
        (Role::Server, Role::Client) => (a, b),
        (Role::Client, Role::Server) => (b, a),
        _ => return false,
    };
    let same_request = server.request.method == client.request.method
        && server.request.target == client.request.target
        && server.request.version == client.request.version
        && same_fields(&server.request, &client.request);
    let same_status = match (server.status(), client.status()) {
        (Some(server), Some(client)) => server == client,
        _ => true,
    };
    let same_place = match (a_offset, b_offset) {
        (Some(a), Some(b)) => a == b,
        // Without positions, requests that were under way together cannot be told
        // apart when they are equal.
        _ => [server, client].iter().all(|call| !call.request.notes.contains(Notes::PIPELINED)),
    };
    // The client has its response after the server has the request; the server has
    // answered after the client has asked.
    // Times are taken when calls return: a server on another processor may have
    // answered before the client's write has returned.
    let before = |first: Timestamp, then: Timestamp| first.0 <= then.0.saturating_add(skew);
    let in_order = client
        .times
        .response_start
        .is_none_or(|got| before(server.times.request_start, got))
        && server.times.response_end.is_none_or(|sent| before(client.times.request_start, sent));
    same_request && same_status && same_place && in_order
}

/// One call of two views: the server's, with what the client's has more of.
fn merge(a: Call, b: Call) -> Call {
    let (mut server, client) = if a.role == Role::Server { (a, b) } else { (b, a) };
    server.both_ends = true;
    server.peer_process = client.process;
    server.tls = server.tls.or(client.tls);
    if client.missing.total() < server.missing.total() {
        server.missing = client.missing;
    }
    let messages = exact(server.request.body.messages, client.request.body.messages);
    if request_rank(&client.request) > request_rank(&server.request) {
        server.request = client.request;
    }
    server.request.body.messages = messages;
    match (&server.response, client.response) {
        (None, Some(response)) => {
            server.times.response_start = client.times.response_start;
            server.times.response_end = client.times.response_end;
            server.response = Some(response);
        }
        (Some(of_server), Some(mut of_client)) => {
            let messages = exact(of_server.body.messages, of_client.body.messages);
            if response_rank(&of_client) > response_rank(of_server) {
                of_client.body.messages = messages;
                server.response = Some(of_client);
            } else if let Some(response) = &mut server.response {
                response.body.messages = messages;
            }
        }
        _ => {}
    }
    server
}

/// The messages of gRPC that one of two views has counted exactly, or the more of them.
fn exact(a: Option<Messages>, b: Option<Messages>) -> Option<Messages> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    let rank = |of: Messages| (!of.cut, of.count);
    Some(if rank(b) > rank(a) { b } else { a })
}

type Rank = (bool, bool, u8, usize, bool);

const fn request_rank(request: &Request) -> Rank {
    rank(&request.body, request.ended, request.notes)
}

const fn response_rank(response: &Response) -> Rank {
    rank(&response.body, response.ended, response.notes)
}

/// More complete messages rank higher.
const fn rank(body: &Body, ended: bool, notes: Notes) -> Rank {
    let state = match body.state {
        BodyState::Complete => 3,
        BodyState::Capped => 2,
        BodyState::Corrupt => 1,
        BodyState::Truncated => 0,
    };
    let fields = !notes.contains(Notes::FIELDS_UNKNOWN);
    (!notes.contains(Notes::HEAD_CUT), ended, state, body.bytes.len(), fields)
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
