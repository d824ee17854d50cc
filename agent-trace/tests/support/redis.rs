//! Clients of Redis.
//!
//! In: words. Out: bytes as clients write them, and their ends of connections. Always holds: nothing. Refuses: nothing.

use agent_common::abi::protocol;

use super::{End, pair};

/// A client of process `process` on connection `n`.
pub fn redis(n: u8, process: u32) -> End {
    let (mut end, _) = pair(n, process, 999);
    end.protocol = protocol::REDIS;
    end.remote.1 = 6379;
    end
}

/// A command.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}
