//! From a task and a file descriptor to a socket, by single fields of kernel structs.
//!
//! In: a descriptor number of the current task, or a `struct sock` that a tracepoint gave. Out: a [`Socket`] or
//! nothing. Always holds: identity is `struct sock` address plus inode number, so dup, fork and SCM_RIGHTS need no
//! bookkeeping. The task is read through
//! `bpf_get_current_task_btf`, whose loads the verifier lets through as plain loads (no helper call); from the
//! descriptor table on, pointers are scalars to it and `bpf_probe_read_kernel` is used.

use agent_common::abi::{ProcessKey, SocketKey};
use aya_ebpf::{
    bindings::task_struct,
    helpers::{
        bpf_probe_read_kernel,
        generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    },
};

use crate::settings::setting;

/// A socket that the current task works on.
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    /// Identity.
    pub key: SocketKey,
    /// Address of the `struct file`; 0 where the call itself says whether it waits.
    pub file: u64,
}

/// A `struct sock` as a program holds it: how its own fields are read.
pub(crate) trait Sock: Copy {
    /// Its address.
    fn address(self) -> u64;
    /// A field of `struct sock`. What lies behind it (`tcp_sock`, `unix_sock`) is read with [`field`].
    fn read<T: Copy + Default>(self, offset: u32) -> T;
}

/// Found through a descriptor: a number to the verifier, each field costs a helper call.
#[derive(Clone, Copy)]
pub(crate) struct Untyped(pub(crate) u64);

impl Sock for Untyped {
    #[inline(always)]
    fn address(self) -> u64 {
        self.0
    }
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: u32) -> T {
        field(self.0, offset)
    }
}

/// Argument of a BTF tracepoint: fields are plain loads.
#[derive(Clone, Copy)]
pub(crate) struct Typed(pub(crate) *const u8);

impl Sock for Typed {
    #[inline(always)]
    fn address(self) -> u64 {
        self.0 as u64
    }
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: u32) -> T {
        typed(self.0, offset)
    }
}

impl Typed {
    /// The `sk` of a `struct socket`, at this offset.
    #[inline(always)]
    pub(crate) fn sk(self, offset: u32) -> Self {
        Self(typed(self.0, offset))
    }

    /// The socket of a process; none for the kernel's own, which have no file.
    #[inline(always)]
    pub(crate) fn socket(self) -> Option<Socket> {
        if self.0.is_null() {
            return None;
        }
        let socket: *const u8 = typed(self.0, setting!(offsets.sk_socket));
        if socket.is_null() {
            return None;
        }
        let file: *const u8 = typed(socket, setting!(offsets.socket_file));
        if file.is_null() {
            return None;
        }
        let inode: *const u8 = typed(file, setting!(offsets.file_inode));
        Some(Socket {
            key: SocketKey {
                sk: self.address(),
                ino: typed(inode, setting!(offsets.inode_ino)),
            },
            file: 0,
        })
    }
}

/// The current task, typed for the verifier: its fields are plain loads. Asked for once in a program: it costs a call.
#[derive(Clone, Copy)]
pub(crate) struct Task(*const u8);

