//! One file for each kind of hook.

mod close;
mod go;
mod nspr;
mod process;
mod session;
mod syscall;
mod tcp;
mod tls;

pub(crate) use tls::{Caller, TlsCall};
