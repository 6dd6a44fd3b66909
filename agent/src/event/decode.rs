//! Records of the kernel programs into values.

use std::sync::Arc;

use agent_common::record::{
    DataFlags, DataHeader, FlowRecord, MappedRecord, ProcessRecord, RecordKind, UnixRecord,
};
use bytemuck::AnyBitPattern;
use bytes::Bytes;
use thiserror::Error;

use super::{Data, End, Event, Unix};
use crate::call::Timestamp;

/// Why a record was refused.
///
/// A refused record is counted and skipped, never fatal.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The record ends before its fixed part does.
    #[error("record of {len} bytes is shorter than its fixed part")]
    Short {
        /// Length of the record.
        len: usize,
    },
    /// The payload is shorter than the record says.
    #[error("record says {captured} bytes of payload and has {len}")]
    Payload {
        /// Bytes that the record says follow.
        captured: u32,
        /// Bytes that follow.
        len: usize,
    },
    /// No known record has this kind.
    #[error("unknown record kind {0}")]
    UnknownKind(u32),
}

/// Turns the kernel's monotonic time into time of day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clock {
    /// Nanoseconds to add to `CLOCK_MONOTONIC`.
    pub offset_ns: u64,
}

impl Clock {
    /// The clock of this host, now. Later steps of the time of day are not followed,
    /// so that durations stay right.
    pub fn now() -> Self {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        Self { offset_ns: wall.saturating_sub(monotonic_ns()) }
    }

    /// Time of day of a monotonic time.
    pub const fn timestamp(self, monotonic_ns: u64) -> Timestamp {
        Timestamp(self.offset_ns.saturating_add(monotonic_ns))
    }
}

/// `CLOCK_MONOTONIC`, as `bpf_ktime_get_ns` reads it.
pub fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000)
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A record, decoded.
#[derive(Clone, Debug)]
pub enum Raw {
    /// What the pipeline takes as it is.
    Event(Event),
    /// A process was forked.
    Fork(Box<ProcessRecord>),
    /// A process runs another program.
    Exec(Box<ProcessRecord>),
    /// A process ended.
    Exit(Box<ProcessRecord>),
    /// A file was mapped as code.
    Mapped(MappedRecord),
}

/// Decodes one record. The payload is a slice of it, not a copy.
pub fn decode(record: &Bytes, clock: Clock) -> Result<Raw, DecodeError> {
    let kind: RecordKind = fixed(record)?;
    Ok(match kind {
        RecordKind::DATA => Raw::Event(Event::Data(data(record, clock)?)),
        RecordKind::END => {
            let end: FlowRecord = fixed(record)?;
            Raw::Event(Event::End(End {
                time: clock.timestamp(end.time_ns),
                direction: end.direction,
                layer: end.layer,
                tgid: tgid(end.pid_tgid),
                flow: end.flow,
                offsets: end.offsets,
            }))
        }
        RecordKind::UNIX => {
            let unix: UnixRecord = fixed(record)?;
            Raw::Event(Event::Unix(Unix {
                time: clock.timestamp(unix.time_ns),
                flow: unix.flow,
                peer_tgid: unix.peer_tgid,
                path: path(&unix),
            }))
        }
        RecordKind::FORK => Raw::Fork(Box::new(fixed(record)?)),
        RecordKind::EXEC => Raw::Exec(Box::new(fixed(record)?)),
        RecordKind::EXIT => Raw::Exit(Box::new(fixed(record)?)),
        RecordKind::MAPPED => Raw::Mapped(fixed(record)?),
        RecordKind(unknown) => return Err(DecodeError::UnknownKind(unknown)),
    })
}

