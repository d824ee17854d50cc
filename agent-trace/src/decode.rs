//! Bytes of one record -> [`KernelEvent`].
//!
//! In: a record as the kernel side wrote it. Out: its fixed part by value and its payload borrowed. Always holds: any
//! bytes whatever give an event or a [`DecodeError`], with no panic and no allocation; bytes after `head.size` are ignored (a
//! ring buffer may round up). Refuses: records shorter than their kind, and sizes that contradict each other.

use std::mem::size_of;

use agent_common::abi::{
    ConnRecord, DoubtRecord, ExchangeIds, ProcessKey, RecordHead, SegmentRecord, SocketKey,
    StateRecord, TaskRecord, TickRecord, Words, kind,
};

/// A record with a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KernelEvent<'a> {
    /// A connection is followed from here on.
    Conn(ConnRecord),
    /// Bytes moved; the second field holds the first captured ones.
    Segment(SegmentRecord, &'a [u8]),
    /// A socket changed its state.
    State(StateRecord),
    /// A process called execve.
    Exec(TaskRecord),
    /// The last thread of a process ended.
    Exit(TaskRecord),
    /// A process set up an io_uring.
    IoUring(TaskRecord),
    /// A process listens on a TCP port.
    Listen(TaskRecord),
    /// Calls of a request may be another's.
    Doubt(DoubtRecord),
    /// A scheduler began a command, or which processes belong to it.
    Tick(TickRecord),
}

/// Why a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Its fixed part or its payload does not fit into its bytes.
    #[error(
        "a kernel record of {have} bytes is shorter than the {need} bytes it must have; it was skipped"
    )]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes it needs.
        need: usize,
    },
    /// Its kind is not one of `agent_common::abi::kind`.
    #[error(
        "a kernel record has the unknown kind {0}; it was skipped (daemon and BPF programs of different versions?)"
    )]
    UnknownKind(u16),
}

/// Reads the fields of a record in order.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl Fields<'_> {
    /// The next `N` bytes. The caller has checked the length of the whole; zeros are what a mistake would give. Inlined:
    /// where the length is known, no check is left of each field's.
    #[inline(always)]
    fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.bytes.split_first_chunk::<N>() {
            Some((chunk, rest)) => {
                self.bytes = rest;
                *chunk
            }
            None => [0; N],
        }
    }

    #[inline(always)]
    fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    #[inline(always)]
    fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.array())
    }

    #[inline(always)]
    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.array())
    }

    #[inline(always)]
    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.array())
    }

    #[inline(always)]
    fn words(&mut self) -> Words {
        [self.u64(), self.u64()]
    }

    #[inline(always)]
    fn head(&mut self) -> RecordHead {
        RecordHead {
            kind: self.u16(),
            payload: self.u16(),
            size: self.u32(),
            ktime_ns: self.u64(),
        }
    }

    #[inline(always)]
    fn process(&mut self) -> ProcessKey {
        ProcessKey {
            start_ns: self.u64(),
            tgid: self.u32(),
            zero: self.u32(),
        }
    }

    #[inline(always)]
    fn socket(&mut self) -> SocketKey {
        SocketKey {
            sk: self.u64(),
            ino: self.u64(),
        }
    }

    #[inline(always)]
    fn exchange(&mut self) -> ExchangeIds {
        ExchangeIds {
            trace_id: self.words(),
            span_id: self.u64(),
            parent_span_id: self.u64(),
            evidence: self.u8(),
            said: self.u8(),
            zero: self.array(),
        }
    }

    #[inline(always)]
    fn conn(&mut self) -> ConnRecord {
        ConnRecord {
            head: self.head(),
            process: self.process(),
            socket: self.socket(),
            local_addr: self.words(),
            remote_addr: self.words(),
            local_port: self.u16(),
            remote_port: self.u16(),
            family: self.u16(),
            by_connect: self.u16(),
            netns: self.u32(),
            tid: self.u32(),
            comm: self.array(),
            exchange: self.exchange(),
        }
    }

    #[inline(always)]
    fn segment(&mut self) -> SegmentRecord {
        SegmentRecord {
            head: self.head(),
            process: self.process(),
            socket: self.socket(),
            enter_ktime_ns: self.u64(),
            pos: self.u32(),
            len: self.u32(),
            tid: self.u32(),
            error: self.u16(),
            direction: self.u8(),
            op: self.u8(),
            flags: self.u8(),
            role: self.u8(),
            protocol: self.u8(),
            injected: self.u8(),
            ending: self.u16(),
            zero: self.array(),
            tail: self.array(),
            exchange: self.exchange(),
        }
    }

    #[inline(always)]
    fn state(&mut self) -> StateRecord {
        StateRecord {
            head: self.head(),
            socket: self.socket(),
            old_state: self.u8(),
            new_state: self.u8(),
            error: self.u16(),
            rx_bytes: self.u32(),
            tx_bytes: self.u32(),
            shutdown: self.u8(),
            zero: [self.u8(), self.u8(), self.u8()],
        }
    }

    #[inline(always)]
    fn task(&mut self) -> TaskRecord {
        TaskRecord {
            head: self.head(),
            process: self.process(),
            tid: self.u32(),
            other: self.u32(),
            comm: self.array(),
        }
    }

    fn tick(&mut self) -> TickRecord {
        TickRecord {
            head: self.head(),
            process: self.process(),
            trace_id: self.words(),
            span_id: self.u64(),
            what: self.u32(),
            by: self.u32(),
            comm: self.array(),
            scheduler: self.array(),
        }
    }

    fn doubt(&mut self) -> DoubtRecord {
        DoubtRecord {
            head: self.head(),
            process: self.process(),
            span_id: self.u64(),
        }
    }
}

