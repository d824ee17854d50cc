//! The running kernel's struct layouts: BTF in, [`Offsets`] out.
//!
//! In: the bytes of `/sys/kernel/btf/vmlinux` (format: kernel `Documentation/bpf/btf.rst`, `include/uapi/linux/btf.h`).
//! Out: byte offsets of the fields the BPF programs read. Always holds: every offset came from the type named beside it
//! in the field list below; each access to the bytes is bounds-checked; what is allocated is bounded by the file's size. Refuses: a
//! field that is missing, is a bit-field or does not lie at a byte boundary: a wrong offset would be a wrong trace.
//!
//! The format is read directly, without a crate: the one there is (`btf` 0.5) copies each name and member of the whole
//! kernel to the heap to answer thirty questions, and the agent's idle memory is a figure we publish.

use std::path::{Path, PathBuf};

use agent_common::offsets::Offsets;

/// Where the kernel shows its own BTF (since 5.4, with `CONFIG_DEBUG_INFO_BTF=y`).
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why the offsets are not known. In every case no program can be loaded.
#[derive(Debug, thiserror::Error)]
pub enum OffsetsError {
    /// The file is not there or cannot be read.
    #[error(
        "cannot read the kernel's type information {path}: {source}; without it no kernel struct can be read, so nothing \
         can be traced; run a kernel built with CONFIG_DEBUG_INFO_BTF=y (all current distribution kernels are)"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The bytes are not BTF as `btf.rst` describes it.
    #[error(
        "the kernel's type information is damaged ({what} at byte {at}); nothing can be traced with it"
    )]
    Damaged {
        /// What was expected there.
        what: &'static str,
        /// Byte offset in the file.
        at: usize,
    },
    /// A struct or member of the field list is not in this kernel.
    #[error(
        "this kernel's type information has no `{member}` in `struct {in_struct}`, so {consequence}; please report the \
         kernel version, it is one that Suture does not know yet"
    )]
    Missing {
        /// The struct searched.
        in_struct: &'static str,
        /// The member, with dots between nested members.
        member: &'static str,
        /// What cannot be done without it.
        consequence: &'static str,
    },
}

const FD_WALK: &str = "a file descriptor cannot be followed to its socket";
const ADDRESSES: &str = "connections cannot be told apart by their addresses";
const IDENTITY: &str = "processes cannot be told apart over pid reuse";
const POSITIONS: &str = "segments cannot be put in their order in the TCP stream";
const STATES: &str = "connects, resets and closes cannot be seen";
const UNITS: &str = "goroutines and other units that are no threads cannot be told apart";
const ENDS: &str = "a client of a broker cannot be told from the broker";
const TICKS: &str = "it is unknown what a scheduler began and how that ended";
const ENDED: &str = "a process that ended cannot be told from one of its threads that did";
const UNIX: &str = "the two ends of a unix connection cannot be joined";

/// Reads the offsets from the file at `path`, usually [`KERNEL_BTF`].
///
/// # Errors
/// [`OffsetsError`], each a sentence for the user.
pub fn read(path: &Path) -> Result<Offsets, OffsetsError> {
    let bytes = std::fs::read(path).map_err(|source| OffsetsError::Read {
        path: path.to_owned(),
        source,
    })?;
    find(&bytes)
}

