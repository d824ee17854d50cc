//! One end of a connection, whichever end it is.
//!
//! In: requests and responses, in the order in which they move. Out: the records of that end. Always holds: requests
//! go one way, responses the other. Refuses: nothing.

use agent_common::abi::{ExchangeIds, SegmentRecord, direction};

use super::{End, World, pair};

/// What answers a HEAD: it has no body, and nobody who did not see the request can know that.
pub const ANSWER_TO_HEAD: &[u8] = b"HTTP/1.1 201 X\r\nContent-Length: 5\r\n\r\n";
/// A body that lasts until something else is sure to have begun.
pub const UNTIL_THE_CLOSE: &[u8] = b"HTTP/1.1 201 X\r\n\r\n";
pub const WITHOUT_BODY: &[u8] = b"HTTP/1.1 201 X\r\nContent-Length: 0\r\n\r\n";

/// See the module.
pub struct Talk {
    pub world: World,
    end: End,
    /// Which way its requests go.
    way: u8,
}

impl Talk {
    /// The client's end of a connection, and the server's of another world's.
    pub fn both() -> [Self; 2] {
        let (client, server) = pair(1, 10, 20);
        [(client, direction::TX), (server, direction::RX)].map(|(end, way)| {
            let mut world = World::default();
            world.conn(&end);
            Self { world, end, way }
        })
    }

    pub fn request(&mut self, bytes: &[u8], ids: Option<ExchangeIds>) {
        let segment = self.late_request(bytes, ids);
        self.world.push(&segment);
    }

    /// The request moves, and its record comes when the caller pushes it.
    pub fn late_request(
        &mut self,
        bytes: &[u8],
        ids: Option<ExchangeIds>,
    ) -> (SegmentRecord, Vec<u8>) {
        self.world.segment(&mut self.end, self.way, bytes, ids)
    }

    /// The request moves, but its record is lost.
    pub fn lose_request(&mut self, bytes: &[u8]) {
        self.world.lose(&mut self.end, self.way, bytes);
    }

    pub fn response(&mut self, bytes: &[u8]) {
        let segment = self.late_response(bytes);
        self.world.push(&segment);
    }

    /// The response moves, and its record comes when the caller pushes it.
    pub fn late_response(&mut self, bytes: &[u8]) -> (SegmentRecord, Vec<u8>) {
        let way = if self.way == direction::TX {
            direction::RX
        } else {
            direction::TX
        };
        self.world.segment(&mut self.end, way, bytes, None)
    }
}

/// A request whose path says which status its response must have.
pub fn get(status: u16) -> Vec<u8> {
    format!("GET /say/{status} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

/// That response, without a body.
pub fn answer(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes()
}