/// Decodes one record.
///
/// # Errors
/// When the record does not fit into `bytes` or its kind is unknown; the caller counts it and goes on.
pub fn decode(bytes: &[u8]) -> Result<KernelEvent<'_>, DecodeError> {
    let Some(start) = bytes.first_chunk::<{ size_of::<RecordHead>() }>() else {
        return Err(DecodeError::Short {
            have: bytes.len(),
            need: size_of::<RecordHead>(),
        });
    };
    let head = Fields { bytes: start }.head();
    Ok(match head.kind {
        kind::CONN => {
            KernelEvent::Conn(fixed::<{ size_of::<ConnRecord>() }>(bytes, head)?.0.conn())
        }
        kind::SEGMENT => {
            let (mut fields, payload) = fixed::<{ size_of::<SegmentRecord>() }>(bytes, head)?;
            KernelEvent::Segment(fields.segment(), payload)
        }
        kind::STATE => KernelEvent::State(
            fixed::<{ size_of::<StateRecord>() }>(bytes, head)?
                .0
                .state(),
        ),
        kind::EXEC => KernelEvent::Exec(task(bytes, head)?),
        kind::EXIT => KernelEvent::Exit(task(bytes, head)?),
        kind::IO_URING => KernelEvent::IoUring(task(bytes, head)?),
        kind::DOUBT => KernelEvent::Doubt(
            fixed::<{ size_of::<DoubtRecord>() }>(bytes, head)?
                .0
                .doubt(),
        ),
        kind::TICK => {
            KernelEvent::Tick(fixed::<{ size_of::<TickRecord>() }>(bytes, head)?.0.tick())
        }
        kind::LISTEN => KernelEvent::Listen(task(bytes, head)?),
        other => return Err(DecodeError::UnknownKind(other)),
    })
}

/// The fixed part of `N` bytes, and the payload.
#[inline(always)]
fn fixed<const N: usize>(
    bytes: &[u8],
    head: RecordHead,
) -> Result<(Fields<'_>, &[u8]), DecodeError> {
    let (have, size) = (bytes.len(), head.size as usize);
    let need = N + usize::from(head.payload);
    match bytes.split_first_chunk::<N>() {
        Some((fixed, rest)) if have >= size && size >= need => Ok((
            Fields { bytes: fixed },
            rest.get(..need - N).unwrap_or_default(),
        )),
        _ => Err(DecodeError::Short {
            have: have.min(size),
            need: need.max(size),
        }),
    }
}

fn task(bytes: &[u8], head: RecordHead) -> Result<TaskRecord, DecodeError> {
    Ok(fixed::<{ size_of::<TaskRecord>() }>(bytes, head)?.0.task())
}
