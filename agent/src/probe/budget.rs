//! Capture budgets of single processes, which the kernel side looks up when it copies a
//! message.

use std::io::ErrorKind;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError},
};

/// Which processes have a smaller capture budget for each message than the rest.
#[expect(missing_debug_implementations, reason = "maps of aya have none")]
pub struct MessageBudgets {
    budgets: HashMap<MapData, u32, u32>,
    shedding: Array<MapData, u32>,
}

impl MessageBudgets {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let mut map = |name: &str| {
            ebpf.take_map(name).with_context(|| format!("the object has no {name} map"))
        };
        let budgets = HashMap::try_from(map("MESSAGE_BUDGETS")?).context("open MESSAGE_BUDGETS")?;
        let shedding = Array::try_from(map("SHEDDING")?).context("open SHEDDING")?;
        Ok(Self { budgets, shedding })
    }

    /// Has budgets looked up at all, or not: while there are none it is not paid for.
    pub fn enable(&mut self, enabled: bool) -> Result<()> {
        self.shedding.set(0, u32::from(enabled), 0).context("switch capture budgets")
    }

    /// Sets the budget of a process in bytes; without one it has the usual.
    pub fn set(&mut self, tgid: u32, budget: Option<u32>) -> Result<()> {
        let result = match budget {
            Some(budget) => self.budgets.insert(tgid, budget, 0),
            None => match self.budgets.remove(&tgid) {
                // It has ended, or never had one.
                Err(MapError::SyscallError(error))
                    if error.io_error.kind() == ErrorKind::NotFound =>
                {
                    Ok(())
                }
                result => result,
            },
        };
        result.with_context(|| format!("set the capture budget of process {tgid}"))
    }
}
