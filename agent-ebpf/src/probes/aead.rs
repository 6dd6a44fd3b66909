//! Keys of AWS-LC, which rustls encrypts its records with: `EVP_AEAD_CTX_*`
//! (include/openssl/aead.h).

use agent_common::record::Direction;
use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_get_current_pid_tgid,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{
    probes::{
        cipher::{self, Record, TAG},
        tls::own_stack,
    },
    registers::argument,
    scope, settings,
};

/// `int EVP_AEAD_CTX_seal(const EVP_AEAD_CTX *, uint8_t *out, size_t *out_len,
/// size_t max_out_len, const uint8_t *nonce, size_t nonce_len, const uint8_t *in,
/// size_t in_len, const uint8_t *ad, size_t ad_len)`
#[uprobe]
fn aead_seal_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    seal(&ctx, 6);
    0
}

/// `int EVP_AEAD_CTX_seal_scatter(const EVP_AEAD_CTX *, uint8_t *out, uint8_t *out_tag,
/// size_t *out_tag_len, size_t max_out_tag_len, const uint8_t *nonce, size_t nonce_len,
/// const uint8_t *in, size_t in_len, const uint8_t *extra_in, size_t extra_in_len,
/// const uint8_t *ad, size_t ad_len)`
#[uprobe]
fn aead_seal_scatter_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    seal(&ctx, 7);
    0
}

/// `int EVP_AEAD_CTX_open(const EVP_AEAD_CTX *, uint8_t *out, size_t *out_len,
/// size_t max_out_len, const uint8_t *nonce, size_t nonce_len, const uint8_t *in,
/// size_t in_len, const uint8_t *ad, size_t ad_len)`: maybe by `EVP_AEAD_CTX_open_gather`,
/// which takes the record then.
#[uprobe]
fn aead_open_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    open(&ctx, 6);
    0
}

/// `int EVP_AEAD_CTX_open_gather(const EVP_AEAD_CTX *, uint8_t *out, const uint8_t *nonce,
/// size_t nonce_len, const uint8_t *in, size_t in_len, const uint8_t *in_tag,
/// size_t in_tag_len, const uint8_t *ad, size_t ad_len)`
#[uprobe]
fn aead_open_gather_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    open(&ctx, 4);
    0
}

/// The return of any of them.
#[uretprobe]
fn aead_exit(ctx: RetProbeContext) -> u32 {
    own_stack!(ctx);
    let returned: i32 = ctx.ret();
    cipher::exit(ctx.as_ptr(), |_| Some(returned == 1));
    0
}

/// Takes the plaintext before it is overwritten: most callers seal in place. `input` is the
/// index of the argument that points to it.
#[inline(always)]
fn seal(ctx: &ProbeContext, input: usize) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let counters = scope::check((pid_tgid >> 32) as u32)?;
    if settings::empty() {
        return None;
    }
    // Of the scattered form there is more input between the input and the data.
    let data = if input == 6 { 8 } else { 11 };
    let record = Record {
        key: ctx.arg(0)?,
        plain: argument(ctx, input)?,
        cipher: ctx.arg(1)?,
        len: argument(ctx, input + 1)?,
        data: (argument(ctx, data)?, argument(ctx, data + 1)?),
    };
    let kept = cipher::keep(ctx.as_ptr(), pid_tgid, &record, Direction::EGRESS)?;
    // SAFETY: the map returned it.
    unsafe {
        cipher::plaintext(ctx.as_ptr(), counters, pid_tgid, kept, record.plain);
        (*kept).buffer = record.cipher;
    }
    Some(())
}

/// Keeps where the plaintext will be, and what goes over the wire, which may be overwritten.
/// `input` is the index of the argument that points to it.
#[inline(always)]
fn open(ctx: &ProbeContext, input: usize) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    scope::check((pid_tgid >> 32) as u32)?;
    if settings::empty() {
        return None;
    }
    let mut len = argument(ctx, input + 1)?;
    if input == 6 {
        len = len.checked_sub(TAG)?;
    }
    let record = Record {
        key: ctx.arg(0)?,
        plain: ctx.arg(1)?,
        cipher: argument(ctx, input)?,
        len,
        data: (argument(ctx, 8)?, argument(ctx, 9)?),
    };
    let kept = cipher::keep(ctx.as_ptr(), pid_tgid, &record, Direction::INGRESS)?;
    // SAFETY: the map returned it.
    unsafe { cipher::ciphertext(&raw mut (*kept).work, record.cipher, record.len) };
    Some(())
}