/// Finds the offsets in the bytes of a BTF file.
///
/// # Errors
/// [`OffsetsError::Damaged`] and [`OffsetsError::Missing`].
pub fn find(bytes: &[u8]) -> Result<Offsets, OffsetsError> {
    let types = Types::index(bytes)?;
    let need = |in_struct: &'static str, member: &'static str, consequence: &'static str| {
        types
            .offset(in_struct, member)?
            .ok_or(OffsetsError::Missing {
                in_struct,
                member,
                consequence,
            })
    };
    // Kernel commit 90ee6ed776c0 (6.13) replaced `f_count` (a count that is 1 for one reference) by `f_ref`
    // (`include/linux/file_ref.h`: FILE_REF_ONEREF is 0).
    let (file_count, file_count_one) = match types.offset("file", "f_count")? {
        Some(at) => (at, 1),
        None => (
            need(
                "file",
                "f_ref",
                "it is unknown whether a closed descriptor was the socket's last",
            )?,
            0,
        ),
    };
    Ok(Offsets {
        task_files: need("task_struct", "files", FD_WALK)?,
        task_group_leader: need("task_struct", "group_leader", IDENTITY)?,
        task_start_time: need("task_struct", "start_time", IDENTITY)?,
        task_tgid: need("task_struct", "tgid", IDENTITY)?,
        task_pid: need("task_struct", "pid", IDENTITY)?,
        task_fsbase: need("task_struct", "thread.fsbase", UNITS)?,
        task_real_parent: need("task_struct", "real_parent", TICKS)?,
        task_comm: need("task_struct", "comm", TICKS)?,
        task_exit_code: need("task_struct", "exit_code", TICKS)?,
        task_signal: need("task_struct", "signal", ENDED)?,
        signal_live: need("signal_struct", "live", ENDED)?,
        files_fdt: need("files_struct", "fdt", FD_WALK)?,
        fdt_fd: need("fdtable", "fd", FD_WALK)?,
        fdt_max_fds: need("fdtable", "max_fds", FD_WALK)?,
        file_private: need("file", "private_data", FD_WALK)?,
        file_inode: need("file", "f_inode", FD_WALK)?,
        file_flags: need(
            "file",
            "f_flags",
            "blocking sockets cannot be told from non-blocking ones",
        )?,
        file_count,
        file_count_one,
        inode_ino: need(
            "inode",
            "i_ino",
            "sockets cannot be told apart over reuse of kernel memory",
        )?,
        inode_mode: need("inode", "i_mode", "pipes cannot be told from other files")?,
        socket_alloc_inode: need(
            "socket_alloc",
            "vfs_inode",
            "sockets cannot be told from other files",
        )?,
        socket_file: need("socket", "file", FD_WALK)?,
        socket_sk: behind(
            need("socket", "file", FD_WALK)?,
            need("socket", "sk", FD_WALK)?,
        )?,
        sk_type: need(
            "sock",
            "sk_type",
            "stream sockets cannot be told from others",
        )?,
        sk_protocol: need("sock", "sk_protocol", "TCP cannot be told from MPTCP")?,
        sk_socket: need("sock", "sk_socket", FD_WALK)?,
        sk_err: need("sock", "sk_err", STATES)?,
        sk_shutdown: need("sock", "sk_shutdown", STATES).unwrap_or(0),
        skc_family: need("sock_common", "skc_family", ADDRESSES)?,
        skc_daddr: need("sock_common", "skc_daddr", ADDRESSES)?,
        skc_rcv_saddr: need("sock_common", "skc_rcv_saddr", ADDRESSES)?,
        skc_dport: need("sock_common", "skc_dport", ADDRESSES)?,
        skc_num: need("sock_common", "skc_num", ADDRESSES)?,
        skc_net: need(
            "sock_common",
            "skc_net",
            "network namespaces cannot be told apart",
        )?,
        skc_state: need("sock_common", "skc_state", STATES)?,
        // A kernel without CONFIG_IPV6 has neither; it has no AF_INET6 sockets to read them from either.
        skc_v6_daddr: types.offset("sock_common", "skc_v6_daddr")?.unwrap_or(0),
        skc_v6_rcv_saddr: types
            .offset("sock_common", "skc_v6_rcv_saddr")?
            .unwrap_or(0),
        net_inum: need("net", "ns.inum", "network namespaces cannot be told apart")?,
        tcp_write_seq: need("tcp_sock", "write_seq", POSITIONS)?,
        tcp_copied_seq: need("tcp_sock", "copied_seq", POSITIONS)?,
        tcp_rcv_nxt: need("tcp_sock", "rcv_nxt", POSITIONS)?,
        tcp_bytes_received: need("tcp_sock", "bytes_received", POSITIONS)?,
        tcp_snd_una: need("tcp_sock", "snd_una", POSITIONS)?,
        tcp_bytes_acked: need("tcp_sock", "bytes_acked", POSITIONS)?,
        tcp_mss_cache: need("tcp_sock", "mss_cache", POSITIONS)?,
        icsk_bind_hash: need("inet_connection_sock", "icsk_bind_hash", ENDS)?,
        bucket_fastreuse: need("inet_bind_bucket", "fastreuse", ENDS)?,
        unix_peer: need("unix_sock", "peer", UNIX)?,
        unix_addr: need("unix_sock", "addr", ENDS)?,
    })
}

