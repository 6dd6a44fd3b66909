//! The file that `record` writes and `replay` reads: a header line and frames.
//!
//! A recording holds raw payloads, secrets and all: it is made only when asked
//! for, is readable by its owner alone, and nothing else of the agent writes one.
//!
//! ```text
//! "APISCOPE" version:u32 header:JSON "\n" { len:u32 kind:u8 body:[u8; len] }*
//! ```
//!
//! Integers are little-endian. Records of the kernel are kept as they came.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{Clock, DecodeError, Event, decode, encode, verdict::ProcessVerdict};
use crate::call::{Process, Timestamp};

/// Version of the format that is written and read.
pub const VERSION: u32 = 2;

const MAGIC: &[u8; 8] = b"APISCOPE";

/// Longest header line.
const HEADER_MAX: u64 = 64 * 1024;

/// Longest frame: more than the largest record, and room for names.
const FRAME_MAX: usize = 64 * 1024;

/// What is known of a recording as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Header {
    /// When it was begun.
    pub start: Timestamp,
    /// Release of the kernel that it was made on.
    pub kernel: String,
    /// Version of the agent that made it.
    pub apiscope: String,
    /// Who was observed, in words.
    pub scope: String,
    /// Turns the times of its records into time of day.
    pub clock: Clock,
}

/// What a frame holds.
mod kind {
    pub(super) const RECORD: u8 = 1;
    pub(super) const PROCESS: u8 = 2;
    pub(super) const EXIT: u8 = 3;
    pub(super) const LIBRARY: u8 = 4;
    pub(super) const COUNTERS: u8 = 5;
    pub(super) const VERDICT: u8 = 6;
}

/// Why a recording, or a part of it, cannot be read.
#[derive(Debug, Error)]
pub enum FileError {
    /// The system says no.
    #[error("read the recording")]
    Io(#[from] io::Error),
    /// Something else than a recording.
    #[error("not a recording of apiscope")]
    NotARecording,
    /// Written by another version.
    #[error("the recording has format {found}, this program reads format {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// The header line is too long or no header.
    #[error("the recording has a damaged header")]
    Header,
    /// A frame says that it is longer than frames are; nothing behind it can be found.
    #[error("a frame of {len} bytes is longer than frames are")]
    FrameTooLong {
        /// Length that it claims.
        len: usize,
    },
    /// A frame of no known kind; the next one can be read.
    #[error("unknown frame kind {kind}")]
    FrameKind {
        /// The kind.
        kind: u8,
    },
    /// A frame whose text is damaged; the next one can be read.
    #[error("a frame of kind {kind} is damaged")]
    Frame {
        /// The kind.
        kind: u8,
    },
    /// A record that was refused; the next frame can be read.
    #[error(transparent)]
    Record(#[from] DecodeError),
}

/// Writes a recording, up to a limit of bytes; what is beyond is counted.
#[derive(Debug)]
pub struct Writer<W: Write = File> {
    // A BufWriter flushes when it is dropped.
    out: BufWriter<W>,
    clock: Clock,
    body: Vec<u8>,
    left: u64,
    dropped: u64,
}

impl Writer {
    /// Makes the file, which must not exist, readable and writable by its owner
    /// only. At most `limit` bytes of frames are written.
    pub fn create(path: &Path, header: &Header, limit: u64) -> io::Result<Self> {
        // Not over an old file: its mode, or a link that someone put there, would
        // decide who reads the payloads.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Self::new(file, header, limit)
    }
}

impl<W: Write> Writer<W> {
    /// Begins a recording on `out`.
    pub fn new(out: W, header: &Header, limit: u64) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(256 * 1024, out);
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        serde_json::to_writer(&mut out, header)?;
        out.write_all(b"\n")?;
        Ok(Self { out, clock: header.clock, body: Vec::new(), left: limit, dropped: 0 })
    }

    /// Writes a record of the kernel as it is.
    pub fn record(&mut self, record: &[u8]) -> io::Result<()> {
        frame(&mut self.out, kind::RECORD, record, &mut self.left, &mut self.dropped)
    }

    /// Writes an event.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.body.clear();
        let body = &mut self.body;
        let kind = match event {
            Event::Data(data) => {
                encode::data(data, &self.clock, body);
                kind::RECORD
            }
            Event::End(end) => {
                encode::end(end, &self.clock, body);
                kind::RECORD
            }
            Event::Unix(unix) => {
                encode::unix(unix, &self.clock, body);
                kind::RECORD
            }
            Event::Process(time, process) => {
                serde_json::to_writer(body, &(time, process))?;
                kind::PROCESS
            }
            Event::Verdict(time, verdict) => {
                serde_json::to_writer(body, &(time, verdict))?;
                kind::VERDICT
            }
            Event::Exit(time, pid) => {
                serde_json::to_writer(body, &(time, pid))?;
                kind::EXIT
            }
            Event::Library(index, name) => {
                serde_json::to_writer(body, &(index, name))?;
                kind::LIBRARY
            }
            Event::Counters(time, counts) => {
                serde_json::to_writer(body, &(time, counts))?;
                kind::COUNTERS
            }
        };
        frame(&mut self.out, kind, &self.body, &mut self.left, &mut self.dropped)
    }

