//! CPU time and memory of processes, from /proc.

use std::fs;

/// User and system CPU time of the processes so far, s (`/proc/PID/stat`, fields 14 and 15, in clock ticks).
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    // SAFETY: sysconf reads a constant and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64;
    pids.iter().map(|pid| stat_ticks(*pid) as f64 / ticks).sum()
}

fn stat_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // The first field after the name is field 3 of proc_pid_stat(5).
    after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

/// Resident memory, bytes, without the mappings of BPF maps, which [`map_bytes`] counts (`/proc/PID/smaps`).
pub fn resident_bytes(pid: u32) -> u64 {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let (mut total, mut of_map) = (0, false);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Rss:") if !of_map => {
                total += words
                    .next()
                    .and_then(|kib| kib.parse::<u64>().ok())
                    .unwrap_or(0)
                    * 1024;
            }
            // A mapping's first line: address range, rights, offset, device, inode, name.
            Some(range) if range.contains('-') && !range.ends_with(':') => {
                of_map = line.contains("bpf-map")
            }
            _ => {}
        }
    }
    total
}

/// Memory of the BPF maps the process has open, bytes (`memlock` in `/proc/PID/fdinfo`, each map id once).
pub fn map_bytes(pid: u32) -> u64 {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return 0;
    };
    let mut seen = Vec::new();
    let mut total = 0;
    for entry in entries.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|value| value.trim().parse::<u64>().ok())
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:"))
            && !seen.contains(&id)
        {
            seen.push(id);
            total += bytes;
        }
    }
    total
}
