//! The endpoints that were seen, and what is known of each.

pub mod auth;
mod cache;
pub mod endpoint;
mod method;
pub mod schema;
pub mod service;
mod table;
pub mod template;
#[cfg(test)]
pub(crate) mod testing;

use std::{collections::BTreeMap, sync::Arc};

pub use auth::AuthScheme;
pub use endpoint::{Endpoint, EndpointKey};
pub use schema::Schema;
pub use service::Service;
use smallvec::SmallVec;

use self::{
    cache::Cache,
    table::Table,
    template::{Merge, Parameter, Path, Trie},
};
use crate::{
    call::Call,
    http::{Notes, UNKNOWN},
};

/// Route of calls that were answered 404 and whose path never was answered
/// otherwise: a scan of paths that do not exist makes no endpoints.
pub const NOT_FOUND: &str = "(not found)";
/// Route of calls beyond a bound, and of targets that are not paths. Also the name
/// of the service that calls beyond the bound of services are counted under.
pub const OTHER: &str = "other";
/// Route of `OPTIONS *`.
const ASTERISK: &str = "*";

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

/// What was left out because a table was full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// Calls counted under the service `other`.
    pub services: u64,
    /// Calls counted under the route `other`.
    pub endpoints: u64,
    /// Bodies of a media type or status that has no schema.
    pub schemas: u64,
    /// Occurrences of query parameters that are not kept.
    pub query_parameters: u64,
    /// Endpoints of a store that there was no room for.
    pub restored: u64,
}

/// What changed since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// New or changed.
    pub services: Vec<Service>,
    /// New or changed.
    pub endpoints: Vec<Endpoint>,
    /// Gone: merged into a template. None of them is among `endpoints`.
    pub removed: Vec<EndpointKey>,
}

/// Services and endpoints learned from calls.
#[derive(Debug)]
pub struct Inventory {
    limits: Limits,
    services: Vec<Entry>,
    by_name: BTreeMap<Arc<str>, u32>,
    endpoints: Table,
    cache: Cache,
    dropped: Dropped,
    /// Services that changed.
    dirty: Vec<u32>,
    /// Name of the service of the call at hand, kept for its memory.
    name: String,
}

#[derive(Debug)]
struct Entry {
    service: Service,
    trie: Trie,
    /// Changes with the templates.
    epoch: u32,
    /// Endpoints in the trie.
    endpoints: usize,
    /// Endpoints whose route is not a path.
    special: SmallVec<[(&'static str, u8, u32); 2]>,
    dirty: bool,
}

impl Inventory {
    /// An empty inventory.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            services: Vec::new(),
            by_name: BTreeMap::new(),
            endpoints: Table::default(),
            cache: Cache::default(),
            dropped: Dropped::default(),
            dirty: Vec::new(),
            name: String::new(),
        }
    }

    /// Learns from one call.
    pub fn observe(&mut self, call: &Call) -> Observation {
        let service = self.service(call);
        let method = method::index(&call.request.method);
        let (endpoint, new_endpoint) = self.resolve(service, method, call);
        let Some(endpoint) = self.endpoints.touch(endpoint) else {
            // Cannot happen: whatever resolves is in the table.
            let text: Arc<str> = OTHER.into();
            let (service, route) = (Arc::clone(&text), Arc::clone(&text));
            return Observation {
                endpoint: EndpointKey { service, route, method: text },
                new_endpoint: false,
            };
        };
        let learn = endpoint.key.route.starts_with('/');
        endpoint.record(call, learn, &mut self.dropped);
        Observation { endpoint: endpoint.key.clone(), new_endpoint }
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        let index = self.by_name.values();
        index.filter_map(|at| self.services.get(*at as usize)).map(|entry| &entry.service)
    }