    /// Hands everything to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Frames that were not written, for they were over the limit.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn frame(
    out: &mut impl Write,
    kind: u8,
    body: &[u8],
    left: &mut u64,
    dropped: &mut u64,
) -> io::Result<()> {
    let size = body.len() as u64 + 5;
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if body.len() > FRAME_MAX || size > *left {
        *dropped += 1;
        return Ok(());
    }
    *left -= size;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&[kind])?;
    out.write_all(body)
}

/// Reads a recording: an iterator over its events. After an error that concerns
/// one frame it goes on with the next.
#[derive(Debug)]
pub struct Reader<R: Read> {
    input: BufReader<R>,
    header: Header,
    ended: bool,
    cut_off: bool,
}

impl Reader<File> {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::new(File::open(path)?)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(input: R) -> Result<Self, FileError> {
        let mut input = BufReader::with_capacity(256 * 1024, input);
        let mut start = [0; 12];
        input.read_exact(&mut start).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => FileError::NotARecording,
            _ => FileError::Io(error),
        })?;
        let [magic @ .., a, b, c, d] = start;
        if magic != *MAGIC {
            return Err(FileError::NotARecording);
        }
        let found = u32::from_le_bytes([a, b, c, d]);
        if found != VERSION {
            return Err(FileError::Version { found });
        }
        let mut line = Vec::new();
        input.by_ref().take(HEADER_MAX).read_until(b'\n', &mut line)?;
        let header = serde_json::from_slice(&line).ok().filter(|_| line.ends_with(b"\n"));
        let header = header.ok_or(FileError::Header)?;
        Ok(Self { input, header, ended: false, cut_off: false })
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The file ended within a frame: its writer was stopped. Known once the
    /// iterator has ended.
    pub const fn cut_off(&self) -> bool {
        self.cut_off
    }

    /// The next event; `Ok(None)` for a frame that is none.
    fn event(&mut self, kind: u8, body: Vec<u8>) -> Result<Option<Event>, FileError> {
        match kind {
            kind::RECORD => Ok(decode(&Bytes::from(body), &self.header.clock)?.into_event()),
            kind::PROCESS => {
                let (time, process): (Timestamp, Arc<Process>) = json(kind, &body)?;
                Ok(Some(Event::Process(time, process)))
            }
            kind::VERDICT => {
                let (time, verdict): (Timestamp, Arc<ProcessVerdict>) = json(kind, &body)?;
                Ok(Some(Event::Verdict(time, verdict)))
            }
            kind::EXIT => {
                let (time, pid) = json(kind, &body)?;
                Ok(Some(Event::Exit(time, pid)))
            }
            kind::LIBRARY => {
                let (index, name): (u16, Arc<str>) = json(kind, &body)?;
                Ok(Some(Event::Library(index, name)))
            }
            kind::COUNTERS => {
                let (time, counts) = json(kind, &body)?;
                Ok(Some(Event::Counters(time, counts)))
            }
            kind => Err(FileError::FrameKind { kind }),
        }
    }

    /// Kind and body of the next frame; `None` at the end.
    fn frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, FileError> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut head = [0; 5];
        if self.cut(|input| input.read_exact(&mut head))? {
            return Ok(None);
        }
        let [a, b, c, d, kind] = head;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > FRAME_MAX {
            return Err(FileError::FrameTooLong { len });
        }
        let mut body = vec![0; len];
        if self.cut(|input| input.read_exact(&mut body))? {
            return Ok(None);
        }
        Ok(Some((kind, body)))
    }

    /// Whether the file ended while it was read.
    fn cut(
        &mut self,
        read: impl FnOnce(&mut BufReader<R>) -> io::Result<()>,
    ) -> Result<bool, FileError> {
        match read(&mut self.input) {
            Ok(()) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.cut_off = true;
                Ok(true)
            }
            Err(error) => Err(FileError::Io(error)),
        }
    }
}

