//! Decoding of the kernel's records. Any bytes may come in: a record that makes
//! no sense is refused with a reason, and its reader counts it and goes on.

use std::{mem::size_of, sync::Arc};

use agent_common::{
    limits::{CHUNK_MAX, TLS_RECORD_START, TLS_RECORDS_MAX},
    record::{
        DataFlags, DataHeader, Direction, FlowRecord, Layer, MappedRecord, ProcessRecord,
        RecordKind, UnixRecord,
    },
};
use bytemuck::AnyBitPattern;
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Data, End, Event, Unix};
use crate::call::Timestamp;

/// Turns the kernel's monotonic time into time since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Clock {
    /// Unix time at the zero of `CLOCK_MONOTONIC`, nanoseconds.
    offset_ns: u64,
}

impl Clock {
    /// The clock for which both readings were taken at one moment.
    pub const fn from_readings(monotonic_ns: u64, unix: Timestamp) -> Self {
        Self { offset_ns: unix.0.saturating_sub(monotonic_ns) }
    }

    /// The clock of the running system.
    pub fn system() -> Self {
        let monotonic_ns = read_clock(ClockId::Monotonic);
        Self::from_readings(monotonic_ns, Timestamp(read_clock(ClockId::Realtime)))
    }

    /// The present, comparable to the times of records: a step of the system's time
    /// of day after the clock was made does not show in either.
    pub fn now(self) -> Timestamp {
        self.timestamp(read_clock(ClockId::Monotonic))
    }

    /// Unix time of a monotonic reading.
    pub const fn timestamp(self, monotonic_ns: u64) -> Timestamp {
        Timestamp(self.offset_ns.saturating_add(monotonic_ns))
    }

    /// Monotonic reading of a Unix time; zero when it is before the boot.
    pub const fn monotonic(self, time: Timestamp) -> u64 {
        time.0.saturating_sub(self.offset_ns)
    }
}

fn read_clock(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// What one record says. Fork, exec and mapping records are not yet events: the
/// probe stage asks the system about them first.
#[derive(Clone, Debug)]
pub enum Raw {
    /// Bytes moved.
    Data(Data),
    /// A flow or one direction of it ended.
    End(End),
    /// Names of a unix socket.
    Unix(Unix),
    /// A process was forked.
    Fork(Lifecycle),
    /// A process runs another program.
    Exec(Lifecycle),
    /// A process ended.
    Exit(Lifecycle),
    /// A process mapped a file as code.
    Mapped(Mapped),
}

/// What a record says about a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lifecycle {
    /// When.
    pub time: Timestamp,
    /// The process (of a fork: the child).
    pub tgid: u32,
    /// Start of the process, nanoseconds of `CLOCK_BOOTTIME`, or 0.
    pub start_ns: u64,
    /// Its parent, or 0 when unknown.
    pub parent_tgid: u32,
    /// Task name.
    pub comm: String,
    /// Of an exec: the file as it was named to execve, maybe cut; else empty.
    pub filename: String,
    /// Of an exit: the signal that ended the process, or 0.
    pub signal: u32,
}

/// A file that a process mapped as code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// When.
    pub time: Timestamp,
    /// The process.
    pub tgid: u32,
    /// Inode number of the file.
    pub inode: u64,
    /// Device of its file system, as `s_dev` holds it.
    pub device: u64,
    /// Where it was mapped.
    pub address: u64,
}

impl Raw {
    /// When it happened.
    pub const fn time(&self) -> Timestamp {
        match self {
            Self::Data(data) => data.time,
            Self::End(end) => end.time,
            Self::Unix(unix) => unix.time,
            Self::Fork(process) | Self::Exec(process) | Self::Exit(process) => process.time,
            Self::Mapped(mapped) => mapped.time,
        }
    }

    /// The event that it is; `None` for what the probe stage must look into first.
    pub fn into_event(self) -> Option<Event> {
        match self {
            Self::Data(data) => Some(Event::Data(data)),
            Self::End(end) => Some(Event::End(end)),
            Self::Unix(unix) => Some(Event::Unix(unix)),
            Self::Exit(process) => Some(Event::Exit(process.time, process.tgid)),
            Self::Fork(_) | Self::Exec(_) | Self::Mapped(_) => None,
        }
    }
}

/// Why a record was refused.
///
/// A refused record is counted and skipped, never fatal: recordings may come from
/// another build, or from anyone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The record ends before what its kind holds.
    #[error("record of {len} bytes is shorter than the {needed} that it needs")]
    Short {
        /// Length of the record.
        len: usize,
        /// Length that its kind or its own fields ask for.
        needed: usize,
    },
    /// No known record has this kind.
    #[error("unknown record kind {kind}")]
    UnknownKind {
        /// The kind.
        kind: u32,
    },
    /// A field has a value that no kernel program writes.
    #[error("record kind {kind} with an impossible {field}")]
    Field {
        /// The kind.
        kind: u32,
        /// Name of the field.
        field: &'static str,
    },
}

