//! Every limit of the capture path, once. Sizes in bytes unless a name says otherwise.

/// Largest part of a message head that can be captured per change of direction (`capture.head_bytes` may not exceed it).
pub const HEAD_CAPTURE_MAX: usize = 16 * 1024;
/// Largest part of one I/O vector that is captured.
pub const VECTOR_CAPTURE_MAX: usize = 8 * 1024;
/// Default of `capture.head_bytes` (DESIGN §4).
pub const HEAD_CAPTURE_DEFAULT: usize = 4 * 1024;
/// Default of `capture.message_bytes`: what is captured of each write and read of a broker's client.
pub const MESSAGE_CAPTURE_DEFAULT: usize = 8 * 1024;
/// Bytes a program reads to recognise the first token of a message.
pub const SNIFF_BYTES: usize = 24;
/// Last bytes of a segment that are kept when its payload is not, to see the end of a chunked body.
pub const TAIL_BYTES: usize = 8;
/// Last bytes of a large write or read of a Redis client that are captured with the first ones: behind a script's text come its arguments.
pub const ENDING_BYTES: usize = 4 * 1024;
/// I/O vectors of one readv/writev/sendmsg/recvmsg that are looked at; later ones are counted, not captured.
pub const IOVECS_MAX: usize = 8;
/// Messages of one sendmmsg/recvmmsg that are looked at.
pub const MMSG_MAX: usize = 2;
/// Connections followed at once. A value is 200 bytes, so the map takes about 8 MiB.
pub const CONNS_MAX: u32 = 32_768;
/// TCP connections of clients, by the address their servers see.
pub const PEERS_MAX: u32 = 16_384;
/// Threads that move bytes on followed sockets or wait with epoll. A value is 104 bytes: about 5 MiB.
pub const THREADS_MAX: u32 = 32_768;
/// Units that are no threads and work for a request. A value is 40 bytes, a key 16: about 3.5 MiB.
pub const UNITS_MAX: u32 = 32_768;
/// Channels and timers of tokio's tasks, and the tasks that wait at them: two for each task that sleeps. As large as those of units.
pub const CHANNELS_MAX: u32 = 32_768;
/// Threads with a Node.js environment. A value is 64 KiB, allocated when the thread is first seen.
pub const ENVIRONMENTS_MAX: u32 = 512;
/// Async functions of Node.js that wait for a request that is known: some six for each request. A value is 64 bytes, a key 16, allocated when one waits.
pub const WAITS_MAX: u32 = 65_536;
/// How long after its request was read, and after it was answered, an async resource still works for a request, ns.
pub const ASYNC_AGE_MAX_NS: u64 = 30 * 1_000_000_000;
/// Places in executables and libraries at which a uprobe can be attached. Each delays the agent's end: see `attach::user`.
pub const USER_PROBES_MAX: usize = 256;
/// Rooms of a CPU for programs at work. More than one are held only where tasks are preempted in the kernel.
pub const SCRATCHES: u32 = 3;
/// Processes with a runtime class or in the scope.
pub const PROCESSES_MAX: u32 = 32_768;
/// Processes whose pipes are read.
pub const PIPED_MAX: u32 = 4_096;
/// Servers with queues over HTTP.
pub const SERVERS_MAX: u32 = 1_024;
/// Connections of the agent itself.
pub const OWN_MAX: u32 = 1_024;
/// Sockets on which options of other agents arrived that no request took yet. A value is 88 bytes: about 1.5 MiB.
pub const ARRIVED_MAX: u32 = 8_192;
/// Networks in the lists of destinations.
pub const DESTINATIONS_MAX: u32 = 1_024;
/// Destinations whose answer to an announcement is remembered.
pub const SILENT_MAX: u32 = 1_024;
/// Times a segment is sent with an option before it is sent again without.
pub const OPTION_TRIES_MAX: u8 = 3;
/// Announcements to a destination, one after the other, that were answered only without one before no more are made to it.
pub const SILENT_TRIES_MAX: u8 = 2;
/// Bytes of a request's head in which `traceparent` is looked for in the kernel.
pub const ADOPT_BYTES: usize = 4 * 1024;
/// Connections of clients whose requests may be given a header.
pub const HEADER_MEMBERS_MAX: u32 = 16_384;
/// A message up to this long leaves in one piece after a header was written into it; behind the header of a longer one a new
/// segment begins.
pub const HEADER_WHOLE_BYTES: u32 = 32 * 1024;
/// Bytes of a segment that are left for TCP's options and its path's changes when the place of a header in it is judged.
pub const HEADER_MARGIN_BYTES: u32 = 64;
/// Ports of `--port`.
pub const PORTS_MAX: u32 = 1_024;
/// Ring buffer from kernel to user space; a power of two.
pub const RING_BYTES: u32 = 16 * 1024 * 1024;
/// The reader is woken when all CPUs together may have written this much since; below that it looks by itself every
/// `RING_POLL_MS`.
pub const RING_WAKE_BYTES: u32 = 8 * 1024 * 1024;
/// Milliseconds between two looks of the reader at a quiet ring.
pub const RING_POLL_MS: u64 = 10;
/// The same while much is written: each look takes a processor from the traced programs for a moment, and few long looks
/// cost them less than many short ones (nginx under wrk on two cores: 4 % more requests a second than with 10 ms).
pub const RING_POLL_LOADED_MS: u64 = 100;
/// Records of one look from which on much is written.
pub const RING_LOADED_RECORDS: usize = 256;
/// Changes of direction without a token of a known protocol after which a connection is ignored.
pub const SNIFF_TURNS_MAX: u8 = 6;
/// Age at which a unit's context is void, whatever else is known.
pub const CONTEXT_AGE_MAX_NS: u64 = 15 * 60 * 1_000_000_000;
/// The same for a unit that was made by one with a context, and for all that it makes: what runs on for longer is not part of a
/// request. (User space names an exchange as a parent for as long after its end, `CLOSED_KEEP_NS` in agent-trace.)
pub const SPAWNED_AGE_MAX_NS: u64 = 60 * 1_000_000_000;
/// How long after it was made a Context of a worker is told of, ns: what lives longer is no job's, but a loop's. Less than half of `abi::KIN_WRAPS_NS`.
pub const KIN_AGE_MAX_NS: u64 = 60 * 1_000_000_000;
/// Processes of scheduled commands. A value is 40 bytes.
pub const TICKS_MAX: u32 = 8_192;
/// Commands that systemd began for a timer.
pub const TIMED_MAX: u32 = 1_024;
/// How long after a scheduled command began calls of its processes are still its own: what runs for longer is a daemon, or may be.
pub const TICK_CLAIM_MAX_NS: u64 = 3_600 * 1_000_000_000;
/// How long a scheduler has run when it begins what is a tick: what it begins at once is for its own start (crontab's `@reboot`).
pub const TICK_AFTER_START_NS: u64 = 2 * 1_000_000_000;
/// How long processes that a scheduled command left behind still belong to it.
pub const TICK_LEFT_BEHIND_NS: u64 = 60 * 1_000_000_000;
