//! What leaves the agent: lines, JSON, metrics, documents, the state on disk.

pub mod json;

pub mod endpoint;
pub mod metrics;
pub mod store;
pub mod lines;