fn json<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, FileError> {
    // What was wrong with the text is of no use to anyone: frames are written by
    // this program, and damage is damage.
    serde_json::from_slice(body).ok().ok_or(FileError::Frame { kind })
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Event, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.frame() {
                Ok(Some((kind, body))) => {
                    if let Some(event) = self.event(kind, body).transpose() {
                        return Some(event);
                    }
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::event::verdict::Unhooked;

    fn header() -> Header {
        let clock = Clock::from_readings(0, Timestamp(500));
        Header { scope: "comm curl".into(), kernel: "6.1".into(), clock, ..Header::default() }
    }

    fn written(events: &[Event], limit: u64) -> (Vec<u8>, u64) {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, &header(), limit).unwrap();
        for event in events {
            writer.event(event).unwrap();
        }
        let dropped = writer.dropped();
        drop(writer);
        (file, dropped)
    }

    fn some_events() -> Vec<Event> {
        let process = Process {
            pid: 7,
            start_ns: 9,
            comm: "curl".into(),
            executable: "/usr/bin/curl".into(),
            container_id: None,
        };
        vec![
            Event::Process(Timestamp(501), Arc::new(process)),
            Event::Library(1, Arc::from("libssl.so.3")),
            Event::Verdict(
                Timestamp(501),
                Arc::new(ProcessVerdict {
                    pid: 7,
                    start_ns: 9,
                    looked: true,
                    hooked: Some("libssl.so.3".into()),
                    unhooked: Some(Unhooked::Go("built without symbols".into())),
                }),
            ),
            Event::Data(crate::flow::sample::data(b"GET / HTTP/1.1\r\n\r\n", 0)),
            Event::Unix(super::super::Unix {
                time: Timestamp(502),
                flow: agent_common::record::FlowId { id: 3, generation: 4 },
                peer_tgid: 9,
                path: Some(Arc::from("@bus")),
            }),
            Event::Counters(Timestamp(503), vec![1, 2, 3]),
            Event::Exit(Timestamp(504), 7),
        ]
    }

    #[test]
    fn what_was_written_is_read() {
        let events = some_events();
        let (file, dropped) = written(&events, u64::MAX);
        let mut reader = Reader::new(file.as_slice()).unwrap();
        assert_eq!(reader.header(), &header());
        let read: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(format!("{read:?}"), format!("{events:?}"));
        assert!(!reader.cut_off() && dropped == 0);
    }

    #[test]
    fn a_file_cut_off_anywhere_gives_its_whole_frames_and_says_so() {
        let (file, _) = written(&some_events(), u64::MAX);
        let (start, _) = written(&[], u64::MAX);
        let mut whole = 0;
        for len in start.len()..file.len() {
            let mut reader = Reader::new(&file[..len]).unwrap();
            let events = reader.by_ref().map(Result::unwrap).count();
            assert!(events == whole || events == whole + 1, "at {len}");
            if events == whole + 1 {
                whole += 1;
                assert!(!reader.cut_off());
            }
        }
        assert_eq!(whole, some_events().len() - 1);
    }

    #[test]
    fn every_prefix_of_the_header_is_refused() {
        let (file, _) = written(&[], u64::MAX);
        for len in 0..file.len() {
            assert!(Reader::new(&file[..len]).is_err(), "at {len}");
        }
    }

    #[test]
    fn another_version_is_named_in_the_error() {
        let (mut file, _) = written(&[], u64::MAX);
        file[8] = 9;
        let error = Reader::new(file.as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "the recording has format 9, this program reads format 2");
    }

    #[test]
    fn a_bad_frame_is_skipped_but_a_bad_length_ends_it() {
        let (mut file, _) = written(&[], u64::MAX);
        file.extend_from_slice(&[1, 0, 0, 0, 99, 0]);
        file.extend_from_slice(&[0, 0, 0, 0, kind::EXIT]);
        file.extend_from_slice(&[255, 255, 255, 255, kind::EXIT, 1]);
        file.extend_from_slice(&[0, 0, 0, 0, kind::EXIT]);
        let errors: Vec<_> =
            Reader::new(file.as_slice()).unwrap().map(|event| event.unwrap_err()).collect();
        assert!(matches!(
            errors.as_slice(),
            [
                FileError::FrameKind { kind: 99 },
                FileError::Frame { kind: kind::EXIT },
                FileError::FrameTooLong { .. }
            ]
        ));
    }

    #[test]
    fn beyond_the_limit_nothing_is_written_and_it_is_counted() {
        let (file, dropped) = written(&some_events(), 150);
        let read = Reader::new(file.as_slice()).unwrap().count();
        assert!(read > 0 && read + usize::try_from(dropped).unwrap() == some_events().len());
    }

    #[test]
    fn the_file_is_its_owners_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.apiscope");
        drop(Writer::create(&path, &header(), 1000).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Writer::create(&path, &header(), 1000).is_err());
        assert_eq!(Reader::open(&path).unwrap().header(), &header());
    }
}
