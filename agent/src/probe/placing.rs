//! While the probes of a library are placed, which takes the kernel some tenths of a second
//! under load, no call of it is taken: with those of reading in place and those of writing
//! not, a request would be seen without its response, and be given the next one.

use agent_common::limits::{PLACED_BEFORE, PLACED_IN_PART, placing};
use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};

/// A library whose probes are being placed.
#[must_use = "its calls are not taken until it ends"]
pub(super) struct Placing {
    keys: Vec<u64>,
}

impl Placing {
    /// No call of a library is taken from here on, in a process or in all but those that have
    /// probes of their own.
    pub(super) fn begin(
        ebpf: &mut Ebpf,
        library: u16,
        pid: Option<u32>,
        own: impl Iterator<Item = u32>,
    ) -> Result<Self> {
        let noted: Vec<(u64, u32)> = match pid {
            Some(pid) => vec![(placing(pid, library), PLACED_IN_PART)],
            // Those that keep what they have are noted before the rest.
            None => own
                .map(|pid| (placing(pid, library), PLACED_BEFORE))
                .chain([(placing(0, library), PLACED_IN_PART)])
                .collect(),
        };
        let begun = Self { keys: noted.iter().map(|(key, _)| *key).collect() };
        for (key, how) in noted {
            let result = libraries(ebpf)?.insert(key, how, 0);
            // Too many at once: this process misses some calls.
            if how == PLACED_IN_PART
                && let Err(error) = result
            {
                begun.end(ebpf)?;
                return Err(error).context("note that the probes of a library are placed");
            }
        }
        any(ebpf)?.set(0, 1, 0).context("note that probes are placed")?;
        Ok(begun)
    }

    /// All are in place.
    pub(super) fn end(self, ebpf: &mut Ebpf) -> Result<()> {
        any(ebpf)?.set(0, 0, 0).context("note that no probes are placed")?;
        let mut libraries = libraries(ebpf)?;
        for key in self.keys {
            // A failure means that it was never noted.
            libraries.remove(&key).ok();
        }
        Ok(())
    }
}

fn libraries(ebpf: &mut Ebpf) -> Result<HashMap<&mut MapData, u64, u32>> {
    let map = ebpf.map_mut("PLACING").context("the object has no map PLACING")?;
    Ok(map.try_into()?)
}

fn any(ebpf: &mut Ebpf) -> Result<Array<&mut MapData, u32>> {
    let map = ebpf.map_mut("IS_PLACING").context("the object has no map IS_PLACING")?;
    Ok(map.try_into()?)
}
