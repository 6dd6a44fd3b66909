//! How many bytes of a message are captured: of some processes fewer than of others, while
//! capture costs more than it may; and of all, while the buffer fills.

use agent_common::{
    counter::Counter,
    limits::{BUDGET_HEADS, BUDGET_LINES},
    record::DataFlags,
};

use crate::{
    emit,
    maps::{MESSAGE_BUDGETS, SHEDDING},
    settings,
};

/// The capture budget of a process's messages.
///
/// Not inlined: with the perf transport the stack has no room for it where it is called.
#[inline(never)]
pub(crate) fn of_process(tgid: u32) -> u32 {
    let mut budget = match emit::filled() {
        0 | 1 => settings::message_budget(),
        // Before calls are lost, let there be less of each.
        2 => BUDGET_HEADS,
        _ => BUDGET_LINES,
    };
    if let Some(own) = own(tgid)
        && own < budget
    {
        budget = own;
    }
    if budget > settings::message_budget() {
        budget = settings::message_budget();
    }
    budget
}

/// What is said of the bytes beyond a budget, and where they are counted.
#[inline(always)]
pub(crate) fn beyond(budget: u32) -> (DataFlags, Counter) {
    if budget < settings::message_budget() {
        (DataFlags::SHED, Counter::LOST_SHED)
    } else {
        (DataFlags::BUDGET, Counter::LOST_BUDGET)
    }
}

/// The budget of one process, if it has one.
#[inline(always)]
pub(crate) fn own(tgid: u32) -> Option<u32> {
    if *SHEDDING.get(0)? == 0 {
        return None;
    }
    // SAFETY: the value is copied before it can change.
    unsafe { MESSAGE_BUDGETS.get(&tgid) }.copied()
}

/// A child has the budget of its parent: a program that forks for each request is one load.
#[inline(always)]
pub(crate) fn give(tgid: u32, budget: u32) {
    // When it fails the child is captured in full, until the agent says otherwise.
    MESSAGE_BUDGETS.insert(&tgid, &budget, 0).ok();
}

/// The number of a process that has ended may be given to another.
#[inline(always)]
pub(crate) fn ended(tgid: u32) {
    if own(tgid).is_some() {
        // A failure means that it was evicted already.
        MESSAGE_BUDGETS.remove(&tgid).ok();
    }
}