/// When a record was made, `CLOCK_MONOTONIC`; 0 when it is too short to tell. Every
/// kind has it at the same place but [`RecordKind::DATA`] and [`RecordKind::END`],
/// which have it there too.
pub fn time_ns(record: &[u8]) -> u64 {
    record.get(8..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

fn data(record: &Bytes, clock: Clock) -> Result<Data, DecodeError> {
    let header: DataHeader = fixed(record)?;
    let payload = record.slice(size_of::<DataHeader>()..);
    let captured = header.captured as usize;
    if captured > payload.len() {
        return Err(DecodeError::Payload { captured: header.captured, len: payload.len() });
    }
    let payload = payload.slice(..captured);
    // What a record holds it also stands for, but for headers of TLS records.
    let len = if header.flags.contains(DataFlags::TLS_RECORDS) {
        header.len
    } else {
        header.len.max(header.captured)
    };
    Ok(Data {
        time: clock.timestamp(header.time_ns),
        tgid: tgid(header.pid_tgid),
        tid: header.pid_tgid as u32,
        start_ns: header.start_ns,
        flow: header.flow,
        socket: header.socket,
        offset: header.offset,
        len,
        call_len: header.call_len,
        direction: header.direction,
        layer: header.layer,
        protocol: header.protocol,
        flags: header.flags,
        library: header.library,
        tuple: header.tuple,
        payload,
    })
}

/// The fixed part of a record.
fn fixed<T: AnyBitPattern>(record: &[u8]) -> Result<T, DecodeError> {
    record
        .get(..size_of::<T>())
        .map(bytemuck::pod_read_unaligned)
        .ok_or(DecodeError::Short { len: record.len() })
}

const fn tgid(pid_tgid: u64) -> u32 {
    (pid_tgid >> 32) as u32
}

/// The path of a unix socket; an abstract name starts with `@`, as ss(8) shows it.
fn path(unix: &UnixRecord) -> Option<Arc<str>> {
    let bytes = unix.path.get(..unix.path_len as usize).filter(|bytes| !bytes.is_empty())?;
    let text = match bytes.split_first() {
        Some((0, name)) => format!("@{}", String::from_utf8_lossy(name)),
        _ => {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
        }
    };
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use agent_common::{
        limits::UNIX_PATH_MAX,
        record::{Direction, FlowId},
    };
    use bytemuck::Zeroable as _;

    use super::*;

    fn record(payload: &[u8]) -> Vec<u8> {
        let header = DataHeader {
            kind: RecordKind::DATA,
            captured: u32::try_from(payload.len()).unwrap(),
            time_ns: 5,
            pid_tgid: 7 << 32 | 8,
            flow: FlowId { id: 1, generation: 2 },
            len: 100,
            direction: Direction::EGRESS,
            ..DataHeader::zeroed()
        };
        let mut record = bytemuck::bytes_of(&header).to_vec();
        record.extend_from_slice(payload);
        record
    }

    #[test]
    fn payload_ends_where_the_header_says() {
        let mut bytes = record(b"hello");
        bytes.extend_from_slice(b"padding");
        let clock = Clock { offset_ns: 1000 };
        let Raw::Event(Event::Data(data)) = decode(&bytes.clone().into(), clock).unwrap() else {
            panic!("not data")
        };
        assert_eq!(data.payload, b"hello".as_slice());
        assert_eq!((data.time, data.tgid, data.tid, data.len), (Timestamp(1005), 7, 8, 100));
        assert_eq!(time_ns(&bytes), 5);
    }

    #[test]
    fn every_prefix_is_refused() {
        let bytes = Bytes::from(record(b"hello"));
        for len in 0..bytes.len() {
            assert!(decode(&bytes.slice(..len), Clock::default()).is_err(), "at {len} bytes");
        }
    }

    #[test]
    fn no_damage_panics() {
        let bytes = record(b"hello");
        for at in 0..bytes.len() {
            for value in [0, 1, 4, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                drop(decode(&damaged.into(), Clock::default()));
            }
        }
    }

    #[test]
    fn unix_paths_are_told_from_abstract_names() {
        let mut unix = UnixRecord { kind: RecordKind::UNIX, path_len: 8, ..UnixRecord::zeroed() };
        unix.path[..8].copy_from_slice(b"/run/x\0z");
        assert_eq!(path(&unix).as_deref(), Some("/run/x"));
        unix.path[..8].copy_from_slice(b"\0private");
        assert_eq!(path(&unix).as_deref(), Some("@private"));
        unix.path_len = 0;
        assert_eq!(path(&unix), None);
        unix.path_len = u32::try_from(UNIX_PATH_MAX).unwrap() + 1;
        assert_eq!(path(&unix), None);
    }
}
