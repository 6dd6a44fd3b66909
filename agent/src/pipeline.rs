//! The pure stages in one: events in, observed calls and findings out.

use std::sync::Arc;

use crate::{call::Call, inventory::Observation};

/// A call with what the inventory made of it: what sinks receive.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The call.
    pub call: Arc<Call>,
    /// Its endpoint.
    pub observation: Observation,
}