/// Decodes one record. Bytes after it are padding of the transport and ignored;
/// the payload is a slice of `record`, not a copy.
pub fn decode(record: &Bytes, clock: &Clock) -> Result<Raw, DecodeError> {
    let clock = *clock;
    let kind: RecordKind = read(record)?;
    match kind {
        RecordKind::DATA => data(record, clock).map(Raw::Data),
        RecordKind::END => end(&read(record)?, clock).map(Raw::End),
        RecordKind::UNIX => unix(&read(record)?, clock).map(Raw::Unix),
        RecordKind::FORK => Ok(Raw::Fork(lifecycle(&read(record)?, clock))),
        RecordKind::EXEC => Ok(Raw::Exec(lifecycle(&read(record)?, clock))),
        RecordKind::EXIT => Ok(Raw::Exit(lifecycle(&read(record)?, clock))),
        RecordKind::MAPPED => {
            let record: MappedRecord = read(record)?;
            Ok(Raw::Mapped(Mapped {
                time: clock.timestamp(record.time_ns),
                tgid: record.tgid,
                inode: record.inode,
                device: record.device,
                address: record.address,
            }))
        }
        RecordKind(kind) => Err(DecodeError::UnknownKind { kind }),
    }
}

fn read<T: AnyBitPattern>(record: &[u8]) -> Result<T, DecodeError> {
    record
        .get(..size_of::<T>())
        .map(bytemuck::pod_read_unaligned)
        .ok_or(DecodeError::Short { len: record.len(), needed: size_of::<T>() })
}

fn data(record: &Bytes, clock: Clock) -> Result<Data, DecodeError> {
    let header: DataHeader = read(record)?;
    let impossible = |field| DecodeError::Field { kind: RecordKind::DATA.0, field };

    if header.direction != Direction::INGRESS && header.direction != Direction::EGRESS {
        return Err(impossible("direction"));
    }
    if header.layer != Layer::SOCKET && header.layer != Layer::TLS {
        return Err(impossible("layer"));
    }
    let captured = header.captured as usize;
    let most = if header.flags.contains(DataFlags::TLS_RECORDS) {
        TLS_RECORDS_MAX * TLS_RECORD_START
    } else {
        CHUNK_MAX.min(header.len as usize)
    };
    if captured > most {
        return Err(impossible("captured"));
    }
    let end = size_of::<DataHeader>() + captured;
    if record.len() < end {
        return Err(DecodeError::Short { len: record.len(), needed: end });
    }
    Ok(Data {
        time: clock.timestamp(header.time_ns),
        tgid: high(header.pid_tgid),
        tid: low(header.pid_tgid),
        start_ns: header.start_ns,
        flow: header.flow,
        socket: header.socket,
        offset: header.offset,
        other_offset: header.other_offset,
        len: header.len,
        call_len: header.call_len,
        direction: header.direction,
        layer: header.layer,
        protocol: header.protocol,
        flags: header.flags,
        library: header.library,
        tuple: header.tuple,
        payload: record.slice(size_of::<DataHeader>()..end),
    })
}

fn end(record: &FlowRecord, clock: Clock) -> Result<End, DecodeError> {
    if record.direction.0 > Direction::BOTH.0 {
        return Err(DecodeError::Field { kind: RecordKind::END.0, field: "direction" });
    }
    Ok(End {
        time: clock.timestamp(record.time_ns),
        direction: record.direction,
        layer: record.layer,
        tgid: high(record.pid_tgid),
        flow: record.flow,
        offsets: record.offsets,
    })
}

fn unix(record: &UnixRecord, clock: Clock) -> Result<Unix, DecodeError> {
    let path = record
        .path
        .get(..record.path_len as usize)
        .ok_or(DecodeError::Field { kind: RecordKind::UNIX.0, field: "path_len" })?;
    Ok(Unix {
        time: clock.timestamp(record.time_ns),
        flow: record.flow,
        peer_tgid: record.peer_tgid,
        path: socket_path(path),
    })
}

/// A `sun_path` as it is shown: abstract names with `@` for their NUL, as ss does.
fn socket_path(path: &[u8]) -> Option<Arc<str>> {
    if let [0, name @ ..] = path {
        return (!name.is_empty()).then(|| format!("@{}", String::from_utf8_lossy(name)).into());
    }
    let path = text(path);
    (!path.is_empty()).then(|| path.into())
}

fn lifecycle(record: &ProcessRecord, clock: Clock) -> Lifecycle {
    let filename = record.filename.get(..record.filename_len as usize);
    Lifecycle {
        time: clock.timestamp(record.time_ns),
        tgid: record.tgid,
        start_ns: record.start_ns,
        parent_tgid: record.parent_tgid,
        comm: text(&record.comm),
        filename: text(filename.unwrap_or(&record.filename)),
        // The rest is whether memory was dumped, and what the process returned (wait(2)).
        signal: record.exit_code & 0x7f,
    }
}