    /// All endpoints, by service, route and method.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter()
    }

    /// One endpoint.
    pub fn endpoint(&self, key: &EndpointKey) -> Option<&Endpoint> {
        self.endpoints.by_key(key)
    }

    /// What was left out so far.
    pub const fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Services and endpoints that changed since the last call, cloned, for the
    /// store; and endpoints that templating merged away, to be deleted there: those
    /// that an earlier call gave, or that were restored.
    pub fn take_changes(&mut self) -> Changes {
        let mut services = Vec::with_capacity(self.dirty.len());
        for at in std::mem::take(&mut self.dirty) {
            if let Some(entry) = self.services.get_mut(at as usize) {
                entry.dirty = false;
                services.push(entry.service.clone());
            }
        }
        let (endpoints, removed) = self.endpoints.take_changes();
        Changes { services, endpoints, removed }
    }

    /// Puts back what a store held; for the start of a run.
    pub fn restore(&mut self, services: Vec<Service>, endpoints: Vec<Endpoint>) {
        for service in services {
            // One more than the limit: the service `other` is beyond it.
            if self.services.len() <= self.limits.services
                && !self.by_name.contains_key(&service.name)
            {
                self.add_service(service);
            }
        }
        for endpoint in endpoints {
            if self.restore_endpoint(endpoint).is_none() {
                self.dropped.restored += 1;
            }
        }
    }

    fn restore_endpoint(&mut self, mut endpoint: Endpoint) -> Option<()> {
        let at = *self.by_name.get(&endpoint.key.service)?;
        let entry = self.services.get_mut(at as usize)?;
        let method = method::index(&endpoint.key.method);
        let special = [NOT_FOUND, OTHER, ASTERISK, UNKNOWN]
            .into_iter()
            .find(|route| *route == &*endpoint.key.route);
        if let Some(route) = special {
            if !entry.special.iter().any(|known| (known.0, known.1) == (route, method)) {
                let id = self.endpoints.restore(endpoint)?;
                entry.special.push((route, method, id));
            }
            return Some(());
        }
        let kinds: Vec<_> = endpoint.path_parameters.iter().map(|known| known.kind).collect();
        let route = Arc::clone(&endpoint.key.route);
        let node = entry.trie.restore(&Path::of_route(&route, &kinds)?)?;
        // Another version may have named the parameters otherwise.
        let (route, parameters) = entry.trie.route(node);
        if *route != *endpoint.key.route {
            self.endpoints.forget(endpoint.key.clone());
            endpoint.key.route = route.into();
            endpoint.path_parameters = parameters;
        }
        if let Some(known) = entry.trie.endpoint(node, method) {
            self.endpoints.touch(known)?.merge(endpoint, &mut self.dropped);
        } else if entry.endpoints < self.limits.endpoints_per_service {
            let id = self.endpoints.restore(endpoint)?;
            entry.trie.set_endpoint(node, method, id);
            entry.endpoints += 1;
        } else {
            return None;
        }
        Some(())
    }

    /// The service of a call, counted.
    fn service(&mut self, call: &Call) -> u32 {
        service::name(call, &mut self.name);
        let known = self.by_name.get(&*self.name).copied();
        let at = known.unwrap_or_else(|| {
            if self.services.len() < self.limits.services {
                return self.add_service(Service::new(&self.name, call));
            }
            self.dropped.services += 1;
            let other = self.by_name.get(OTHER).copied();
            other.unwrap_or_else(|| self.add_service(Service::other(call)))
        });
        if let Some(entry) = self.services.get_mut(at as usize) {
            entry.service.record(call);
            if !entry.dirty {
                entry.dirty = true;
                self.dirty.push(at);
            }
        }
        at
    }

    fn add_service(&mut self, service: Service) -> u32 {
        let at = u32::try_from(self.services.len()).unwrap_or(u32::MAX);
        self.by_name.insert(Arc::clone(&service.name), at);
        self.services.push(Entry {
            service,
            // Paths share most of their levels.
            trie: Trie::new(self.limits.endpoints_per_service.saturating_mul(8)),
            epoch: 0,
            endpoints: 0,
            special: SmallVec::new(),
            dirty: false,
        });
        at
    }

    /// The endpoint of a call, and whether it is new.
    fn resolve(&mut self, service: u32, method: u8, call: &Call) -> (u32, bool) {
        let Some(entry) = self.services.get_mut(service as usize) else { return (u32::MAX, false) };
        // A path without its method is no endpoint.
        let known = !call.request.notes.contains(Notes::METHOD_UNKNOWN);
        let text = if known { call.request.path() } else { UNKNOWN };
        let key = self.cache.key(service, entry.epoch, method, text);
        if let Some(endpoint) = self.cache.get(key) {
            return (endpoint, false);
        }
        let special = |entry: &mut Entry, endpoints: &mut Table, route: &'static str| {
            let known = entry.special.iter().find(|known| (known.0, known.1) == (route, method));
            if let Some((.., endpoint)) = known {
                return (*endpoint, false);
            }
            let id = endpoints.add(entry.key(route.into(), method), Vec::new(), call);
            entry.special.push((route, method, id));
            (id, true)
        };
        let Some(path) = Path::parse(text) else {
            let special_route = [ASTERISK, UNKNOWN].into_iter().find(|route| *route == text);
            return special(entry, &mut self.endpoints, special_route.unwrap_or(OTHER));
        };
        let known = entry.trie.find(&path).and_then(|node| entry.trie.endpoint(node, method));
        if known.is_none() && call.status() == Some(404) {
            return special(entry, &mut self.endpoints, NOT_FOUND);
        }
        let room = known.is_some() || entry.endpoints < self.limits.endpoints_per_service;
        let Some(found) = room.then(|| entry.trie.insert(&path)).flatten() else {
            if let Some(endpoint) = known {
                return (endpoint, false);
            }
            self.dropped.endpoints += 1;
            return special(entry, &mut self.endpoints, OTHER);
        };
        let mut endpoint = known.unwrap_or_else(|| {
            let (route, parameters) = entry.trie.route(found.node);
            let id = self.endpoints.add(entry.key(route.into(), method), parameters, call);
            entry.trie.set_endpoint(found.node, method, id);
            entry.endpoints += 1;
            id
        });
        let mut new = known.is_none();
        if found.kinds_changed {
            let (_, parameters) = entry.trie.route(found.node);
            for id in entry.trie.endpoints(found.node) {
                self.endpoints.set_parameters(id, &parameters);
            }
        }
        if let Some(level) = found.grown {
            let endpoints = &self.endpoints;
            if let Some(merge) = entry.trie.settle(level, &|id| endpoints.calls(id)) {
                entry.apply(&merge, &mut self.endpoints, &mut self.dropped);
                let merged = entry.trie.find(&path);
                if let Some(now) = merged.and_then(|node| entry.trie.endpoint(node, method)) {
                    new &= now == endpoint;
                    endpoint = now;
                }
            }
        }
        let key = self.cache.key(service, entry.epoch, method, text);
        self.cache.insert(key, endpoint);
        (endpoint, new)
    }
}

impl Entry {
    fn key(&self, route: Arc<str>, method: u8) -> EndpointKey {
        let service = Arc::clone(&self.service.name);
        EndpointKey { service, route, method: method::name(method).into() }
    }

    /// Does to the endpoints what a merge of templates asks for.
    fn apply(&mut self, merge: &Merge, endpoints: &mut Table, dropped: &mut Dropped) {
        self.epoch = self.epoch.wrapping_add(1);
        for (from, into) in &merge.merged {
            if let Some(gone) = endpoints.remove(*from) {
                self.endpoints = self.endpoints.saturating_sub(1);
                if let Some(kept) = endpoints.touch(*into) {
                    kept.merge(gone, dropped);
                }
            }
        }
        let mut renamed: Vec<(u32, Arc<str>, Vec<Parameter>)> = Vec::new();
        for node in &merge.nodes {
            let mut ids = self.trie.endpoints(*node).peekable();
            if ids.peek().is_none() {
                continue;
            }
            let (route, parameters) = self.trie.route(*node);
            let route: Arc<str> = route.into();
            renamed.extend(ids.map(|id| (id, Arc::clone(&route), parameters.clone())));
        }
        endpoints.rename(renamed);
    }
}

#[cfg(test)]
mod tests;
