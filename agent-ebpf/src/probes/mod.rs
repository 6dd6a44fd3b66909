//! One file for each kind of hook.

mod close;
mod process;
mod syscall;
mod tcp;
mod tls;

pub(crate) use tls::TlsCall;
