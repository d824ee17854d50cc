//! How the libraries use Redis, as seen on the wire: written down because causality builds on it.
//!
//! In and out: nothing, this is text. Always holds: each flow was recorded here from the real library (`tests/redis/`), and the process
//! or thread of a command was seen with `strace -f`.
