//! redis-trace as a library: the straight line from a kernel event to a sentence.
//!
//! ```text
//! hook ─► record ─► decode ─► Fact ─► Known::learn ─► Refusal ─► attribute ─► Verdict ─► explain ─► aggregate ─► sink
//! ```

pub mod host;
pub mod redis;
pub mod trace;
