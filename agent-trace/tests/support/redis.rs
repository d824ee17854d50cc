//! Clients of Redis.
//!
//! In: words. Out: bytes as clients write them, and their ends of connections. Always holds: nothing. Refuses: nothing.

use agent_common::abi::{ExchangeIds, evidence, protocol};

use super::{End, World, ids, pair};

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

/// Ids of what a thread read, whose context was `before`.
pub fn context(span: u8, before: u8) -> Option<ExchangeIds> {
    Some(ids(span, span, Some((before, evidence::THREAD))))
}

/// A call over HTTP by the unit whose context is `parent`.
pub fn call(world: &mut World, n: u8, by: &End, span: u8, parent: u8) {
    let (mut client, _) = pair(n, by.process.tgid, 900);
    client.tid = by.tid;
    world.conn(&client);
    let ids = ids(span, span, Some((parent, evidence::THREAD)));
    world.write(
        &mut client,
        b"GET /mail HTTP/1.1\r\nHost: mail\r\n\r\n",
        Some(ids),
    );
    world.read(
        &mut client,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        None,
    );
}
