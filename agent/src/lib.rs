//! Watches the APIs of a host from its kernel.
//!
//! Data flows one way:
//!
//! ```text
//! probe -> event -> flow -> http -> call -> inventory -> detect -> export
//! ```
//!
//! Only `probe` and `event::reader` touch the kernel, and only `export` talks to
//! the outside. What lies between them is pure: bytes and a clock go in, values
//! come out, and its tests need neither root nor a runtime.

pub mod call;
pub mod cli;
pub mod detect;
pub mod doctor;
pub mod event;
pub mod export;
pub mod flow;
pub mod grpc;
pub mod http;
pub mod http2;
pub mod inspect;
pub mod inventory;
pub mod log;
pub mod pipeline;
pub mod probe;
pub mod redact;
pub mod run;
pub mod safety;
pub mod shed;