/// `socket.sk` stands in the word behind `socket.file`: the programs read both at once (`walk::socket_of`).
fn behind(file: u32, sk: u32) -> Result<u32, OffsetsError> {
    if sk == file + 8 {
        return Ok(sk);
    }
    Err(OffsetsError::Missing {
        in_struct: "socket",
        member: "sk behind file",
        consequence: FD_WALK,
    })
}

/// Whether the kernel at `path` has all of these tracepoints, with arguments that its BTF describes.
///
/// # Errors
/// The file cannot be read or is damaged.
pub fn has_tracepoints(path: &Path, names: &[&str]) -> Result<bool, OffsetsError> {
    let bytes = std::fs::read(path).map_err(|source| OffsetsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let types = Types::index(&bytes)?;
    for name in names {
        // include/trace/bpf_probe.h
        if !types.has_typedef(&format!("btf_trace_{name}"))? {
            return Ok(false);
        }
    }
    Ok(true)
}

// include/uapi/linux/btf.h
const BTF_MAGIC: u16 = 0xEB9F;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Size of `struct btf_type` and of `struct btf_member`.
const WORDS_3: usize = 12;

/// Structs that hold structs that hold structs: the kernel stays below 10; a loop in damaged BTF must end.
const MAX_NESTING: u32 = 32;

/// BTF with the place of each type.
struct Types<'a> {
    bytes: &'a [u8],
    /// Byte offset of the string section.
    strings: usize,
    /// Byte offset of each `struct btf_type`; index is type id - 1 (id 0 is void, which is not stored).
    starts: Vec<u32>,
}

/// One `struct btf_type`.
#[derive(Clone, Copy)]
struct Kind {
    name: u32,
    kind: u32,
    vlen: usize,
    kind_flag: bool,
    /// For modifiers the type id they refer to; for structs their size.
    size_or_type: u32,
    /// Byte offset of what follows the three words.
    rest: usize,
}

impl<'a> Types<'a> {
    fn index(bytes: &'a [u8]) -> Result<Self, OffsetsError> {
        let magic = bytes.first_chunk::<2>().map(|raw| u16::from_ne_bytes(*raw));
        if magic != Some(BTF_MAGIC) {
            return Err(OffsetsError::Damaged {
                what: "the magic number 0xEB9F",
                at: 0,
            });
        }
        let head = word(bytes, 4)? as usize;
        let (type_off, type_len) = (word(bytes, 8)? as usize, word(bytes, 12)? as usize);
        let strings = head + word(bytes, 16)? as usize;
        let end = head + type_off + type_len;
        if end > bytes.len() || strings > bytes.len() {
            return Err(OffsetsError::Damaged {
                what: "a section that ends inside the file",
                at: 8,
            });
        }
        let mut types = Types {
            bytes,
            strings,
            starts: Vec::with_capacity(type_len / 32),
        };
        let mut at = head + type_off;
        while at < end {
            types.starts.push(at as u32);
            let found = types.at(at)?;
            at = found.rest
                + match found.kind {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * found.vlen,
                    KIND_ENUM | KIND_FUNC_PROTO => 8 * found.vlen,
                    1..=KIND_ENUM64 => 0,
                    _ => {
                        return Err(OffsetsError::Damaged {
                            what: "a known kind of type",
                            at,
                        });
                    }
                };
        }
        Ok(types)
    }

