//! Recordings: frames in a file, so that they can be replayed without the kernel.
//!
//! In: frames. Out: the same frames. Always holds: a file begins with [`MAGIC`]; each frame is a kind byte, a
//! little-endian u32 length and that many bytes; the file is 0600 and secrets in heads are masked before they are
//! written. Refuses: a frame longer than [`FRAME_MAX`], whatever its length field claims.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use agent_trace::frame::Frame;

use super::mask::Masker;

/// First bytes of a recording; the digit is the format's version.
pub const MAGIC: &[u8; 8] = b"SUTURE2\n";
/// Longest frame, bytes: a record with the largest payload fits with room to spare.
pub const FRAME_MAX: usize = 1 << 20;

const KERNEL: u8 = b'K';
const PROCESS: u8 = b'P';
const TICK: u8 = b'T';
const COUNTERS: u8 = b'C';

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file system refused.
    #[error("cannot {operation} recording {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no recording of this version.
    #[error(
        "{path} is not a Suture recording (it does not begin with SUTURE2); record one with `suture record FILE`"
    )]
    NotARecording {
        /// The file.
        path: String,
    },
    /// A frame is damaged.
    #[error("recording {path} is damaged at byte {at}: {what}; what came before it was replayed")]
    Damaged {
        /// The file.
        path: String,
        /// Offset of the frame.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder {
    file: BufWriter<File>,
    path: String,
    masker: Masker,
    buffer: Vec<u8>,
}

impl Recorder {
    /// Creates the file, readable by its owner only. An existing file is not touched.
    ///
    /// # Errors
    /// [`RecordingError::Io`]
    pub fn create(path: &Path) -> Result<Self, RecordingError> {
        let shown = path.display().to_string();
        let failed = |operation| {
            let path = shown.clone();
            move |source| RecordingError::Io {
                operation,
                path,
                source,
            }
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed("create"))?;
        let mut file = BufWriter::with_capacity(1 << 16, file);
        file.write_all(MAGIC).map_err(failed("write"))?;
        Ok(Self {
            file,
            path: shown,
            masker: Masker::default(),
            buffer: Vec::new(),
        })
    }

    /// Appends one frame.
    ///
    /// # Errors
    /// [`RecordingError::Io`]; the recording ends there (a full disk).
    pub fn write(&mut self, frame: &Frame<'_>) -> Result<(), RecordingError> {
        self.buffer.clear();
        let kind = match frame {
            Frame::Kernel(bytes) => {
                self.buffer.extend_from_slice(bytes);
                self.masker.mask(&mut self.buffer);
                KERNEL
            }
            Frame::Process(facts) => {
                // Serialising strings and numbers into memory cannot fail.
                let _ = serde_json::to_writer(&mut self.buffer, facts);
                PROCESS
            }
            Frame::Tick {
                ktime_ns,
                epoch_offset_ns,
            } => {
                self.buffer.extend_from_slice(&ktime_ns.to_le_bytes());
                self.buffer
                    .extend_from_slice(&epoch_offset_ns.to_le_bytes());
                TICK
            }
            Frame::KernelCounters(values) => {
                for value in values {
                    self.buffer.extend_from_slice(&value.to_le_bytes());
                }
                COUNTERS
            }
        };
        let length = (self.buffer.len() as u32).to_le_bytes();
        let written = self
            .file
            .write_all(&[kind])
            .and_then(|()| self.file.write_all(&length))
            .and_then(|()| self.file.write_all(&self.buffer));
        written.map_err(|source| self.failed("write", source))
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// [`RecordingError::Io`]
    pub fn finish(mut self) -> Result<(), RecordingError> {
        let flushed = self.file.flush();
        flushed.map_err(|source| self.failed("finish", source))
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> RecordingError {
        RecordingError::Io {
            operation,
            path: self.path.clone(),
            source,
        }
    }
}

/// Reads a recording and gives each frame to `on_frame`.
///
/// # Errors
/// [`RecordingError`]; frames before the damage were given.
pub fn read(path: &Path, mut on_frame: impl FnMut(Frame<'_>)) -> Result<(), RecordingError> {
    let shown = path.display().to_string();
    let failed = |source| RecordingError::Io {
        operation: "read",
        path: shown.clone(),
        source,
    };
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    let mut magic = [0; MAGIC.len()];
    if file.read_exact(&mut magic).is_err() || magic != *MAGIC {
        return Err(RecordingError::NotARecording { path: shown });
    }
    let mut at = MAGIC.len() as u64;
    let mut buffer = Vec::new();
    loop {
        let mut head = [0; 5];
        match file.read(&mut head[..1]).map_err(failed)? {
            0 => return Ok(()),
            _ => file.read_exact(&mut head[1..]),
        }
        .map_err(|_| damaged(&shown, at, "the last frame is cut"))?;
        let [kind, a, b, c, d] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > FRAME_MAX {
            return Err(damaged(&shown, at, "a frame is longer than any can be"));
        }
        buffer.resize(length, 0);
        file.read_exact(&mut buffer)
            .map_err(|_| damaged(&shown, at, "the last frame is cut"))?;
        let frame =
            decode(kind, &buffer).ok_or_else(|| damaged(&shown, at, "a frame cannot be read"))?;
        on_frame(frame);
        at += 5 + length as u64;
    }
}

fn damaged(path: &str, at: u64, what: &'static str) -> RecordingError {
    RecordingError::Damaged {
        path: path.to_owned(),
        at,
        what,
    }
}

/// One frame from its bytes.
fn decode(kind: u8, bytes: &[u8]) -> Option<Frame<'_>> {
    let words = || {
        bytes
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
    };
    match kind {
        KERNEL => Some(Frame::Kernel(bytes)),
        PROCESS => serde_json::from_slice(bytes).ok().map(Frame::Process),
        TICK if bytes.len() == 16 => {
            let mut words = words();
            Some(Frame::Tick {
                ktime_ns: words.next()?,
                epoch_offset_ns: words.next()?,
            })
        }
        COUNTERS if bytes.len().is_multiple_of(8) => Some(Frame::KernelCounters(words().collect())),
        _ => None,
    }
}
