//! contextvars Contexts of CPython.
//!
//! In: the current task; a Context made, entered or left behind by an accepted connection. Out: the Context that runs, and what it works
//! for. Always holds: a Context counts only while it is entered and its type is `PyContext_Type`, so a wrong offset finds nothing; who
//! makes a Context at an address writes or deletes the address' entry (Contexts are recycled). Refuses: a thread's base Context, which is
//! made without a call that could be seen, and is never entered.
//!
//! The thread state is the one of `PyGILState_GetThisThreadState`, which stays when the interpreter lock is given up for a syscall (the
//! "current" one does not): a slot of thread-specific data in glibc's `struct pthread`, at a fixed distance from fsbase (seen on 3.8 to 3.13,
//! glibc 2.36; user space finds the distance in each process).
//!
//! `Runtime::offsets[0]`: from fsbase to the slot; `[1]`: `PyThreadState.context`. `addresses[0]`: `PyContext_Type`.
//!
//! ```text
//! accept(S) in CL          CL: FIRST_MADE S          the first Context made by CL: CONNECTION S, and all made by that one
//! request R read in Cr     Cr: READ R                by CONNECTION S: S's requests have OWN_UNITS
//! Context made by C        of READ R or R: R         of CONNECTION S while R is open on S: R; else CONNECTION S
//! response begins          Cr: (none)                copies keep R until CONTEXT_AGE_MAX_NS
//! (workers) C made in C'   C: KIN of C and C'        while C works for nobody that is known: told with its calls and what it says to a broker
//! uvloop: R read, then C entered: C: TURN R, until C is next entered
//! uvloop: getpeername(S) in C      C: TURN CONNECTION S, which is CERTAIN, until C is next entered
//! ```

use agent_common::{
    abi::{
        Conn, ExchangeIds, Runtime, SocketKey, Thread, UnitContext, UnitKey, conn_flag,
        cpython_variant, evidence, kin_number, role, unit_flag, unit_kind, unit_note,
    },
    counters::Counter,
    limits::{CONTEXT_AGE_MAX_NS, KIN_AGE_MAX_NS},
};

use super::{
    Reading,
    many::{put_new, runtime_of, user_word},
};
use crate::{
    conn,
    ids::{copy, now},
    maps::{UNITS, count},
    walk::Task,
};

/// `PyContext` (Include/internal/pycore_context.h, the same from 3.8 to 3.13): reference count, type, previous Context, variables, weak
/// references, and whether it is entered (an int).
const TYPE: u64 = 8;
const ENTERED: u64 = 40;

/// The Context that is entered on the current thread.
#[inline(always)]
pub(crate) fn running(task: Task, known: &Runtime) -> Option<u64> {
    let slot = task.fsbase().wrapping_add(u64::from(known.offsets[0]));
    let state = user_word(slot).filter(|state| *state != 0)?;
    let context = user_word(state.wrapping_add(u64::from(known.offsets[1])))?;
    if context == 0 {
        return None;
    }
    // Single words: the whole of it would need more stack than 6.1's verifier allows below a write.
    let is_context = user_word(context.wrapping_add(TYPE))? == known.addresses[0];
    (is_context && user_word(context.wrapping_add(ENTERED))? as u32 != 0).then_some(context)
}

/// Whether the current thread runs in a Context: then the thread itself is no unit.
#[inline(never)]
pub(crate) fn is_in_a_context(task: Task) -> u64 {
    u64::from(runtime_of(task.tgid()).is_some_and(|known| running(task, known).is_some()))
}

/// Key of the Context at an address.
#[inline(always)]
fn unit_of(task: Task, address: u64) -> UnitKey {
    UnitKey {
        id: address,
        tgid: task.tgid(),
        kind: unit_kind::CONTEXT,
    }
}

/// What is known of a Context; a copy, because entries change while one is looked at.
#[inline(always)]
fn entry(unit: &UnitKey) -> Option<&'static UnitContext> {
    // SAFETY: entries of a process are written by its threads while they hold its interpreter lock, but for the end of a request, which
    // deletes one; a value that is read while its memory is given to another entry is compared with what it must be by its readers.
    unsafe { UNITS.get(unit) }.filter(|known| known.evidence & unit_note::KIN == 0)
}

/// The numbers of a Context that works for nobody that is known, and of the one it was copied from; 0: not known, or too old to be a job's.
#[inline(always)]
fn kin(unit: &UnitKey, now: u64) -> u64 {
    // SAFETY: as above.
    match unsafe { UNITS.get(unit) } {
        Some(known)
            if known.evidence & unit_note::KIN != 0
                && now.wrapping_sub(known.ktime_ns) <= KIN_AGE_MAX_NS =>
        {
            known.span_id
        }
        _ => 0,
    }
}

