//! Offsets of kernel struct fields, read from the running kernel's BTF in user space and given to the programs
//! as a constant when they are loaded (Rust BPF has no CO-RE relocation).

/// Byte offsets into kernel structs. Field names are `struct_field` as in the kernel's source.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `task_struct.files`
    pub task_files: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.start_time` (ns, CLOCK_MONOTONIC)
    pub task_start_time: u32,
    /// `task_struct.tgid` (int)
    pub task_tgid: u32,
    /// `task_struct.pid` (int), the thread's id
    pub task_pid: u32,
    /// `task_struct.thread.fsbase` (x86-64): the thread's pointer to its thread-local storage
    pub task_fsbase: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.comm` (16 bytes)
    pub task_comm: u32,
    /// `task_struct.exit_code` (int), a status as wait(2) gives it
    pub task_exit_code: u32,
    /// `task_struct.signal`, what the threads of a process share
    pub task_signal: u32,
    /// `signal_struct.live` (`atomic_t`): threads that have not begun to end
    pub signal_live: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `fdtable.max_fds`
    pub fdt_max_fds: u32,
    /// `file.private_data`
    pub file_private: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.f_flags`
    pub file_flags: u32,
    /// `file.f_count` (6.1, 6.12) or `file.f_ref` (6.13+)
    pub file_count: u32,
    /// Value of that count when one reference is held: 1 for `f_count`, 0 for `f_ref`
    pub file_count_one: u32,
    /// `inode.i_ino`
    pub inode_ino: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `socket_alloc.vfs_inode` (an inode at this distance from `private_data` is a socket's)
    pub socket_alloc_inode: u32,
    /// `socket.file`
    pub socket_file: u32,
    /// `socket.sk`, right behind it
    pub socket_sk: u32,
    /// `sock.sk_type` (u16)
    pub sk_type: u32,
    /// `sock.sk_protocol` (u16 since 5.6)
    pub sk_protocol: u32,
    /// `sock.sk_socket`
    pub sk_socket: u32,
    /// `sock.sk_err` (int)
    pub sk_err: u32,
    /// `sock.sk_shutdown` (u8); 0 where this kernel has no such byte
    pub sk_shutdown: u32,
    /// `sock_common.skc_family` (u16)
    pub skc_family: u32,
    /// `sock_common.skc_daddr` (be32)
    pub skc_daddr: u32,
    /// `sock_common.skc_rcv_saddr` (be32)
    pub skc_rcv_saddr: u32,
    /// `sock_common.skc_dport` (be16)
    pub skc_dport: u32,
    /// `sock_common.skc_num` (u16, host order)
    pub skc_num: u32,
    /// `sock_common.skc_net` (`struct net *`)
    pub skc_net: u32,
    /// `sock_common.skc_state` (u8)
    pub skc_state: u32,
    /// `sock_common.skc_v6_daddr`
    pub skc_v6_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`
    pub skc_v6_rcv_saddr: u32,
    /// `net.ns.inum` (u32)
    pub net_inum: u32,
    /// `tcp_sock.write_seq` (u32)
    pub tcp_write_seq: u32,
    /// `tcp_sock.copied_seq` (u32)
    pub tcp_copied_seq: u32,
    /// `tcp_sock.rcv_nxt` (u32)
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.bytes_received` (u64)
    pub tcp_bytes_received: u32,
    /// `tcp_sock.snd_una` (u32)
    pub tcp_snd_una: u32,
    /// `tcp_sock.bytes_acked` (u64)
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.mss_cache` (u32)
    pub tcp_mss_cache: u32,
    /// `inet_connection_sock.icsk_bind_hash` (`struct inet_bind_bucket *`)
    pub icsk_bind_hash: u32,
    /// `inet_bind_bucket.fastreuse` (signed char)
    pub bucket_fastreuse: u32,
    /// `unix_sock.peer` (`struct sock *`)
    pub unix_peer: u32,
    /// `unix_sock.addr` (`struct unix_address *`)
    pub unix_addr: u32,
}

impl Offsets {
    /// All zero: what the programs are compiled with, before the loader knows the kernel.
    pub const ZERO: Self = Self {
        task_files: 0,
        task_group_leader: 0,
        task_start_time: 0,
        task_tgid: 0,
        task_pid: 0,
        task_fsbase: 0,
        task_real_parent: 0,
        task_comm: 0,
        task_exit_code: 0,
        task_signal: 0,
        signal_live: 0,
        files_fdt: 0,
        fdt_fd: 0,
        fdt_max_fds: 0,
        file_private: 0,
        file_inode: 0,
        file_flags: 0,
        file_count: 0,
        file_count_one: 0,
        inode_ino: 0,
        inode_mode: 0,
        socket_alloc_inode: 0,
        socket_file: 0,
        socket_sk: 0,
        sk_type: 0,
        sk_protocol: 0,
        sk_socket: 0,
        sk_err: 0,
        sk_shutdown: 0,
        skc_family: 0,
        skc_daddr: 0,
        skc_rcv_saddr: 0,
        skc_dport: 0,
        skc_num: 0,
        skc_net: 0,
        skc_state: 0,
        skc_v6_daddr: 0,
        skc_v6_rcv_saddr: 0,
        net_inum: 0,
        tcp_write_seq: 0,
        tcp_copied_seq: 0,
        tcp_rcv_nxt: 0,
        tcp_bytes_received: 0,
        tcp_snd_una: 0,
        tcp_bytes_acked: 0,
        tcp_mss_cache: 0,
        icsk_bind_hash: 0,
        bucket_fastreuse: 0,
        unix_peer: 0,
        unix_addr: 0,
    };
}

/// Constants given to the programs when they are loaded (the `SETTINGS` symbol in their read-only section).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Kernel struct offsets.
    pub offsets: Offsets,
    /// The agent's own tgid, which is never traced.
    pub self_tgid: u32,
    /// 1: every process is in scope; 0: only those in the SCOPE map.
    pub scope_all: u32,
    /// 1: every port is in scope; 0: only those in the PORTS map.
    pub ports_all: u32,
    /// Bytes captured after each change of direction, at most `limits::HEAD_CAPTURE_MAX`.
    pub head_bytes: u32,
    /// Bytes captured of each write and read of a broker's client, at most `limits::HEAD_CAPTURE_MAX`; 0: none are followed.
    pub message_bytes: u32,
    /// Bytes one CPU writes into the ring before it wakes the reader.
    pub wake_bytes: u32,
    /// 1: every group of `abi::demand` is attached from the start.
    pub all_armed: u32,
    /// 1: contexts are carried in TCP options.
    pub option: u32,
    /// 1: contexts are carried in headers of HTTP/1 requests.
    pub header: u32,
    /// 1: this kernel can be trusted with sockets that stay in a SockHash.
    pub header_stay: u32,
    /// 1: a server finds its client's exchange on this host by the pair of their sockets (0 is for tests).
    pub socket_pair: u32,
    /// Whether roots are sampled: one of [`sampled`].
    pub sampled_roots: u32,
    /// 1: others are sampled as their parents are.
    pub sampled_by_parent: u32,
    /// With [`sampled::RATIO`]: lower half of the bound under which a trace id's lower 63 random bits are sampled.
    pub sampled_bound_low: u32,
    /// Its upper half.
    pub sampled_bound_high: u32,
}

/// Values of [`Settings::sampled_roots`].
pub mod sampled {
    /// None.
    pub const NEVER: u32 = 0;
    /// All.
    pub const ALWAYS: u32 = 1;
    /// Those whose trace id is under a bound.
    pub const RATIO: u32 = 2;
}
