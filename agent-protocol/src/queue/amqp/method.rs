//! Methods that a message's story needs.
//!
//! In: the payload of a method frame. Out: a [`Method`]. Always holds: texts are the payload's. Refuses: what is cut, and what is not
//! needed: `None`.

use super::field::Fields;
use crate::queue::Way;

/// A method, as far as it is used. `*_ok` are the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method<'a> {
    /// connection.close or channel.close.
    Close {
        of_connection: bool,
        code: u16,
        text: &'a [u8],
        /// It was basic.publish that failed.
        by_publish: bool,
    },
    CloseOk {
        of_connection: bool,
    },
    /// channel.open
    Open,
    DeclareOk {
        queue: &'a [u8],
    },
    Consume {
        queue: &'a [u8],
        tag: &'a [u8],
        no_ack: bool,
    },
    ConsumeOk {
        tag: &'a [u8],
    },
    Cancel {
        tag: &'a [u8],
    },
    Publish {
        exchange: &'a [u8],
        routing_key: &'a [u8],
        mandatory: bool,
    },
    Return {
        text: &'a [u8],
        exchange: &'a [u8],
        routing_key: &'a [u8],
    },
    Deliver {
        consumer: &'a [u8],
        tag: u64,
        redelivered: bool,
        exchange: &'a [u8],
        routing_key: &'a [u8],
    },
    Get {
        queue: &'a [u8],
        no_ack: bool,
    },
    GetOk {
        tag: u64,
        redelivered: bool,
        exchange: &'a [u8],
        routing_key: &'a [u8],
    },
    Ack {
        tag: u64,
        multiple: bool,
    },
    Nack {
        tag: u64,
        multiple: bool,
        requeue: bool,
    },
    /// basic.recover and basic.recover-async: all that is unsettled goes back.
    Recover,
    ConfirmSelect,
    TxSelect,
    TxCommitOk,
    TxRollbackOk,
}

impl<'a> Method<'a> {
    pub(super) fn of(payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let name = (fields.short()?, fields.short()?);
        Self::args(name, &mut fields)
    }

    fn args(name: (u16, u16), fields: &mut Fields<'a>) -> Option<Self> {
        Some(match name {
            (10, 50) | (20, 40) => Self::Close {
                of_connection: name.0 == 10,
                code: fields.short()?,
                text: fields.shortstr()?,
                by_publish: (fields.short()?, fields.short()?) == (60, 40),
            },
            (10, 51) | (20, 41) => Self::CloseOk {
                of_connection: name.0 == 10,
            },
            (20, 10) => Self::Open,
            (50, 11) => Self::DeclareOk {
                queue: fields.shortstr()?,
            },
            (60, 20) => {
                fields.short()?;
                let (queue, tag) = (fields.shortstr()?, fields.shortstr()?);
                // Bits: no-local, no-ack, exclusive, no-wait.
                let no_ack = fields.octet()? & 2 != 0;
                Self::Consume { queue, tag, no_ack }
            }
            (60, 21) => Self::ConsumeOk {
                tag: fields.shortstr()?,
            },
            (60, 30) => Self::Cancel {
                tag: fields.shortstr()?,
            },
            (60, 40) => {
                fields.short()?;
                Self::Publish {
                    exchange: fields.shortstr()?,
                    routing_key: fields.shortstr()?,
                    mandatory: fields.octet()? & 1 != 0,
                }
            }
            (60, 50) => {
                fields.short()?;
                Self::Return {
                    text: fields.shortstr()?,
                    exchange: fields.shortstr()?,
                    routing_key: fields.shortstr()?,
                }
            }
            (60, 60) => Self::Deliver {
                consumer: fields.shortstr()?,
                tag: fields.longlong()?,
                redelivered: fields.octet()? & 1 != 0,
                exchange: fields.shortstr()?,
                routing_key: fields.shortstr()?,
            },
            (60, 70) => {
                fields.short()?;
                Self::Get {
                    queue: fields.shortstr()?,
                    no_ack: fields.octet()? & 1 != 0,
                }
            }
            (60, 71) => Self::GetOk {
                tag: fields.longlong()?,
                redelivered: fields.octet()? & 1 != 0,
                exchange: fields.shortstr()?,
                routing_key: fields.shortstr()?,
            },
            (60, 80) => Self::Ack {
                tag: fields.longlong()?,
                multiple: fields.octet()? & 1 != 0,
            },
            (60, 90) => Self::Nack {
                tag: fields.longlong()?,
                multiple: false,
                requeue: fields.octet()? & 1 != 0,
            },
            (60, 120) => {
                let (tag, bits) = (fields.longlong()?, fields.octet()?);
                Self::Nack {
                    tag,
                    multiple: bits & 1 != 0,
                    requeue: bits & 2 != 0,
                }
            }
            (60, 100 | 110) => Self::Recover,
            (85, 10) => Self::ConfirmSelect,
            (90, 10) => Self::TxSelect,
            (90, 21) => Self::TxCommitOk,
            (90, 31) => Self::TxRollbackOk,
            _ => return None,
        })
    }

    /// It is basic.publish, though its arguments may be cut.
    pub(super) fn is_publish(payload: &[u8]) -> bool {
        payload.starts_with(&[0, 60, 0, 40])
    }
}

/// This end can say this method on this channel.
pub(super) fn is_known(class: u16, method: u16, channel: u16, way: Way) -> bool {
    let (client, broker): (&[u16], &[u16]) = match class {
        10 => (
            &[11, 21, 31, 40, 50, 51, 70],
            &[10, 20, 30, 41, 50, 51, 60, 61, 71],
        ),
        20 => (&[10, 20, 21, 40, 41], &[11, 20, 21, 40, 41]),
        40 => (&[10, 20, 30, 40], &[11, 21, 31, 51]),
        50 => (&[10, 20, 30, 40, 50], &[11, 21, 31, 41, 51]),
        60 => (
            &[10, 20, 30, 31, 40, 70, 80, 90, 100, 110, 120],
            &[11, 21, 30, 31, 50, 60, 71, 72, 80, 111, 120],
        ),
        85 => (&[10], &[11]),
        90 => (&[10, 20, 30], &[11, 21, 31]),
        _ => return false,
    };
    let methods = match way {
        Way::ToBroker => client,
        Way::ToClient => broker,
    };
    methods.contains(&method) && (class == 10) == (channel == 0)
}