    fn at(&self, at: usize) -> Result<Kind, OffsetsError> {
        let flags = word(self.bytes, at + 4)?;
        Ok(Kind {
            name: word(self.bytes, at)?,
            kind: (flags >> 24) & 0x1f,
            vlen: (flags & 0xffff) as usize,
            kind_flag: flags >> 31 == 1,
            size_or_type: word(self.bytes, at + 8)?,
            rest: at + WORDS_3,
        })
    }

    /// The type with this id, behind typedefs and qualifiers. None for void and ids that do not exist.
    fn resolve(&self, mut id: u32) -> Result<Option<Kind>, OffsetsError> {
        for _ in 0..MAX_NESTING {
            let Some(start) = (id as usize)
                .checked_sub(1)
                .and_then(|index| self.starts.get(index))
            else {
                break;
            };
            let found = self.at(*start as usize)?;
            match found.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = found.size_or_type
                }
                _ => return Ok(Some(found)),
            }
        }
        Ok(None)
    }

    fn is_named(&self, name: u32, wanted: &str) -> bool {
        // The terminating zero is compared too, else "fd" would match "fdt".
        self.bytes
            .get(self.strings + name as usize..)
            .is_some_and(|rest| {
                rest.starts_with(wanted.as_bytes()) && rest.get(wanted.len()) == Some(&0)
            })
    }

    fn has_typedef(&self, name: &str) -> Result<bool, OffsetsError> {
        for start in &self.starts {
            let found = self.at(*start as usize)?;
            if found.kind == KIND_TYPEDEF && self.is_named(found.name, name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Byte offset of `path` (members with dots between) in `struct name`. Where BTF holds several structs of one name
    /// the first that has the member counts.
    fn offset(&self, name: &str, path: &str) -> Result<Option<u32>, OffsetsError> {
        for start in &self.starts {
            let found = self.at(*start as usize)?;
            if found.kind == KIND_STRUCT
                && self.is_named(found.name, name)
                && let Some(bits) = self.member(found, path, 0)?
            {
                return Ok((bits % 8 == 0).then_some(bits / 8));
            }
        }
        Ok(None)
    }

    /// Bit offset of `path` in a struct or union, looking through unnamed members.
    fn member(&self, within: Kind, path: &str, depth: u32) -> Result<Option<u32>, OffsetsError> {
        if depth == MAX_NESTING || !matches!(within.kind, KIND_STRUCT | KIND_UNION) {
            return Ok(None);
        }
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        for index in 0..within.vlen {
            let at = within.rest + WORDS_3 * index;
            let (name, type_id, place) = (
                word(self.bytes, at)?,
                word(self.bytes, at + 4)?,
                word(self.bytes, at + 8)?,
            );
            // With kind_flag the upper 8 bits are the width of a bit-field, 0 for ordinary members.
            let (bits, width) = if within.kind_flag {
                (place & 0xff_ffff, place >> 24)
            } else {
                (place, 0)
            };
            let inner = if self.is_named(name, "") {
                Some(path)
            } else if self.is_named(name, first) {
                if width != 0 {
                    return Ok(None);
                }
                match rest {
                    None => return Ok(Some(bits)),
                    Some(_) => rest,
                }
            } else {
                None
            };
            if let (Some(inner), Some(nested)) = (inner, self.resolve(type_id)?)
                && let Some(more) = self.member(nested, inner, depth + 1)?
            {
                return Ok(Some(bits.saturating_add(more)));
            }
        }
        Ok(None)
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, OffsetsError> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map(|raw| u32::from_ne_bytes(*raw))
        .ok_or(OffsetsError::Damaged {
            what: "four more bytes",
            at,
        })
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing test may panic"
)]
#[path = "btf_offsets_tests.rs"]
mod tests;
