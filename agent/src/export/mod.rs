//! What leaves the agent: lines, JSON, metrics, documents, the state on disk.

pub mod coverage;
pub mod endpoint;
pub mod format;
pub mod json;
pub mod ledger;
pub mod lines;
pub mod metrics;
pub mod openapi;
pub mod store;
pub mod tui;
