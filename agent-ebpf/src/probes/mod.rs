//! One file for each kind of hook.

mod aead;
mod bio;
mod cipher;
mod close;
mod function;
mod go;
mod nspr;
mod process;
mod ring;
mod session;
mod syscall;
mod tcp;
mod tls;
mod transfer;
mod uring;

pub(crate) use tls::{Caller, TlsCall};

/// Flags of what is sent or received, include/linux/socket.h: bytes that are no part of the
/// stream, or were not taken from it.
mod flag {
    pub(super) const OOB: u64 = 1;
    pub(super) const PEEK: u64 = 2;
    pub(super) const TRUNC: u64 = 0x20;
    pub(super) const ERRQUEUE: u64 = 0x2000;
}
