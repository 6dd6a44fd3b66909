//! Keys of ring, which rustls encrypts its records with: the functions that the table of a
//! cipher points to (`aead::Algorithm`, src/aead/algorithm.rs).
//!
//! They have Rust's calling convention, which is not promised. So what the arguments are is
//! told by what they point to: a record of TLS whose header fits the buffer, or nothing is
//! taken.

use agent_common::record::Direction;
use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_get_current_pid_tgid,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{
    kernel::read_user,
    probes::{
        TlsCall,
        cipher::{self, Record},
        tls::own_stack,
    },
    registers::{ARGUMENTS, argument, result},
    scope, settings,
};

/// Lengths of additional data of TLS 1.3 and of TLS 1.2.
const DATA_LENS: [u64; 2] = [5, 13];

/// Length of the nonce that is on the wire before the ciphertext, by AES-GCM in TLS 1.2
/// (RFC 5288 section 3).
const EXPLICIT_NONCE: u64 = 8;

/// Where the arguments are.
const KEY: usize = ARGUMENTS;
const NONCE: usize = KEY + 1;

/// What both functions have.
struct Arguments {
    /// The key's name.
    key: u64,
    /// Address and length of the additional data.
    data: (u64, u64),
    /// Address and length of what is worked on in its place.
    buffer: (u64, u64),
    /// What is behind them.
    next: u64,
}

/// `fn(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8],
/// cpu_features: cpu::Features) -> Result<Tag, Unspecified>`
#[uprobe]
fn ring_seal_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    seal(&ctx);
    0
}

/// `fn(key: &KeyInner, nonce: Nonce, aad: Aad<&[u8]>, in_out: &mut [u8],
/// src: RangeFrom<usize>, cpu_features: cpu::Features) -> Result<Tag, Unspecified>`
#[uprobe]
fn ring_open_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    open(&ctx);
    0
}

/// The return of either.
#[uretprobe]
fn ring_exit(ctx: RetProbeContext) -> u32 {
    own_stack!(ctx);
    cipher::exit(ctx.as_ptr(), worked);
    0
}

/// Takes the plaintext before it is overwritten.
#[inline(always)]
fn seal(ctx: &ProbeContext) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let counters = scope::check((pid_tgid >> 32) as u32)?;
    if settings::empty() {
        return None;
    }
    let Arguments { key, data, buffer: (address, len), .. } = arguments(ctx)?;
    let record = Record { key, plain: address, cipher: address, len, data };
    let kept = cipher::keep(ctx.as_ptr(), pid_tgid, &record, Direction::EGRESS)?;
    // SAFETY: the map returned it.
    unsafe {
        (*kept).result = result(ctx);
        cipher::plaintext(ctx.as_ptr(), counters, pid_tgid, kept, address);
    }
    Some(())
}

/// Keeps where the plaintext will be, and what goes over the wire, which is overwritten.
#[inline(always)]
fn open(ctx: &ProbeContext) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    scope::check((pid_tgid >> 32) as u32)?;
    if settings::empty() {
        return None;
    }
    let Arguments { key, data, buffer: (address, whole), next: start } = arguments(ctx)?;
    if start != 0 && start != EXPLICIT_NONCE {
        return None;
    }
    let len = whole.checked_sub(start)?;
    // The plaintext is moved to the start of the buffer.
    let record = Record { key, plain: address, cipher: address + start, len, data };
    let kept = cipher::keep(ctx.as_ptr(), pid_tgid, &record, Direction::INGRESS)?;
    // SAFETY: the map returned it.
    unsafe {
        (*kept).result = result(ctx);
        // rustls has the tag that came behind the ciphertext.
        (*kept).tag = address + whole;
        cipher::ciphertext(&raw mut (*kept).work, record.cipher, record.len);
    }
    Some(())
}

/// The arguments, wherever the compiler has put the nonce: by reference, or, since it may
/// pass twelve bytes so, in two registers.
#[inline(always)]
fn arguments(ctx: &ProbeContext) -> Option<Arguments> {
    let nonce = argument(ctx, NONCE)?;
    let is_len = |len: u64| DATA_LENS.contains(&len);
    if is_len(argument(ctx, NONCE + 2)?) {
        behind::<{ NONCE + 1 }>(ctx, read_user(nonce)?)
    } else if is_len(argument(ctx, NONCE + 3)?) {
        behind::<{ NONCE + 2 }>(ctx, nonce as u32)
    } else {
        None
    }
}

/// The arguments from an index on. `salt` is the start of the nonce.
///
/// A key is at one address for as long as it is used, and another one may be there later;
/// nothing tells its end. The first four bytes of its nonces stay the same (RFC 8446 section
/// 5.3, RFC 5288 section 3, RFC 7905 section 2), and are as good as random: both name it.
#[inline(always)]
fn behind<const INDEX: usize>(ctx: &ProbeContext, salt: u32) -> Option<Arguments> {
    Some(Arguments {
        key: argument(ctx, KEY)? ^ u64::from(salt) << 32,
        data: (argument(ctx, INDEX)?, argument(ctx, INDEX + 1)?),
        buffer: (argument(ctx, INDEX + 2)?, argument(ctx, INDEX + 3)?),
        next: argument(ctx, INDEX + 4).unwrap_or(u64::MAX),
    })
}

/// Whether a call made a tag, and of what it opened the tag that came: ring leaves it to its
/// caller to compare them.
#[inline(always)]
fn worked(call: *const TlsCall) -> Option<bool> {
    // SAFETY: it is a map's value.
    let (result, tag, direction) = unsafe { ((*call).result, (*call).tag, (*call).direction) };
    // `Ok`, and the tag behind it.
    if read_user::<u8>(result)? != 0 {
        return Some(false);
    }
    if direction == Direction::EGRESS {
        return Some(true);
    }
    let made: [u64; 2] = read_user(result + 1)?;
    let came: [u64; 2] = read_user(tag)?;
    Some(made == came)
}