impl Task {
    /// The task that runs.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: the helper has no preconditions.
        let task: *mut task_struct = unsafe { bpf_get_current_task_btf() };
        Self(task as *const u8)
    }

    /// Its process.
    #[inline(always)]
    pub(crate) fn tgid(self) -> u32 {
        typed(self.0, setting!(offsets.task_tgid))
    }

    /// Its thread.
    #[inline(always)]
    pub(crate) fn tid(self) -> u32 {
        typed(self.0, setting!(offsets.task_pid))
    }

    /// tgid << 32 | tid: key of its thread.
    #[inline(always)]
    pub(crate) fn pid_tgid(self) -> u64 {
        (u64::from(self.tgid()) << 32) | u64::from(self.tid())
    }

    /// The thread pointer of its user space (x86-64).
    #[inline(always)]
    pub(crate) fn fsbase(self) -> u64 {
        typed(self.0, setting!(offsets.task_fsbase))
    }

    /// Its process, exact over pid reuse.
    #[inline(always)]
    pub(crate) fn process_key(self) -> ProcessKey {
        let leader: *const u8 = typed(self.0, setting!(offsets.task_group_leader));
        ProcessKey {
            start_ns: typed(leader, setting!(offsets.task_start_time)),
            tgid: self.tgid(),
            zero: 0,
        }
    }

    /// Its address, to be read with [`field`].
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }

    /// Its status as wait(2) gives it, while it ends.
    #[inline(always)]
    pub(crate) fn exit_code(self) -> u32 {
        typed(self.0, setting!(offsets.task_exit_code))
    }

    /// No thread of its process is left, itself included. To be asked while it ends (`do_exit` has taken it off the count by then).
    #[inline(always)]
    pub(crate) fn is_last(self) -> bool {
        let signal: u64 = typed(self.0, setting!(offsets.task_signal));
        field::<u32>(signal, setting!(offsets.signal_live)) == 0
    }

    /// The registers its syscall was made with.
    #[inline(always)]
    pub(crate) fn registers(self) -> Registers {
        // SAFETY: the task is the current one; the helper returns its saved registers (5.15+).
        Registers(unsafe { bpf_task_pt_regs(self.0 as *mut task_struct) } as *const u8)
    }

    /// The file behind `fd`.
    #[inline(always)]
    fn file_of(self, fd: u64) -> Option<u64> {
        let files: *const u8 = typed(self.0, setting!(offsets.task_files));
        let fdt: *const u8 = typed(files, setting!(offsets.files_fdt));
        let max_fds: u32 = typed(fdt, setting!(offsets.fdt_max_fds));
        let fd = fd as u32;
        if fd >= max_fds {
            return None;
        }
        let table: u64 = typed(fdt, setting!(offsets.fdt_fd));
        let file: u64 = field(table + u64::from(fd) * 8, 0);
        (file != 0).then_some(file)
    }

    /// The pipe behind `fd`, if it is one: address and number of its inode.
    #[inline(always)]
    pub(crate) fn pipe_of(self, fd: u64) -> Option<SocketKey> {
        /// S_IFMT and S_IFIFO (include/uapi/linux/stat.h).
        const TYPE: u16 = 0o170_000;
        const FIFO: u16 = 0o010_000;
        let inode: u64 = field(self.file_of(fd)?, setting!(offsets.file_inode));
        let mode: u16 = field(inode, setting!(offsets.inode_mode));
        (mode & TYPE == FIFO).then(|| SocketKey {
            sk: inode,
            ino: field(inode, setting!(offsets.inode_ino)),
        })
    }

    /// The socket behind `fd`, if it is one.
    #[inline(always)]
    pub(crate) fn socket_of(self, fd: u64) -> Option<Socket> {
        let file = self.file_of(fd)?;
        let private: u64 = field(file, setting!(offsets.file_private));
        if private == 0 {
            return None;
        }
        // `struct socket` points back to its file, with `sk` in the next word: one read tells sockets from other files
        // and finds the `struct sock`.
        let [back, sk]: [u64; 2] = field(private, setting!(offsets.socket_file));
        if back != file || sk == 0 {
            return None;
        }
        // A socket's inode is part of its `struct socket_alloc` (include/net/sock.h).
        let inode = private + u64::from(setting!(offsets.socket_alloc_inode));
        let ino: u64 = field(inode, setting!(offsets.inode_ino));
        Some(Socket {
            key: SocketKey { sk, ino },
            file,
        })
    }
}

/// Loads a field of a struct whose type the verifier knows.
#[inline(always)]
fn typed<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the offset comes from this kernel's BTF and the verifier checks the access against the same BTF;
    // a fault reads as zero (BPF_PROBE_MEM).
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<T>()) }
}

/// Reads a field at an untyped kernel address; zero when the address is bad.
#[inline(always)]
pub(crate) fn field<T: Copy + Default>(base: u64, offset: u32) -> T {
    let place = (base + u64::from(offset)) as *const T;
    // SAFETY: the helper checks the address and faults softly.
    unsafe { bpf_probe_read_kernel(place) }.unwrap_or_default()
}

// Byte offsets in x86-64's struct pt_regs (arch/x86/include/asm/ptrace.h). The entry code saves a syscall's arguments
// there and nothing writes rdi, rsi, rdx and r10 until the return to user space (arch/x86/entry/entry_64.S), so reads
// need no hook at their entry.
const R10: u32 = 56;
const RDX: u32 = 96;
const RSI: u32 = 104;
const RDI: u32 = 112;
const ORIG_RAX: u32 = 120;
const CS: u32 = 136;
/// `__USER_CS`: a 64-bit program (arch/x86/include/asm/segment.h). 32-bit ones have other numbers for their syscalls.
const USER_CS: u64 = 0x33;

/// The current task's saved registers.
#[derive(Clone, Copy)]
pub(crate) struct Registers(*const u8);

impl Registers {
    /// The call's first four arguments.
    #[inline(always)]
    pub(crate) fn args(self) -> [u64; 4] {
        [
            typed(self.0, RDI),
            typed(self.0, RSI),
            typed(self.0, RDX),
            typed(self.0, R10),
        ]
    }

    /// The call's number, `NOT_A_CALL` for 32-bit programs.
    #[inline(always)]
    pub(crate) fn call(self) -> u64 {
        if typed::<u64>(self.0, CS) == USER_CS {
            typed(self.0, ORIG_RAX)
        } else {
            NOT_A_CALL
        }
    }
}

/// No syscall has this number.
pub(crate) const NOT_A_CALL: u64 = u64::MAX;

/// `O_NONBLOCK` of the open file (include/uapi/asm-generic/fcntl.h).
#[inline(always)]
pub(crate) fn is_nonblocking(file: u64) -> bool {
    const O_NONBLOCK: u32 = 0o4000;
    field::<u32>(file, setting!(offsets.file_flags)) & O_NONBLOCK != 0
}
