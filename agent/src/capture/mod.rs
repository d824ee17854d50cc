//! The kernel side as the daemon uses it while it runs.
//!
//! In: what `attach` made. Out: records, counters, and the few writes user space makes into maps. Always holds: one
//! reader of the ring; the ring is looked at every `RING_POLL_MS` even if no wake-up comes, because the programs send
//! none while little waits. Refuses: to write into an entry whose socket is another one by now.

use std::collections::HashSet;
use std::os::fd::AsRawFd;

use agent_common::{
    abi::{
        Conn, PeerKey, Runtime, ServerKey, SocketKey, Tick, UnitContext, UnitKey, cpython_variant,
        demand, evidence, goroutine_note, runtime, server_key, task_note, tokio_variant, unit_kind,
        unit_note, verdict, words_of,
    },
    limits::{CONTEXT_AGE_MAX_NS, PROCESSES_MAX, SPAWNED_AGE_MAX_NS},
};
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};

use crate::{
    attach::{AttachError, Attached, Missing, RuntimeValue},
    enrich::runtime::Finding,
};

/// How far ahead of a record the ring's memory is asked for, bytes: two or three records.
const AHEAD_BYTES: usize = 768;
/// Bytes before each record (kernel/bpf/ringbuf.c).
const RECORD_HEADER: usize = 8;
/// Update flag: only if the entry is there (include/uapi/linux/bpf.h).
const BPF_EXIST: u64 = 2;

// The ABI types are plain words and byte arrays, but aya asks for its own marker; `repr(transparent)` keeps layouts.
macro_rules! pod {
    ($name:ident, $inner:ty) => {
        #[repr(transparent)]
        #[derive(Clone, Copy)]
        struct $name($inner);
        // SAFETY: repr(C) integers and byte arrays without padding: any bytes are a value (sizes asserted in abi.rs).
        unsafe impl aya::Pod for $name {}
    };
}
pod!(ConnValue, Conn);
pod!(PeerKeyBytes, PeerKey);
pod!(SocketValue, SocketKey);
pod!(UnitKeyBytes, UnitKey);
pod!(UnitValue, UnitContext);
pod!(TickValue, Tick);

/// The running kernel side. Dropping it detaches everything.
pub struct Kernel {
    ring: RingBuf<MapData>,
    conns: HashMap<MapData, u64, ConnValue>,
    peers: HashMap<MapData, PeerKeyBytes, SocketValue>,
    runtimes: HashMap<MapData, u32, RuntimeValue>,
    units: HashMap<MapData, UnitKeyBytes, UnitValue>,
    channels: HashMap<MapData, UnitKeyBytes, UnitValue>,
    scope: HashMap<MapData, u32, u8>,
    piped: HashMap<MapData, u32, u8>,
    servers: HashMap<MapData, ServerKey, u8>,
    ticks: HashMap<MapData, u32, TickValue>,
    timed: HashMap<MapData, u64, u8>,
    /// Processes whose Contexts are told of.
    kin: HashSet<u32>,
    counters: PerCpuArray<MapData, u64>,
    /// Map memory in bytes, as the kernel accounts it.
    pub map_bytes: u64,
    /// Times that a process' units are not read because a probe was not attached.
    pub probes_refused: u64,
    attached: Attached,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}

impl Kernel {
    /// Takes over the maps.
    ///
    /// # Errors
    /// [`AttachError`] when the object lacks one.
    pub fn new(mut attached: Attached) -> Result<Self, AttachError> {
        let map_bytes = attached.map_bytes();
        Ok(Self {
            ring: attached.ring()?,
            conns: attached.hash("CONNS")?,
            peers: attached.hash("PEERS")?,
            runtimes: attached.hash("RUNTIMES")?,
            units: attached.hash("UNITS")?,
            channels: attached.hash("CHANNELS")?,
            scope: attached.hash("SCOPE")?,
            piped: attached.hash("PIPED")?,
            servers: attached.hash("SERVERS")?,
            ticks: attached.hash("TICKS")?,
            timed: attached.hash("TIMED")?,
            kin: HashSet::new(),
            counters: attached.counters()?,
            map_bytes,
            probes_refused: 0,
            attached,
        })
    }

