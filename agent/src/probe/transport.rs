//! The buffers that records come through: ring buffers where the kernel has them
//! (5.8), perf event arrays otherwise.

use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, MapType, PerfEventArray, RingBuf, perf::PerfEventArrayBuffer},
    sys::is_map_supported,
    util::online_cpus,
};
use bytes::Bytes;

use super::Settings;

/// How records come from the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// A ring buffer where the kernel has it.
    #[default]
    Auto,
    /// Ring buffers.
    Ring,
    /// Perf event arrays.
    Perf,
}

impl Transport {
    /// Ring or perf.
    pub(super) fn choose(self) -> Result<Self> {
        if self != Self::Auto {
            return Ok(self);
        }
        let ring = is_map_supported(MapType::RingBuf).context("ask the kernel for ring buffers")?;
        Ok(if ring { Self::Ring } else { Self::Perf })
    }

    /// The word in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ring => "ring",
            Self::Perf => "perf",
        }
    }
}

/// What a buffer gives.
#[derive(Debug)]
pub enum Record {
    /// A record, copied out of the buffer.
    Record(Bytes),
    /// So many records were dropped because the buffer was full. Only perf event
    /// arrays say it here; of ring buffers the kernel side counts.
    Lost(u64),
}

/// One buffer.
#[derive(Debug)]
pub struct Source {
    buffer: Buffer,
    /// It carries lifecycle records.
    pub lifecycle: bool,
}

enum Buffer {
    Ring(RingBuf<MapData>),
    Perf(PerfEventArrayBuffer<MapData>),
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ring(_) => "Ring",
            Self::Perf(_) => "Perf",
        })
    }
}

impl Source {
    /// The descriptor that becomes readable when records wait.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        let fd: RawFd = match &self.buffer {
            Buffer::Ring(ring) => ring.as_raw_fd(),
            Buffer::Perf(perf) => perf.as_raw_fd(),
        };
        // SAFETY: the buffer owns the descriptor and outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    /// Gives what waits, at most about `bytes` of it; returns whether more may wait.
    pub fn drain(&mut self, bytes: usize, mut take: impl FnMut(Record)) -> bool {
        let mut left = bytes;
        match &mut self.buffer {
            Buffer::Ring(ring) => {
                while let Some(item) = ring.next() {
                    take(Record::Record(copy(&item)));
                    left = left.saturating_sub(item.len());
                    if left == 0 {
                        return true;
                    }
                }
                false
            }
            Buffer::Perf(perf) => {
                use aya::maps::perf::PerfEvent;
                perf.for_each(|event| match event {
                    PerfEvent::Sample { head, tail } => {
                        let mut whole = Vec::with_capacity(head.len() + tail.len());
                        whole.extend_from_slice(head);
                        whole.extend_from_slice(tail);
                        take(Record::Record(whole.into()));
                    }
                    PerfEvent::Lost { count } => take(Record::Lost(count)),
                });
                false
            }
        }
    }
}

/// Copies a record's used part: a class record is as long as its class, not as
/// its payload.
fn copy(item: &[u8]) -> Bytes {
    use agent_common::record::{DataHeader, RecordKind};

    let header = size_of::<DataHeader>();
    let used = item.get(..header).and_then(|start| {
        let found: DataHeader = bytemuck::pod_read_unaligned(start);
        (found.kind == RecordKind::DATA).then(|| header + found.captured as usize)
    });
    Bytes::copy_from_slice(used.and_then(|len| item.get(..len)).unwrap_or(item))
}

/// Opens the buffers; the lifecycle ones come first.
pub(super) fn open(
    ebpf: &mut Ebpf,
    transport: Transport,
    settings: &Settings,
) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for (name, lifecycle) in [("LIFECYCLE", true), ("EVENTS", false)] {
        let map = ebpf.take_map(name).with_context(|| format!("the object has no {name} map"))?;
        if transport == Transport::Ring {
            let ring = RingBuf::try_from(map).with_context(|| format!("open {name}"))?;
            sources.push(Source { buffer: Buffer::Ring(ring), lifecycle });
            continue;
        }
        let mut array = PerfEventArray::try_from(map).with_context(|| format!("open {name}"))?;
        let cpus = online_cpus().map_err(|(what, error)| error_context(what, error))?;
        // The whole is divided between the processors.
        let bytes = if lifecycle { 512 << 10 } else { settings.buffer_bytes as usize };
        let pages = (bytes / cpus.len().max(1) / 4096).next_power_of_two().max(8);
        for cpu in cpus {
            let perf = array
                .open(cpu, Some(pages))
                .with_context(|| format!("open {name} of processor {cpu}"))?;
            sources.push(Source { buffer: Buffer::Perf(perf), lifecycle });
        }
    }
    Ok(sources)
}

fn error_context(what: &str, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("read {what}"))
}