/// The same of the Context that runs, if its process' are told of.
#[inline(never)]
pub(crate) fn kin_running(task: Task, now: u64) -> u64 {
    let Some(known) = runtime_of(task.tgid()) else {
        return 0;
    };
    if known.variant & cpython_variant::KIN == 0 {
        return 0;
    }
    match running(task, known) {
        Some(address) => kin(&unit_of(task, address), now),
        None => 0,
    }
}

/// Sets a Context's entry.
#[inline(always)]
fn set(unit: &UnitKey, trace_id: &[u64; 2], span_id: u64, ktime_ns: u64, evidence: u64) -> u64 {
    put_new(unit, (trace_id, span_id), ktime_ns, evidence)
}

/// Evidence of calls made in a Context.
const CONTEXT: u64 = evidence::CONTEXT as u64;

/// Bytes of the request whose exchange is `conn`'s were read. Returns 1 if a Context did that, 0 if the thread is the unit, and
/// [`OUTSIDE`] if that read for a Context which will be entered.
#[inline(never)]
pub(crate) fn read_request(
    task: Task,
    socket: &SocketKey,
    conn: &mut Conn,
    reading: Reading,
) -> u64 {
    let Some(known) = runtime_of(task.tgid()) else {
        return 0;
    };
    if known.variant & cpython_variant::UVLOOP != 0 {
        return OUTSIDE;
    }
    let Some(address) = running(task, known) else {
        return 0;
    };
    let unit = unit_of(task, address);
    // When another unit reads on, that one serves the request.
    if !reading.begins && conn.unit != unit {
        super::leave(conn);
    }
    conn.unit = unit;
    enter(socket, conn, reading.now);
    1
}

/// See [`read_request`].
pub(crate) const OUTSIDE: u64 = 2;

#[inline(always)]
fn enter(socket: &SocketKey, conn: &mut Conn, now: u64) -> u64 {
    if let Some(before) = entry(&conn.unit) {
        let notes = before.evidence;
        if notes & unit_note::VOID != 0 {
            return 0;
        }
        if notes & unit_note::CONNECTION != 0
            && before.trace_id[0] == socket.sk
            && before.trace_id[1] == socket.ino
        {
            conn.flags |= conn_flag::OWN_UNITS;
        }
        if notes & unit_note::READ != 0 && before.span_id != conn.span_id {
            return set(&conn.unit, &[0; 2], 0, now, unit_note::VOID);
        }
    }
    let notes = CONTEXT | unit_note::READ;
    set(&conn.unit, &conn.trace_id, conn.span_id, now, notes)
}

/// The request that is open on the connection which a Context serves.
#[inline(always)]
fn open_request(known: &UnitContext) -> Option<&'static mut Conn> {
    let conn = conn::find(SocketKey {
        sk: known.trace_id[0],
        ino: known.trace_id[1],
    })?;
    let is_its = known.evidence & unit_note::CERTAIN != 0 || conn.flags & conn_flag::OWN_UNITS != 0;
    let is_open =
        conn.role == role::SERVER && conn.span_id != 0 && conn.flags & conn_flag::RESPONDED == 0;
    (is_its && is_open).then_some(conn)
}

/// The context of the Context that runs: fills `ids` and returns 1 if there is one.
#[inline(never)]
pub(crate) fn context(task: Task, now: u64, ids: &mut ExchangeIds) -> u64 {
    let Some(address) = runtime_of(task.tgid()).and_then(|known| running(task, known)) else {
        return 0;
    };
    let unit = unit_of(task, address);
    let Some(known) = entry(&unit) else {
        ids.parent_span_id = kin(&unit, now);
        if ids.parent_span_id != 0 {
            ids.evidence = evidence::KIN;
        }
        return 0;
    };
    if known.evidence & unit_note::VOID != 0 {
        count(Counter::Multiplexed, 1);
        return 0;
    }
    if known.evidence & unit_note::CONNECTION != 0 {
        if known.evidence & unit_note::FIRST_MADE != 0 {
            return 0;
        }
        let Some(conn) = open_request(known) else {
            return 0;
        };
        copy(&mut ids.trace_id, &conn.trace_id);
        ids.parent_span_id = conn.span_id;
        ids.evidence = evidence::CONTEXT;
        return 1;
    }
    if now.wrapping_sub(known.ktime_ns) > CONTEXT_AGE_MAX_NS {
        let _ = UNITS.remove(unit);
        count(Counter::ContextAged, 1);
        return 0;
    }
    copy(&mut ids.trace_id, &known.trace_id);
    ids.parent_span_id = known.span_id;
    ids.evidence = evidence::CONTEXT;
    1
}

