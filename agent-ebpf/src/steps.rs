//! Messages, step by step, each in a function that the verifier checks by itself.
//!
//! A function with global linkage is verified once, for whatever it may be called with, and not
//! again for each way that leads to it (kernel 5.6, `do_check_subprogs` in
//! kernel/bpf/verifier.c). It takes nothing but numbers: so a step finds its work and its flow
//! in the maps by what names them.

use core::ptr::null_mut;

use agent_common::state::SessionKey;

use crate::{
    capture::{self, Work},
    emit::Call,
    kernel::Counters,
    maps::{CONNECTIONS, SESSIONS, TLS_CALLS, WORK},
    probes::Caller,
};

/// What a step comes to: nothing, or of the following what applies.
pub(crate) const NOTHING: u32 = 0;
/// There are steps left.
pub(crate) const MORE: u32 = 1;
/// A record was made that the caller has to send.
pub(crate) const MADE: u32 = 2;

/// Steps through the messages of one kind of flow.
pub(crate) trait Steps {
    /// Takes a step for [`Work::owner`]. Nothing more is done when the flow is not there any
    /// more.
    fn step(first: u64, second: u64) -> u32;
}

/// Sockets: their owner is the entry of [`WORK`], and the address of the sock.
pub(crate) struct OfSockets;

impl Steps for OfSockets {
    #[inline(always)]
    fn step(first: u64, second: u64) -> u32 {
        step_of_socket(first, second)
    }
}

/// Sessions: their owner is the [`Caller`].
pub(crate) struct OfSessions;

impl Steps for OfSessions {
    #[inline(always)]
    fn step(first: u64, second: u64) -> u32 {
        step_of_session(first, second)
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn step_of_socket(index: u64, sock: u64) -> u32 {
    let Some(counters) = Counters::get() else { return NOTHING };
    let Some(work) = WORK.get_ptr_mut(index as u32) else { return NOTHING };
    let Some(state) = CONNECTIONS.get_ptr_mut(&sock) else { return NOTHING };
    // SAFETY: the maps returned them, and the caller does not run twice at once on a processor.
    unsafe { capture::step(state, &call(counters, work), work) }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn step_of_session(pid_tgid: u64, goroutine: u64) -> u32 {
    let Some(counters) = Counters::get() else { return NOTHING };
    let Some(kept) = TLS_CALLS.get_ptr_mut(&Caller { pid_tgid, goroutine }) else { return NOTHING };
    // SAFETY: the map returned it, and a caller is in one call at a time.
    unsafe {
        let work = &raw mut (*kept).work;
        let key = SessionKey {
            session: (*kept).session,
            start_ns: (*work).facts.start_ns,
            tgid: (*work).facts.pid_tgid >> 32,
        };
        let Some(state) = SESSIONS.get_ptr_mut(&key) else { return NOTHING };
        capture::step(state, &call(counters, work), work)
    }
}

/// The call that is worked on. It has no context: what needs one is left to the caller.
///
/// # Safety
///
/// `work` is a map's value.
#[inline(always)]
unsafe fn call(counters: Counters, work: *mut Work) -> Call {
    // SAFETY: promised by the caller.
    unsafe { Call::new(null_mut(), counters, &raw const (*work).facts) }
}
