//! The inverse of [`decode`](super::decode()): events as the records that they
//! came in, for recordings.

use agent_common::{
    limits::UNIX_PATH_MAX,
    record::{DataHeader, FlowRecord, RecordKind, UnixRecord},
};
use bytemuck::Zeroable as _;

use super::{Clock, Data, End, Unix};

/// Appends the record of `data`.
pub fn data(data: &Data, clock: &Clock, out: &mut Vec<u8>) {
    let header = DataHeader {
        kind: RecordKind::DATA,
        captured: u32::try_from(data.payload.len()).unwrap_or(u32::MAX),
        time_ns: clock.monotonic(data.time),
        pid_tgid: u64::from(data.tgid) << 32 | u64::from(data.tid),
        flow: data.flow,
        socket: data.socket,
        offset: data.offset,
        other_offset: data.other_offset,
        len: data.len,
        call_len: data.call_len,
        direction: data.direction,
        layer: data.layer,
        protocol: data.protocol,
        reserved: 0,
        flags: data.flags,
        library: data.library,
        tuple: data.tuple,
        start_ns: data.start_ns,
    };
    out.extend_from_slice(bytemuck::bytes_of(&header));
    out.extend_from_slice(&data.payload);
}

/// Appends the record of `end`.
pub fn end(end: &End, clock: &Clock, out: &mut Vec<u8>) {
    let record = FlowRecord {
        kind: RecordKind::END,
        direction: end.direction,
        layer: end.layer,
        reserved: 0,
        time_ns: clock.monotonic(end.time),
        pid_tgid: u64::from(end.tgid) << 32,
        flow: end.flow,
        offsets: end.offsets,
    };
    out.extend_from_slice(bytemuck::bytes_of(&record));
}

/// Appends the record of `unix`.
pub fn unix(unix: &Unix, clock: &Clock, out: &mut Vec<u8>) {
    let mut path = unix.path.as_deref().unwrap_or_default().as_bytes().to_vec();
    if let Some(first @ b'@') = path.first_mut() {
        *first = 0;
    }
    path.truncate(UNIX_PATH_MAX);
    let mut record = UnixRecord {
        kind: RecordKind::UNIX,
        path_len: u32::try_from(path.len()).unwrap_or(0),
        time_ns: clock.monotonic(unix.time),
        flow: unix.flow,
        peer_tgid: unix.peer_tgid,
        ..UnixRecord::zeroed()
    };
    if let Some(space) = record.path.get_mut(..path.len()) {
        space.copy_from_slice(&path);
    }
    out.extend_from_slice(bytemuck::bytes_of(&record));
}
