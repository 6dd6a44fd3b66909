//! Detectors behind an inventory, for tests.

use super::{Detectors, Finding};
use crate::{
    call::Call,
    inventory::{Inventory, Limits},
};

/// Shows calls to `detectors`, as the pipeline does.
pub(super) fn observe(detectors: &mut Detectors, calls: impl IntoIterator<Item = Call>) {
    let mut inventory = Inventory::new(Limits::default());
    for call in calls {
        let observation = inventory.observe(&call);
        let endpoint = inventory.endpoint(&observation.endpoint).unwrap();
        detectors.observe(&call, &observation, endpoint);
    }
}

/// What is found in calls.
pub(super) fn run(calls: impl IntoIterator<Item = Call>) -> Vec<Finding> {
    let mut detectors = Detectors::default();
    observe(&mut detectors, calls);
    detectors.findings().into_iter().cloned().collect()
}