    /// Optional hooks that are off.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.attached.missing
    }

    /// Passes on what the programs have logged (`--bpf-log`).
    pub fn flush_log(&mut self) {
        self.attached.flush_log();
    }

    /// Waits until the programs ask to be read, or `millis` pass.
    pub fn wait(&self, millis: u64) {
        let mut ready = libc::pollfd {
            fd: self.ring.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one initialised pollfd, valid for the call. An error (EINTR) only means to look earlier.
        unsafe { libc::poll(&raw mut ready, 1, millis as libc::c_int) };
    }

    /// Hands out up to `most` records that wait; returns how many there were.
    pub fn read(&mut self, most: usize, mut on_record: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < most {
            let Some(record) = self.ring.next() else {
                break;
            };
            // Another processor has written what follows.
            let ahead = record.as_ptr().wrapping_add(AHEAD_BYTES);
            agent_trace::ahead::fetch(ahead, record.len() + RECORD_HEADER);
            on_record(&record);
            count += 1;
        }
        count
    }

    /// The kernel's counters, absolute, in the order of `Counter::ALL`. A slot that cannot be read is zero.
    #[must_use]
    pub fn counters(&self) -> Vec<u64> {
        (0..agent_common::counters::Counter::ALL.len() as u32)
            .map(|slot| {
                self.counters
                    .get(&slot, 0)
                    .map_or(0, |values| values.iter().sum())
            })
            .collect()
    }

    /// Nothing more is captured on this socket. The programs may change other fields of the entry at the same time;
    /// none of them matters any more.
    pub fn ignore(&mut self, socket: SocketKey) {
        if let Ok(ConnValue(mut conn)) = self.conns.get(&socket.sk, 0)
            && conn.ino == socket.ino
        {
            conn.verdict = verdict::IGNORED;
            // BPF_EXIST: the socket may have closed since, and then its entry must not come back.
            let _ = self.conns.insert(socket.sk, ConnValue(conn), BPF_EXIST);
        }
    }

    /// Tells the programs a process' runtime, once what that stands on is attached.
    pub fn set_runtime(&mut self, tgid: u32, finding: &Finding) {
        let mut runtime = finding.runtime;
        for probe in &finding.probes {
            if let Err(error) = self.attached.probe(probe) {
                self.probes_refused += 1;
                tracing::warn!(tgid, "{error}; calls of this process are roots");
                runtime = Runtime::of(runtime::MULTIPLEXING);
                break;
            }
        }
        if runtime.class == runtime::TOKIO
            && runtime.variant & tokio_variant::FOLLOWED != 0
            && !self.has_room_for_doubt(tgid)
        {
            tracing::warn!(
                tgid,
                "the map of units is full; what other tasks call for a request of this process are roots"
            );
            runtime.variant &= !tokio_variant::FOLLOWED;
        }
        if runtime.class == runtime::CPYTHON && self.kin.contains(&tgid) {
            runtime.variant |= cpython_variant::KIN;
        }
        // A full map leaves the process NATIVE, the class that trusts least.
        let _ = self.runtimes.insert(tgid, RuntimeValue(runtime), 0);
    }

    /// From now on it is told which of this process' Contexts is a copy of which, if it runs CPython.
    pub fn follow_contexts(&mut self, tgid: u32) {
        if self.kin.len() < PROCESSES_MAX as usize {
            self.kin.insert(tgid);
        }
        if let Ok(RuntimeValue(mut runtime)) = self.runtimes.get(&tgid, 0)
            && runtime.class == runtime::CPYTHON
        {
            runtime.variant |= cpython_variant::KIN;
            let _ = self.runtimes.insert(tgid, RuntimeValue(runtime), 0);
        }
    }

    /// Makes the entry in which is noted that a tokio program's tasks sent something to who knows whom. False: there is no room.
    fn has_room_for_doubt(&mut self, tgid: u32) -> bool {
        let key = UnitKeyBytes(UnitKey {
            id: 0,
            tgid,
            kind: unit_kind::TASK_SENT,
        });
        let new = UnitValue(UnitContext::default());
        self.units.get(&key, 0).is_ok() || self.units.insert(key, new, 0).is_ok()
    }

    /// Forgets what the units of a process worked for: it ended, or became another program.
    pub fn forget_units(&mut self, tgid: u32) {
        self.kin.remove(&tgid);
        for map in [&mut self.units, &mut self.channels] {
            let keys = map.keys().flatten();
            let gone: Vec<UnitKeyBytes> = keys.filter(|key| key.0.tgid == tgid).collect();
            for key in &gone {
                let _ = map.remove(key);
            }
        }
    }

    /// Forgets contexts that goroutines and virtual threads no longer work under: those that ended are not seen to end. tokio's
    /// tasks are, but not all that was known of them and their channels goes then.
    fn sweep_units(&mut self, now_ns: u64) -> usize {
        let units = self.units.iter().flatten();
        let old: Vec<UnitKeyBytes> = units
            .filter(|(key, value)| is_old(&key.0, &value.0, now_ns))
            .map(|(key, _)| key)
            .collect();
        for key in &old {
            // It may work for another request by now.
            if self
                .units
                .get(key, 0)
                .is_ok_and(|value| is_old(&key.0, &value.0, now_ns))
            {
                let _ = self.units.remove(key);
            }
        }
        let channels = self.lost_channels();
        for key in &channels {
            let _ = self.channels.remove(key);
        }
        old.len() + channels.len()
    }

    /// Channels and timers of tokio's tasks that ended, and those at which a task waited that waits at others now, if nothing was ever sent to them.
    fn lost_channels(&self) -> Vec<UnitKeyBytes> {
        let all = self.channels.iter().flatten();
        let channels = all.filter(|(key, _)| key.0.kind == unit_kind::TASK_CHANNEL);
        let is_lost = |key: &UnitKey, channel: &UnitContext| {
            let was_sent = channel.evidence & task_note::SENT != 0;
            let receiver = channel.evidence >> task_note::READER_SHIFT;
            if receiver == task_note::NO_TASK {
                return !was_sent;
            }
            let receiver = UnitKeyBytes(UnitKey {
                id: receiver,
                tgid: key.tgid,
                kind: unit_kind::TASK_RECEIVER,
            });
            let known = self.channels.get(&receiver, 0);
            known.map_or(true, |known| !was_sent && known.0.trace_id[0] != key.id)
        };
        channels
            .filter(|(key, channel)| is_lost(&key.0, &channel.0))
            .map(|(key, _)| key)
            .collect()
    }

    /// The process and its children hand jobs to each other over pipes.
    pub fn read_pipes(&mut self, tgids: &[u32]) {
        for tgid in tgids {
            // A full map leaves the calls of such children roots.
            let _ = self.piped.insert(tgid, 1, 0);
        }
        self.arm(demand::PIPES);
    }

    /// Who reads answers of this server as a client has a context of what was read.
    pub fn follow_server(&mut self, address: [u8; 16], port: u16) {
        // A full map leaves the calls of what such servers' messages ask for roots.
        if self
            .servers
            .insert(server_key(words_of(address), port), 1, 0)
            .is_ok()
        {
            let demands = &mut self.attached.demands;
            let known = demands.get(&demand::SERVERS, 0).unwrap_or(0);
            let _ = demands.set(demand::SERVERS, known.wrapping_add(1), 0);
        }
    }

    /// What the process calls is not a tick's any more.
    pub fn leave_tick(&mut self, tgid: u32) {
        let _ = self.ticks.remove(&tgid);
    }

    /// A timer of systemd began this tick.
    pub fn count_tick(&mut self, span_id: u64) {
        // A full map leaves its calls without its trace on their way to other hosts.
        let _ = self.timed.insert(span_id, 1, 0);
    }

    /// The tick is over.
    pub fn end_tick(&mut self, span_id: u64) {
        let _ = self.timed.remove(&span_id);
    }

    /// Whether a process is in the scope, where that is not every process.
    #[must_use]
    pub fn is_in_scope(&self, tgid: u32) -> bool {
        self.scope.get(&tgid, 0).is_ok()
    }

    /// Takes a process into the scope.
    pub fn add_to_scope(&mut self, tgid: u32) {
        let _ = self.scope.insert(tgid, 1, 0);
        // What CPUs remember of the scope is void. This thread alone writes that count.
        let demands = &mut self.attached.demands;
        let changes = demands.get(&demand::SCOPED, 0).unwrap_or(0);
        let _ = demands.set(demand::SCOPED, changes.wrapping_add(1), 0);
    }

    /// Groups of hooks that the programs ask for (`abi::demand`).
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.attached.asked()
    }

    /// Whether a group of hooks is attached.
    #[must_use]
    pub fn is_armed(&self, group: u64) -> bool {
        self.attached.is_armed(group)
    }

    /// Attaches groups of hooks. A failure leaves what depends on them off.
    pub fn arm(&mut self, groups: u64) {
        match self.attached.arm(groups) {
            Ok(0) => {}
            Ok(new) => tracing::debug!(new, "hooks attached on demand"),
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Deletes unix connections without a byte for `idle_ns` (their close may have come before its hook was attached),
    /// and addresses of clients whose connection is gone. Returns how many entries went.
    pub fn sweep(&mut self, now_ns: u64, idle_ns: u64) -> usize {
        let idle: Vec<u64> = self
            .conns
            .iter()
            .flatten()
            .filter(|(_, value)| {
                value.0.family == libc::AF_UNIX as u16
                    && now_ns.saturating_sub(value.0.last_ns) > idle_ns
            })
            .map(|(sk, _)| sk)
            .collect();
        for sk in &idle {
            let _ = self.conns.remove(sk);
        }
        let gone: Vec<PeerKeyBytes> = self
            .peers
            .iter()
            .flatten()
            .filter(|(_, SocketValue(client))| {
                self.conns
                    .get(&client.sk, 0)
                    .map_or(true, |ConnValue(conn)| conn.ino != client.ino)
            })
            .map(|(key, _)| key)
            .collect();
        for key in &gone {
            let _ = self.peers.remove(key);
        }
        idle.len() + gone.len() + self.sweep_units(now_ns)
    }
}

/// Whether a unit does not work any more for what it has the context of, as the programs would find when they look at it.
fn is_old(key: &UnitKey, value: &UnitContext, now_ns: u64) -> bool {
    let by = |own: u8, answered: u64| {
        value.evidence & (unit_note::EVIDENCE | answered) == u64::from(own)
    };
    let is_own = match key.kind {
        unit_kind::VIRTUAL_THREAD => true,
        unit_kind::TASK => by(evidence::TASK, task_note::ANSWERED),
        unit_kind::GOROUTINE | unit_kind::HANDED | unit_kind::ASKER => {
            by(evidence::GOROUTINE, goroutine_note::ANSWERED)
        }
        unit_kind::TASK_MADE => false,
        _ => return false,
    };
    let most = if is_own {
        CONTEXT_AGE_MAX_NS
    } else {
        SPAWNED_AGE_MAX_NS
    };
    now_ns.saturating_sub(value.ktime_ns) > most
}

#[cfg(test)]
mod tests {
    use agent_common::abi::{
        UnitContext, UnitKey, evidence, goroutine_note, task_note, unit_kind, unit_note,
    };

    use super::is_old;

    #[test]
    fn units_are_forgotten_when_their_context_counts_no_more() {
        const OWN: u64 = evidence::TASK as u64;
        const SPAWN: u64 = evidence::SPAWN as u64;
        const GOROUTINE: u64 = evidence::GOROUTINE as u64;
        let cases = [
            ("serves a request", unit_kind::TASK, OWN, 900),
            (
                "has answered",
                unit_kind::TASK,
                OWN | task_note::ANSWERED,
                60,
            ),
            ("never trusted", unit_kind::TASK, OWN | task_note::VOID, 900),
            ("made by one", unit_kind::TASK, SPAWN, 60),
            ("made, of a new type", unit_kind::TASK_MADE, 0, 60),
            ("serves a request", unit_kind::GOROUTINE, GOROUTINE, 900),
            (
                "has answered",
                unit_kind::GOROUTINE,
                GOROUTINE | goroutine_note::ANSWERED,
                60,
            ),
            (
                "serves a request",
                unit_kind::VIRTUAL_THREAD,
                u64::from(evidence::VIRTUAL_THREAD),
                900,
            ),
            (
                "never trusted",
                unit_kind::VIRTUAL_THREAD,
                unit_note::VOID,
                900,
            ),
        ];
        for (name, kind, found, seconds) in cases {
            let key = UnitKey {
                id: 1,
                tgid: 1,
                kind,
            };
            let value = UnitContext {
                evidence: found,
                ..UnitContext::default()
            };
            let at = |seconds: u64| is_old(&key, &value, seconds * 1_000_000_000);
            assert_eq!(
                (at(seconds), at(seconds + 1)),
                (false, true),
                "{kind}: {name}"
            );
        }
        let of_the_process = UnitKey {
            kind: unit_kind::TASK_SENT,
            ..UnitKey::default()
        };
        assert!(!is_old(&of_the_process, &UnitContext::default(), u64::MAX));
    }
}