/// Text up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

const fn high(pid_tgid: u64) -> u32 {
    (pid_tgid >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low(pid_tgid: u64) -> u32 {
    pid_tgid as u32
}

#[cfg(test)]
mod tests {
    use agent_common::record::FlowId;
    use bytemuck::Zeroable as _;
    use proptest::prelude::*;

    use super::*;

    const CLOCK: Clock = Clock { offset_ns: 1000 };

    fn record(captured: u32, len: u32, payload: &[u8]) -> Vec<u8> {
        let header = DataHeader {
            kind: RecordKind::DATA,
            captured,
            len,
            time_ns: 5,
            pid_tgid: 7 << 32 | 9,
            flow: FlowId { id: 3, generation: 4 },
            ..DataHeader::zeroed()
        };
        [bytemuck::bytes_of(&header), payload].concat()
    }

    #[test]
    fn payload_ends_where_the_header_says() {
        let record = Bytes::from(record(3, 10, b"GETxxxxx"));
        let Ok(Raw::Data(data)) = decode(&record, &CLOCK) else { panic!("no data") };
        assert_eq!(data.payload, b"GET".as_slice());
        assert_eq!((data.time, data.tgid, data.tid), (Timestamp(1005), 7, 9));
        assert_eq!((data.flow.id, data.len), (3, 10));
    }

    #[test]
    fn every_prefix_of_a_record_is_refused() {
        let whole = record(3, 3, b"GET");
        for len in 0..whole.len() {
            let prefix = Bytes::copy_from_slice(&whole[..len]);
            assert!(matches!(decode(&prefix, &CLOCK), Err(DecodeError::Short { .. })), "{len}");
        }
    }

    #[test]
    fn more_captured_than_the_record_stands_for_is_refused() {
        let record = Bytes::from(record(4, 3, b"GETx"));
        let error = decode(&record, &CLOCK).unwrap_err();
        assert_eq!(error, DecodeError::Field { kind: 1, field: "captured" });
        assert_eq!(error.to_string(), "record kind 1 with an impossible captured");
    }

    #[test]
    fn unix_names_are_shown_as_tools_show_them() {
        assert_eq!(socket_path(b"/run/app.sock\0").as_deref(), Some("/run/app.sock"));
        assert_eq!(socket_path(b"\0bus").as_deref(), Some("@bus"));
        assert_eq!(socket_path(b""), None);
        assert_eq!(socket_path(b"\0"), None);
    }

    #[test]
    fn a_unix_path_longer_than_its_field_is_refused() {
        let record = UnixRecord { kind: RecordKind::UNIX, path_len: 109, ..UnixRecord::zeroed() };
        let record = Bytes::copy_from_slice(bytemuck::bytes_of(&record));
        assert!(matches!(decode(&record, &CLOCK), Err(DecodeError::Field { .. })));
    }

    #[test]
    fn names_of_an_exec_end_at_their_nul() {
        let mut record = ProcessRecord { kind: RecordKind::EXEC, ..ProcessRecord::zeroed() };
        record.comm[..4].copy_from_slice(b"curl");
        record.filename[..13].copy_from_slice(b"/usr/bin/curl");
        record.filename_len = 13;
        let record = Bytes::copy_from_slice(bytemuck::bytes_of(&record));
        let Ok(Raw::Exec(exec)) = decode(&record, &CLOCK) else { panic!("no exec") };
        assert_eq!((exec.comm.as_str(), exec.filename.as_str()), ("curl", "/usr/bin/curl"));
    }

    #[test]
    fn an_exit_tells_the_signal_and_not_what_was_returned() {
        for (exit_code, signal) in [(0, 0), (0x0300, 0), (0x8b, 11), (9, 9)] {
            let record =
                ProcessRecord { kind: RecordKind::EXIT, exit_code, ..ProcessRecord::zeroed() };
            let record = Bytes::copy_from_slice(bytemuck::bytes_of(&record));
            let Ok(Raw::Exit(exit)) = decode(&record, &CLOCK) else { panic!("no exit") };
            assert_eq!(exit.signal, signal);
        }
    }

    #[test]
    fn time_goes_there_and_back() {
        let clock = Clock::from_readings(50, Timestamp(1_000_050));
        assert_eq!(clock.timestamp(70), Timestamp(1_000_070));
        assert_eq!(clock.monotonic(clock.timestamp(70)), 70);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(kind in 0u32..9, mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(head) = bytes.get_mut(..4) {
                head.copy_from_slice(&kind.to_ne_bytes());
            }
            if let Ok(raw) = decode(&Bytes::from(bytes), &CLOCK) {
                prop_assert!(raw.time() >= Timestamp(1000));
                drop(raw.into_event());
            }
        }
    }
}
