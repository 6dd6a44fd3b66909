//! The endpoints that were seen, and what is known of each.

pub mod auth;
pub mod endpoint;
pub mod schema;
pub mod template;

use std::sync::Arc;

pub use endpoint::{Endpoint, EndpointKey, Service};

use crate::call::Call;

/// Bounds of the inventory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Services.
    pub services: usize,
    /// Endpoints of one service; calls beyond are counted under the route `other`.
    pub endpoints_per_service: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { services: 512, endpoints_per_service: 2000 }
    }
}

/// What the inventory made of a call.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The endpoint that the call was counted under.
    pub endpoint: EndpointKey,
    /// This call created it.
    pub new_endpoint: bool,
}

/// Services and endpoints learned from calls.
#[derive(Debug)]
pub struct Inventory {
    limits: Limits,
}

impl Inventory {
    /// An empty inventory.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Learns from one call.
    pub fn observe(&mut self, call: &Call) -> Observation {
        _ = (call, self.limits);
        let empty: Arc<str> = Arc::from("");
        Observation {
            endpoint: EndpointKey {
                service: Arc::clone(&empty),
                method: Arc::clone(&empty),
                route: empty,
            },
            new_endpoint: false,
        }
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        std::iter::empty()
    }

    /// All endpoints, by service, route and method.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        std::iter::empty()
    }

    /// One endpoint.
    pub fn endpoint(&self, key: &EndpointKey) -> Option<&Endpoint> {
        _ = key;
        None
    }

    /// Services and endpoints that changed since the last call, cloned, for the
    /// store; and endpoints that templating merged away, to be deleted there.
    pub fn take_changes(&mut self) -> Changes {
        Changes::default()
    }

    /// Puts back what a store held; for the start of a run.
    pub fn restore(&mut self, services: Vec<Service>, endpoints: Vec<Endpoint>) {
        _ = (services, endpoints);
    }
}

/// What changed since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// New or changed.
    pub services: Vec<Service>,
    /// New or changed.
    pub endpoints: Vec<Endpoint>,
    /// Gone: merged into a template.
    pub removed: Vec<EndpointKey>,
}
