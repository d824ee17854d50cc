//! From a task and a file descriptor to a socket, by single fields of kernel structs.
//!
//! In: a descriptor number of the current task. Out: a [`Socket`] or nothing. Always holds: identity is `struct sock`
//! address plus inode number, so dup, fork and SCM_RIGHTS need no bookkeeping. The task is read through
//! `bpf_get_current_task_btf`, whose loads the verifier lets through as plain loads (no helper call); from the
//! descriptor table on, pointers are scalars to it and `bpf_probe_read_kernel` is used.

use agent_common::abi::{ProcessKey, SocketKey};
use aya_ebpf::{
    bindings::task_struct,
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_kernel,
        generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    },
};

use crate::settings::setting;

/// A socket behind a descriptor of the current task.
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    /// Identity.
    pub key: SocketKey,
    /// Address of the `struct file`.
    pub file: u64,
}

/// The current task, typed for the verifier.
#[inline(always)]
pub(crate) fn current() -> *const u8 {
    // SAFETY: the helper has no preconditions.
    let task: *mut task_struct = unsafe { bpf_get_current_task_btf() };
    task as *const u8
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

/// The current process, exact over pid reuse.
#[inline(always)]
pub(crate) fn process_key() -> ProcessKey {
    let task = current();
    let leader: *const u8 = typed(task, setting!(offsets.task_group_leader));
    ProcessKey {
        start_ns: typed(leader, setting!(offsets.task_start_time)),
        tgid: (bpf_get_current_pid_tgid() >> 32) as u32,
        zero: 0,
    }
}

/// The first four arguments of the syscall the current task is leaving. On x86-64 the entry code saves them in
/// `pt_regs` and nothing writes rdi, rsi, rdx and r10 there until the return to user space (arch/x86/entry/entry_64.S),
/// so reads need no hook at their entry.
#[inline(always)]
pub(crate) fn syscall_args() -> [u64; 4] {
    // Byte offsets in x86-64's struct pt_regs (arch/x86/include/asm/ptrace.h).
    const RDI: u32 = 112;
    const RSI: u32 = 104;
    const RDX: u32 = 96;
    const R10: u32 = 56;
    // SAFETY: the task is the current one; the helper returns its saved registers (5.15+).
    let regs = unsafe { bpf_task_pt_regs(current() as *mut task_struct) } as *const u8;
    [
        typed(regs, RDI),
        typed(regs, RSI),
        typed(regs, RDX),
        typed(regs, R10),
    ]
}

/// The socket behind `fd`, if it is one.
#[inline(always)]
pub(crate) fn socket_of(fd: u64) -> Option<Socket> {
    let files: *const u8 = typed(current(), setting!(offsets.task_files));
    let fdt: *const u8 = typed(files, setting!(offsets.files_fdt));
    let max_fds: u32 = typed(fdt, setting!(offsets.fdt_max_fds));
    let fd = fd as u32;
    if fd >= max_fds {
        return None;
    }
    let table: u64 = typed(fdt, setting!(offsets.fdt_fd));
    let file: u64 = field(table + u64::from(fd) * 8, 0);
    if file == 0 {
        return None;
    }
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

/// `O_NONBLOCK` of the open file (include/uapi/asm-generic/fcntl.h).
#[inline(always)]
pub(crate) fn is_nonblocking(file: u64) -> bool {
    const O_NONBLOCK: u32 = 0o4000;
    field::<u32>(file, setting!(offsets.file_flags)) & O_NONBLOCK != 0
}
