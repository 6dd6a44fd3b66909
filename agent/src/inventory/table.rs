//! The endpoints of all services, by number and by name, and which of them a store
//! does not know yet.

use std::{collections::BTreeMap, sync::Arc};

use super::{Endpoint, EndpointKey, template::Parameter};
use crate::call::Call;

/// Endpoints by number and by name.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_key: BTreeMap<EndpointKey, u32>,
    dirty: Vec<u32>,
    /// Keys that a store has and that are gone. At most as many as it was given.
    removed: Vec<EndpointKey>,
}

#[derive(Debug)]
struct Slot {
    endpoint: Endpoint,
    /// It is in `dirty`.
    dirty: bool,
    /// A store has it under its present key.
    stored: bool,
}

impl Table {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.by_key.values().filter_map(|id| self.slot(*id)).map(|slot| &slot.endpoint)
    }

    pub(super) fn by_key(&self, key: &EndpointKey) -> Option<&Endpoint> {
        self.slot(*self.by_key.get(key)?).map(|slot| &slot.endpoint)
    }

    /// Calls of an endpoint.
    pub(super) fn calls(&self, id: u32) -> u64 {
        self.slot(id).map_or(0, |slot| slot.endpoint.calls)
    }

    /// An endpoint that is about to change.
    pub(super) fn touch(&mut self, id: u32) -> Option<&mut Endpoint> {
        let slot = self.slots.get_mut(id as usize)?.as_mut()?;
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(id);
        }
        Some(&mut slot.endpoint)
    }

    /// Adds an endpoint without calls.
    pub(super) fn add(&mut self, key: EndpointKey, parameters: Vec<Parameter>, call: &Call) -> u32 {
        let endpoint = Endpoint::new(key, parameters, call.times.request_start);
        self.put(Slot { endpoint, dirty: false, stored: false })
    }

    /// Adds an endpoint that a store has; `None` when its key is taken.
    pub(super) fn restore(&mut self, endpoint: Endpoint) -> Option<u32> {
        if self.by_key.contains_key(&endpoint.key) {
            return None;
        }
        Some(self.put(Slot { endpoint, dirty: false, stored: true }))
    }

    /// Takes an endpoint out.
    pub(super) fn remove(&mut self, id: u32) -> Option<Endpoint> {
        let slot = self.slots.get_mut(id as usize)?.take()?;
        self.by_key.remove(&slot.endpoint.key);
        self.free.push(id);
        if slot.stored {
            self.removed.push(slot.endpoint.key.clone());
        }
        Some(slot.endpoint)
    }

    /// A store has an endpoint that is not kept under this key.
    pub(super) fn forget(&mut self, key: EndpointKey) {
        self.removed.push(key);
    }

    /// Gives endpoints other routes.
    pub(super) fn rename(&mut self, routes: Vec<(u32, Arc<str>, Vec<Parameter>)>) {
        // All old keys go first: one may be the new key of another.
        for (id, ..) in &routes {
            if let Some(slot) = self.slots.get(*id as usize).and_then(Option::as_ref) {
                self.by_key.remove(&slot.endpoint.key);
            }
        }
        for (id, route, parameters) in routes {
            if self.touch(id).is_none() {
                continue;
            }
            let Some(slot) = self.slots.get_mut(id as usize).and_then(Option::as_mut) else {
                continue;
            };
            if slot.endpoint.key.route != route {
                if slot.stored {
                    self.removed.push(slot.endpoint.key.clone());
                    slot.stored = false;
                }
                slot.endpoint.key.route = route;
            }
            slot.endpoint.path_parameters = parameters;
            self.by_key.insert(slot.endpoint.key.clone(), id);
        }
    }

    /// Sets the parameters of an endpoint.
    pub(super) fn set_parameters(&mut self, id: u32, parameters: &[Parameter]) {
        if let Some(endpoint) = self.touch(id) {
            endpoint.path_parameters = parameters.to_vec();
        }
    }

    /// Endpoints that changed and keys that are gone since the last time.
    pub(super) fn take_changes(&mut self) -> (Vec<Endpoint>, Vec<EndpointKey>) {
        let mut endpoints = Vec::with_capacity(self.dirty.len());
        for id in std::mem::take(&mut self.dirty) {
            // Removed ones are not there; a number that was used again is there
            // twice, and clean the second time.
            if let Some(slot) = self.slots.get_mut(id as usize).and_then(Option::as_mut)
                && slot.dirty
            {
                slot.dirty = false;
                slot.stored = true;
                endpoints.push(slot.endpoint.clone());
            }
        }
        let mut removed = std::mem::take(&mut self.removed);
        removed.retain(|key| !self.by_key.contains_key(key));
        (endpoints, removed)
    }

    fn put(&mut self, slot: Slot) -> u32 {
        let key = slot.endpoint.key.clone();
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.slots.get_mut(id as usize) {
            *place = Some(slot);
        }
        self.by_key.insert(key, id);
        id
    }

    fn slot(&self, id: u32) -> Option<&Slot> {
        self.slots.get(id as usize)?.as_ref()
    }
}