/// The Context at `address` was made by what runs now: it works for the same.
#[inline(always)]
pub(crate) fn made(task: Task, known: &Runtime, address: u64) -> u64 {
    let unit = unit_of(task, address);
    let maker = running(task, known).map(|address| unit_of(task, address));
    if let Some(maker) = maker
        && maker.id != address
        && let Some(from) = entry(&maker)
        && from.evidence & unit_note::VOID == 0
    {
        if from.evidence & unit_note::CONNECTION == 0 {
            return set(&unit, &from.trace_id, from.span_id, from.ktime_ns, CONTEXT);
        }
        let socket = from.trace_id;
        let notes = unit_note::CONNECTION | (from.evidence & unit_note::CERTAIN);
        if from.evidence & unit_note::FIRST_MADE != 0 {
            let _ = UNITS.remove(maker);
        } else if let Some(conn) = open_request(from) {
            return set(&unit, &conn.trace_id, conn.span_id, now(), CONTEXT);
        }
        return set(&unit, &socket, 0, 0, CONTEXT | notes);
    }
    if known.variant & cpython_variant::KIN != 0 {
        return number(task, address);
    }
    forget(task, address)
}

/// The Context at `address` was made, and works for nobody that is known.
#[inline(never)]
fn number(task: Task, address: u64) -> u64 {
    let now = now();
    let from = kin_running(task, now) >> 32;
    let numbers = (u64::from(kin_number(now)) << 32) | from;
    set(
        &unit_of(task, address),
        &[0; 2],
        numbers,
        now,
        CONTEXT | unit_note::KIN,
    )
}

/// The Context at `address` was made in a way that says nothing about whom it works for.
#[inline(always)]
pub(crate) fn forget(task: Task, address: u64) -> u64 {
    // Most have none.
    let _ = UNITS.remove(unit_of(task, address));
    1
}

/// The current thread accepted a connection, or (none) found that no more wait.
#[inline(always)]
pub(crate) fn accepted(task: Task, known: &Runtime, socket: Option<SocketKey>) -> u64 {
    let Some(address) = running(task, known) else {
        return 0;
    };
    let unit = unit_of(task, address);
    let first = unit_note::CONNECTION | unit_note::FIRST_MADE;
    if let Some(before) = entry(&unit) {
        if before.evidence & first != first {
            // It works for a request or for a connection: what it accepts says nothing about what it makes.
            return 0;
        }
        let _ = UNITS.remove(unit);
    }
    match socket {
        Some(socket) => set(&unit, &[socket.sk, socket.ino], 0, 0, CONTEXT | first),
        None => 0,
    }
}

/// uvloop asked for the other end of a connection, which it does just before the connection's protocol makes its tasks
/// (`TCPTransport._call_connection_made`): until the Context that runs is next entered, what it makes is the connection's.
#[inline(always)]
pub(crate) fn introduced(task: Task, known: &Runtime, socket: SocketKey) -> u64 {
    let Some(address) = running(task, known) else {
        return 0;
    };
    let unit = unit_of(task, address);
    if entry(&unit).is_some_and(|before| before.evidence & unit_note::TURN == 0) {
        return 0;
    }
    let notes = unit_note::CONNECTION | unit_note::CERTAIN | unit_note::TURN;
    set(&unit, &[socket.sk, socket.ino], 0, 0, CONTEXT | notes)
}

/// An event loop that reads before it enters a Context (uvloop) entered the one at `address`: what the thread read just before is this
/// one's, until it is entered again.
#[inline(always)]
pub(crate) fn entered(task: Task, thread: Option<&mut Thread>, address: u64) -> u64 {
    let unit = unit_of(task, address);
    if let Some(thread) = thread
        && thread.unit.flags & unit_flag::UNCLAIMED != 0
    {
        thread.unit.flags &= !unit_flag::UNCLAIMED;
        let read = &thread.unit;
        let notes = CONTEXT | unit_note::TURN;
        return set(&unit, &read.trace_id, read.span_id, read.ktime_ns, notes);
    }
    if entry(&unit).is_some_and(|known| known.evidence & unit_note::TURN != 0) {
        let _ = UNITS.remove(unit);
    }
    1
}
