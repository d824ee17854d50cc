//! Tests of `btf_offsets`: against BTF built by hand, damaged BTF, and the running kernel as bpftool sees it.

use std::path::Path;

use super::{KERNEL_BTF, KIND_STRUCT, KIND_TYPEDEF, KIND_UNION, OffsetsError, Types, find, read};

/// Writes BTF: strings and types are appended in the order they are asked for.
struct Btf {
    strings: Vec<u8>,
    types: Vec<u8>,
}

impl Btf {
    fn new() -> Self {
        Btf {
            strings: vec![0],
            types: Vec::new(),
        }
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
    }

    /// Members are (name, type id, bit offset).
    fn composite(&mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) {
        let name = self.string(name);
        self.words(&[name, (kind << 24) | members.len() as u32, 64]);
        for (member, type_id, bits) in members {
            let member = self.string(member);
            self.words(&[member, *type_id, *bits]);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&0xEB9Fu16.to_ne_bytes());
        out.extend_from_slice(&[1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [24, 0, types, types, strings] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend_from_slice(&self.types);
        out.extend_from_slice(&self.strings);
        out
    }
}

fn small_kernel() -> Vec<u8> {
    let mut btf = Btf::new();
    btf.composite(KIND_STRUCT, "", &[("daddr", 0, 0), ("rcv_saddr", 0, 32)]); // 1
    btf.composite(KIND_UNION, "", &[("pair", 0, 0), ("", 1, 0)]); // 2
    btf.composite(
        KIND_STRUCT,
        "sock_common",
        &[("hash", 0, 0), ("", 2, 64), ("fdt", 0, 256), ("fd", 0, 320)],
    ); // 3
    let alias = btf.string("ns_t");
    btf.words(&[alias, KIND_TYPEDEF << 24, 5]); // 4
    btf.composite(KIND_STRUCT, "ns_common", &[("ops", 0, 0), ("inum", 0, 64)]); // 5
    btf.composite(KIND_STRUCT, "net", &[("count", 0, 0), ("ns", 4, 128)]); // 6
    let bits = btf.string("bits");
    btf.words(&[bits, (1 << 31) | (KIND_STRUCT << 24) | 1, 8]); // 7: kind_flag
    let flag = btf.string("flag");
    btf.words(&[flag, 0, (3 << 24) | 5]); // three bits wide at bit 5
    btf.composite(KIND_STRUCT, "loop", &[("", 8, 0)]); // 8: holds itself
    btf.bytes()
}

#[test]
fn members_are_found_through_unnamed_structs_typedefs_and_dots() {
    let bytes = small_kernel();
    let types = Types::index(&bytes).unwrap();
    let check = |name, path, expect: Option<u32>| {
        assert_eq!(types.offset(name, path).unwrap(), expect, "{name}.{path}");
    };
    check("sock_common", "hash", Some(0));
    check("sock_common", "pair", Some(8));
    check("sock_common", "rcv_saddr", Some(12));
    check("sock_common", "fd", Some(40));
    check("sock_common", "fdt", Some(32));
    check("net", "ns.inum", Some(24));
    check("net", "ns.absent", None);
    check("net", "inum", None);
    check("bits", "flag", None); // a bit-field has no byte offset
    check("loop", "anything", None);
    check("absent", "fd", None);
}

#[test]
fn a_missing_member_is_named_with_its_consequence() {
    let error = find(&small_kernel()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this kernel's type information has no `f_ref` in `struct file`, so it is unknown whether a closed descriptor was \
         the socket's last; please report the kernel version, it is one that Suture does not know yet"
    );
}

#[test]
fn an_absent_file_is_one_sentence() {
    let error = read(Path::new("/nonexistent/btf")).unwrap_err();
    assert!(
        error.to_string().starts_with(
            "cannot read the kernel's type information /nonexistent/btf: No such file"
        )
    );
}

#[test]
fn damaged_bytes_are_refused_and_never_panic() {
    let whole = small_kernel();
    for cut in 0..whole.len() {
        assert!(find(&whole[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0xff;
        let _ = find(&bad).unwrap_err();
    }
    assert!(matches!(
        find(b"not btf at all"),
        Err(OffsetsError::Damaged { at: 0, .. })
    ));
}

/// bpftool's C header of the running kernel, compiled by cc with one static assertion for each offset: cc and bpftool
/// know nothing of our reader.
#[test]
fn the_running_kernels_offsets_are_those_a_c_compiler_computes() {
    let found = read(Path::new(KERNEL_BTF)).expect("this kernel has BTF");
    let header = std::process::Command::new("bpftool")
        .args(["btf", "dump", "file", KERNEL_BTF, "format", "c"])
        .output()
        .expect("bpftool is installed (apt-get install bpftool)");
    assert!(
        header.status.success(),
        "{}",
        String::from_utf8_lossy(&header.stderr)
    );
    let mut source = String::from_utf8(header.stdout).unwrap();
    let count = if found.file_count_one == 1 {
        "f_count"
    } else {
        "f_ref"
    };
    let rows = [
        ("struct task_struct", "files", found.task_files),
        (
            "struct task_struct",
            "group_leader",
            found.task_group_leader,
        ),
        ("struct task_struct", "start_time", found.task_start_time),
        ("struct task_struct", "tgid", found.task_tgid),
        ("struct task_struct", "real_parent", found.task_real_parent),
        ("struct task_struct", "comm", found.task_comm),
        ("struct task_struct", "exit_code", found.task_exit_code),
        ("struct task_struct", "signal", found.task_signal),
        ("struct signal_struct", "live.counter", found.signal_live),
        ("struct files_struct", "fdt", found.files_fdt),
        ("struct fdtable", "fd", found.fdt_fd),
        ("struct fdtable", "max_fds", found.fdt_max_fds),
        ("struct file", "private_data", found.file_private),
        ("struct file", "f_flags", found.file_flags),
        ("struct file", count, found.file_count),
        ("struct inode", "i_ino", found.inode_ino),
        ("struct inode", "i_mode", found.inode_mode),
        ("struct socket_alloc", "vfs_inode", found.socket_alloc_inode),
        ("struct socket", "sk", found.socket_sk),
        ("struct sock", "sk_type", found.sk_type),
        ("struct sock", "sk_protocol", found.sk_protocol),
        ("struct sock", "sk_err", found.sk_err),
        ("struct sock", "sk_shutdown", found.sk_shutdown),
        ("struct sock_common", "skc_family", found.skc_family),
        ("struct sock_common", "skc_daddr", found.skc_daddr),
        ("struct sock_common", "skc_rcv_saddr", found.skc_rcv_saddr),
        ("struct sock_common", "skc_dport", found.skc_dport),
        ("struct sock_common", "skc_num", found.skc_num),
        ("struct sock_common", "skc_net", found.skc_net),
        ("struct sock_common", "skc_state", found.skc_state),
        ("struct sock_common", "skc_v6_daddr", found.skc_v6_daddr),
        (
            "struct sock_common",
            "skc_v6_rcv_saddr",
            found.skc_v6_rcv_saddr,
        ),
        ("struct net", "ns.inum", found.net_inum),
        ("struct tcp_sock", "write_seq", found.tcp_write_seq),
        ("struct tcp_sock", "copied_seq", found.tcp_copied_seq),
        ("struct tcp_sock", "rcv_nxt", found.tcp_rcv_nxt),
        (
            "struct tcp_sock",
            "bytes_received",
            found.tcp_bytes_received,
        ),
        ("struct tcp_sock", "snd_una", found.tcp_snd_una),
        ("struct tcp_sock", "bytes_acked", found.tcp_bytes_acked),
        ("struct tcp_sock", "mss_cache", found.tcp_mss_cache),
        (
            "struct inet_connection_sock",
            "icsk_bind_hash",
            found.icsk_bind_hash,
        ),
        (
            "struct inet_bind_bucket",
            "fastreuse",
            found.bucket_fastreuse,
        ),
        ("struct unix_sock", "peer", found.unix_peer),
        ("struct unix_sock", "addr", found.unix_addr),
    ];
    for (of, member, at) in rows {
        source.push_str(&format!(
            "_Static_assert(__builtin_offsetof({of}, {member}) == {at}, \"{of}.{member} is not at {at}\");\n"
        ));
    }
    let folder = std::env::temp_dir().join(format!("suture-btf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("offsets.c");
    std::fs::write(&file, source).unwrap();
    let checked = std::process::Command::new("cc")
        .arg("-fsyntax-only")
        .arg("-w")
        .arg(&file)
        .output()
        .expect("cc");
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}
