//! redis-trace as a library: the straight line from a kernel event to a sentence.
//!
//! ```text
//! hook ─► record ─► decode ─► Fact ─► Known::learn ─► Refusal ─► attribute ─► Verdict ─► explain ─► aggregate ─► sink
//! ```

pub mod cli;
pub mod commands;
pub mod failure;
pub mod firewall;
pub mod host;
pub mod hostile;
pub mod kernel;
pub mod redis;
pub mod sink;
pub mod trace;
